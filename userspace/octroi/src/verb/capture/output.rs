//! Where a capture is written: a file, or whatever standard output is. Only whole blocks count.
//!
//! A file whose disk is full is cut after its last whole block, so that it stays a capture. It refuses a terminal, which
//! would make no sense of it.
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    path::Path,
};

use anyhow::{Context, Result, ensure};

/// Bytes after which the buffer is written.
const FULL: usize = 1 << 18;

/// A capture's file.
#[derive(Debug)]
pub(in crate::verb) struct Output {
    file: File,
    /// How many bytes of whole blocks the file has, if it is one that can be cut.
    written: Option<u64>,
    buffer: Vec<u8>,
    whole: Whole,
    name: String,
}

/// How many of the first bytes of whole blocks are whole blocks.
pub(in crate::verb) type Whole = fn(&[u8], usize) -> usize;

/// Why nothing more can be written.
#[derive(Debug)]
pub(in crate::verb) enum Unwritten {
    /// Whoever read it has seen enough.
    ReaderGone,
    /// The file is full, or gone.
    Failed(io::Error),
}

impl Output {
    /// Makes the file; `whole` finds the ends of its blocks.
    ///
    /// # Errors
    /// It cannot be made, or is a terminal.
    pub(in crate::verb) fn open(path: &Path, whole: Whole) -> Result<Self> {
        let name = path.display().to_string();
        let file = if name == "-" {
            ensure!(
                !io::stdout().is_terminal(),
                "-: a capture is not for a terminal; pipe it into a program"
            );
            // Not through the standard library's buffer, which looks for lines.
            File::from(io::stdout().as_fd().try_clone_to_owned().context("standard output")?)
        } else {
            File::create(path).with_context(|| name.clone())?
        };
        let regular = name != "-" && file.metadata().is_ok_and(|meta| meta.is_file());
        Ok(Self { file, written: regular.then_some(0), buffer: Vec::with_capacity(2 * FULL), whole, name })
    }

    /// What it is called.
    pub(in crate::verb) fn name(&self) -> &str {
        &self.name
    }

    /// Where the next block goes; write nothing else there.
    pub(in crate::verb) fn block(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes what there is, if it is much.
    pub(in crate::verb) fn spill(&mut self) -> Result<(), Unwritten> {
        if self.buffer.len() < FULL { Ok(()) } else { self.flush() }
    }

    /// Writes what there is.
    pub(in crate::verb) fn flush(&mut self) -> Result<(), Unwritten> {
        let mut done = 0;
        while let Some(rest) = self.buffer.get(done..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err(self.cut(done, io::ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cut(done, error)),
            }
        }
        if let Some(written) = &mut self.written {
            *written += done as u64;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Leaves a file with whole blocks alone.
    fn cut(&mut self, done: usize, error: io::Error) -> Unwritten {
        if let Some(written) = &mut self.written {
            *written += (self.whole)(&self.buffer, done) as u64;
            if let Err(error) = self.file.set_len(*written) {
                eprintln!("octroi: {}: its end is not a whole block: {error}", self.name);
            }
        }
        self.buffer.clear();
        match error.kind() {
            io::ErrorKind::BrokenPipe => Unwritten::ReaderGone,
            _ => Unwritten::Failed(error),
        }
    }
}
