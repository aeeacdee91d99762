//! Where the daemon's log goes: to standard error, which may be a pipe that nobody reads.
//!
//! It refuses to wait for a reader: the thread that logs also answers requests, ends sessions and looks after interfaces. A
//! line that cannot be written at once is lost and counted; the next one that can be written says how many were.
use std::{
    io::{self, Write},
    os::fd::AsFd,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::fmt::MakeWriter;

/// Longest line: a pipe that is writable at all has room for so much (`PIPE_BUF`). What is longer is cut.
const LONGEST: usize = 4096;

/// Lines that were lost since the process began.
static LOST: AtomicU64 = AtomicU64::new(0);
/// Those among them that no line has told of yet.
static UNTOLD: AtomicU64 = AtomicU64::new(0);

/// How many lines were lost.
#[must_use]
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Makes [`Lines`] to standard error.
#[derive(Clone, Copy, Debug)]
pub struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = Lines<io::Stderr>;

    fn make_writer(&self) -> Self::Writer {
        Lines(io::stderr())
    }
}

/// Writes lines or loses them, and never waits. Each `write` is one line.
#[derive(Debug)]
pub struct Lines<W>(W);

impl<W: Write + AsFd> Lines<W> {
    fn is_writable(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        // A reader that is gone makes writing fail, not wait.
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready != 0)
    }
}

impl<W: Write + AsFd> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let untold = UNTOLD.load(Ordering::Relaxed);
        if untold != 0 && self.is_writable() {
            UNTOLD.fetch_sub(untold, Ordering::Relaxed);
            self.0.write_all(format!("{untold} lines were lost: nobody read them\n").as_bytes())?;
        }
        if self.is_writable() {
            match line.get(..LONGEST - 1) {
                Some(cut) if LONGEST < line.len() => self.0.write_all(&[cut, b"\n"].concat())?,
                _ => self.0.write_all(line)?,
            }
        } else {
            LOST.fetch_add(1, Ordering::Relaxed);
            UNTOLD.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read};

    use nix::{
        fcntl::{FcntlArg, OFlag, fcntl},
        unistd::pipe,
    };

    use super::*;

    #[test]
    fn f20_a_line_that_nobody_reads_is_lost_counted_and_told_of() {
        let (reader, writer) = pipe().unwrap();
        let mut reader = File::from(reader);
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut lines = Lines(File::from(writer));
        let before = lost();
        let line = [&[b'x'; 200][..], b"\n"].concat();
        // A pipe has 64 KiB; this would block for ever.
        for _ in 0..1000 {
            assert_eq!(lines.write(&line).unwrap(), line.len());
        }
        let lost = lost() - before;
        assert!((500..1000).contains(&lost), "{lost} lost");
        let mut text = Vec::new();
        let _ = reader.read_to_end(&mut text);
        assert_eq!(text.len() as u64, (1000 - lost) * line.len() as u64, "whole lines only");
        lines.write_all(&line).unwrap();
        let mut text = Vec::new();
        let _ = reader.read_to_end(&mut text);
        let expected = [format!("{lost} lines were lost: nobody read them\n").as_bytes(), &line].concat();
        assert_eq!(text, expected);
        // Longer than a pipe takes at once.
        lines.write_all(&[b'y'; 10_000]).unwrap();
        let mut text = Vec::new();
        let _ = reader.read_to_end(&mut text);
        assert_eq!((text.len(), text.last()), (LONGEST, Some(&b'\n')));
    }
}
