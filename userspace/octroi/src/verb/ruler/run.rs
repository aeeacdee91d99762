//! `octroi ruler run`: a filter over the packets of a capture, offline and without privileges; or attached to a daemon,
//! which is `super::attach`'s.
//!
//! It holds no more than one batch of packets. The output is made only when the program is sound, the key is there and the
//! input is a capture: whoever mistypes loses no older file.
mod batch;
mod recording;
mod tally;

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ixp::port::pcap::{Capture, PcapError};
use ruler::{
    diagnostic,
    filter::{Bound, Params},
    rewrite::Bounds,
};

use self::{
    batch::{Batch, PACKET_BYTES_MAX},
    recording::Recording,
    tally::Tally,
};
use super::{
    attach::{Attach, Program},
    key,
    program::Options,
};
use crate::cli::Global;
use crate::verb::{Form, Outcome, capture::output::Unwritten};

/// Run a filter over the packets of a capture, and write what it lets through; or attach it to a running daemon.
///
/// Accepted packets are written as they are, rewritten ones as they became; rejected ones and those that no rule matches
/// are not. Times are kept. The output is a capture of the same kind as the input, whose comments, options and names of
/// interfaces it does not take over, as they may tell what the packets no longer do.
///
/// If the input ends in the middle of a packet or turns out to be damaged, what came before is written, and the exit
/// status is 1.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The program.
    #[arg(required_unless_present = "detach")]
    file: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// Read this capture, pcap or pcapng, of Ethernet; - is standard input.
    #[arg(long, value_name = "IN", requires = "out", required_unless_present_any = ["port", "target"])]
    pcap: Option<PathBuf>,
    /// Write this one; - is standard output, and the counts go to standard error. An existing file is replaced.
    #[arg(long, value_name = "OUT", requires = "pcap")]
    out: Option<PathBuf>,
    /// The key by which addresses are anonymised: a file of 32 raw bytes or 64 hex digits.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    attach: Attach,
    #[command(flatten)]
    form: Form,
}

/// A capture to be judged.
struct Offline<'a> {
    run: &'a Run,
    file: &'a Path,
    pcap: &'a Path,
    out: &'a Path,
}

impl Run {
    /// Judges all packets of a capture and says what became of them, or attaches the filter.
    ///
    /// # Errors
    /// A file cannot be read or written, there is no key where one is needed, or the daemon refuses.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        match self.attach.place() {
            Some(at) => {
                let program = Program {
                    file: self.file.as_deref(),
                    options: &self.options,
                    key_file: self.key_file.as_deref(),
                };
                self.attach.run(global, at, &program, self.form)
            }
            None => self.offline()?.run(),
        }
    }

    fn offline(&self) -> Result<Offline<'_>> {
        match (&self.file, &self.pcap, &self.out) {
            (Some(file), Some(pcap), Some(out)) => Ok(Offline { run: self, file, pcap, out }),
            _ => bail!("expected a program with --pcap and --out, or with --port or --target"),
        }
    }
}

impl Offline<'_> {
    fn run(&self) -> Result<Outcome> {
        let key = self.run.key_file.as_deref().map(key::read).transpose()?;
        let Some((bundle, filter)) = self.run.options.one(self.file)? else { return Ok(Outcome::Unwell) };
        let params = Params { bounds: Bounds { least: 0, most: PACKET_BYTES_MAX }, key };
        let bound = match filter.bind(&params) {
            Ok(bound) => bound,
            Err(error) => {
                eprint!("{}", diagnostic::text(&bundle, &[error.diagnostic().clone()]));
                return Ok(Outcome::Unwell);
            }
        };
        ensure_apart(self.pcap, self.out)?;
        let mut tally = Tally::new(&bundle, &bound);
        let ended = self.judge(&bound, &mut tally);
        if ended.as_ref().is_ok_and(Option::is_some) || tally.has_begun() {
            self.say(&tally)?;
        }
        match ended? {
            Some(Ended::Whole) | None => Ok(Outcome::Well),
            Some(Ended::Damaged(offset, error)) => bail!(
                "{}: byte {offset}: {error}; {} has what came before",
                self.pcap.display(),
                self.out.display()
            ),
        }
    }

    /// Prints the counts where they cannot get among packets.
    fn say(&self, tally: &Tally) -> Result<()> {
        let summary = tally.summary();
        if self.out != Path::new("-") {
            return self.run.form.print(&summary, ToString::to_string);
        }
        if self.run.form.is_json() {
            eprintln!("{}", serde_json::to_string(&summary)?);
        } else {
            eprint!("{summary}");
        }
        Ok(())
    }

    /// Reads, judges and writes batch by batch; `None` if whoever reads the output has seen enough.
    fn judge(&self, bound: &Bound, tally: &mut Tally) -> Result<Option<Ended>> {
        let (input, len) = open(self.pcap)?;
        let at = || self.pcap.display().to_string();
        let mut capture = Capture::open(input).with_context(at)?;
        let bar = progress(len);
        let mut scratch = bound.scratch();
        let mut batch = Batch::new();
        let mut recording: Option<Recording> = None;
        loop {
            let filled = batch.fill(&mut capture);
            let recording = match (&mut recording, &filled) {
                (Some(recording), _) => recording,
                // Not a single packet: there is nothing to write, and an older file stays.
                (None, Err(error)) if batch.is_empty() => {
                    bail!("{}: byte {}: {error}", at(), capture.offset())
                }
                (none, _) => none.insert(Recording::begin(self.out, capture.format())?),
            };
            let written = batch.judge(bound, &mut scratch, |held, verdict, bytes| {
                tally.count(held, verdict, bytes.map(<[u8]>::len));
                bytes.map_or(Ok(()), |bytes| recording.write(held, bytes))
            });
            let is_last = !matches!(filled, Ok(more) if more);
            let written = if is_last { written.and_then(|()| recording.end()) } else { written };
            bar.set_position(capture.offset());
            match written {
                Ok(()) => {}
                Err(Unwritten::ReaderGone) => return Ok(None),
                Err(Unwritten::Failed(error)) => {
                    return Err(error).with_context(|| self.out.display().to_string());
                }
            }
            match filled {
                Ok(true) => {}
                Ok(false) => break bar.finish_and_clear(),
                Err(error) => {
                    bar.finish_and_clear();
                    return Ok(Some(Ended::Damaged(capture.offset(), error)));
                }
            }
        }
        Ok(Some(Ended::Whole))
    }
}

/// How the input ended.
enum Ended {
    /// As a capture does.
    Whole,
    /// Here, and not as it should.
    Damaged(u64, PcapError),
}

/// The input, and how long it is if that is known.
fn open(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let meta = file.metadata().with_context(|| path.display().to_string())?;
    if meta.is_dir() {
        bail!("{}: a directory, not a capture", path.display());
    }
    Ok((Box::new(file), meta.is_file().then_some(meta.len())))
}

/// Refuses to write over what is still being read, by whatever name.
fn ensure_apart(input: &Path, output: &Path) -> Result<()> {
    let place =
        |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|m| (m.dev(), m.ino()));
    match (place(input), place(output)) {
        (Some(input), Some(same)) if input == same => {
            bail!("{}: the same file is read and written; write another one", output.display())
        }
        _ => Ok(()),
    }
}

/// A bar on standard error if that is a terminal and the end is known; it shows nothing elsewhere.
fn progress(len: Option<u64>) -> ProgressBar {
    let Some(len) = len else { return ProgressBar::hidden() };
    let style =
        ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    ProgressBar::new(len).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests;
