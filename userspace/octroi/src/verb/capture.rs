//! `octroi capture`: packets of the engines into a pcapng file, or into a program that reads one.
//!
//! The engines put packets into rings and never wait; this empties the rings and writes. It knows no protocol above the
//! tuple: `tshark` and its like do. What the rings had no room for is counted and said at the end, and in the file.
pub(super) mod output;
pub(super) mod pcapng;
mod section;
mod watch;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use client::{
    capture::Capture,
    control::{
        capture::{CaptureStart, Point, Tuple},
        request::{LocalAddr, Proto},
    },
};

use self::{output::Output, section::Section, watch::Watch};
use super::{Outcome, target::endpoint};
use crate::{cli::Global, daemon};

/// Capture packets of the workers into a pcapng file. Packets of the OS stack never come to a worker and are not seen.
#[derive(Debug, Args)]
pub(crate) struct Take {
    /// Where: rx (received), tx (left, also to another stack of this host), drop (with the reason as comment).
    #[arg(long, value_name = "POINT", required = true, value_delimiter = ',', value_parser = point)]
    at: Vec<Point>,
    /// Only packets to and from this tuple: tcp, udp, sctp, dccp or udplite, then ADDR:PORT; ADDR is `any` or a
    /// local address, IPv6 in brackets. May be repeated; without it every packet is captured, which is for root.
    #[arg(long, value_names = ["PROTO", "ADDR:PORT"], num_args = 2, value_parser = word)]
    tuple: Vec<Word>,
    /// The file, or - for standard output.
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// End after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Keep at most so many bytes of a packet.
    #[arg(long, value_name = "BYTES", default_value = "65535", value_parser = clap::value_parser!(u16).range(1..))]
    snaplen: u16,
    /// Say at the end, on standard error, what was captured as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// One of the two words of a tuple.
#[derive(Clone, Copy, Debug)]
enum Word {
    Proto(Proto),
    Endpoint(LocalAddr, u16),
}

impl Take {
    /// Captures until somebody says that it is enough.
    ///
    /// # Errors
    /// The daemon refuses, or the file cannot be written. What is in the file then is whole.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        let start = self.start()?;
        // Before anything else: from here on Ctrl-C ends the capture, and not this program in the middle of it.
        let watch = Watch::open()?;
        let capture = Capture::start(daemon::connect(global)?, &start).context("cannot capture")?;
        // The file comes second: a capture that is refused leaves an older one alone.
        let output = Output::open(&self.write, pcapng::whole)?;
        let mut section = Section::begin(capture, output, &start, self.count)?;
        let end = self.duration.map(|duration| Instant::now() + duration);
        let ended = section.follow(&watch, end);
        let summary = section.close(ended)?;
        if self.json {
            eprintln!("{}", serde_json::to_string(&summary)?);
        } else {
            eprint!("{summary}");
        }
        Ok(summary.outcome())
    }

    fn start(&self) -> Result<CaptureStart> {
        let tuple = |words: &[Word]| match *words {
            [Word::Proto(proto), Word::Endpoint(addr, port)] => Ok(Tuple { proto, addr, port }),
            _ => bail!("--tuple: expected a protocol and ADDR:PORT, in this order"),
        };
        let (mut at, snaplen) = (self.at.clone(), self.snaplen);
        at.sort_unstable();
        at.dedup();
        Ok(CaptureStart { at, tuples: self.tuple.chunks(2).map(tuple).collect::<Result<_>>()?, snaplen })
    }
}

fn point(text: &str) -> Result<Point, String> {
    let named = Point::ALL.into_iter().find(|point| section::name(*point) == text);
    named.ok_or_else(|| "expected rx, tx or drop".to_owned())
}

fn word(text: &str) -> Result<Word, String> {
    match text.parse() {
        Ok(proto) => Ok(Word::Proto(proto)),
        Err(_) => endpoint(text)
            .map(|(addr, port)| Word::Endpoint(addr, port))
            .map_err(|error| format!("neither a protocol nor an endpoint: {error}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("expected more than no time".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["", "0", "-1", "soon", "inf", "1e99"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tuple_is_two_words() {
        assert!(matches!(word("udp"), Ok(Word::Proto(Proto::Udp))));
        assert!(matches!(word("any:53"), Ok(Word::Endpoint(LocalAddr::Any, 53))));
        assert!(matches!(word("[2001:db8::1]:53"), Ok(Word::Endpoint(LocalAddr::Ip(_), 53))));
        assert!(word("icmp").is_err());
    }
}
