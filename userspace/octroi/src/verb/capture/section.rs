//! One capture from its beginning to its end: interfaces, packets, statistics, and what is said of it.
use std::{
    fmt::{self, Write as _},
    os::fd::AsFd,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use abi::{
    capture::{Record, State, flag},
    rxmeta::CLASS_NONE,
    steer::{builtin, kind},
};
use anyhow::{Context, Result};
use client::{
    capture::{Capture, LONGEST, PAUSE, Shown},
    control::capture::{CaptureStart, Point},
};
use serde::Serialize;

use super::{
    output::{Output, Unwritten},
    pcapng::{self, Direction, Packet, Statistics},
    watch::{Came, Watch},
};
use crate::{table::thousands, verb::Outcome};

/// Packets after which their room is given back to the engines.
const GIVE_BACK: usize = 64;
/// Packets after which signals are looked at.
const LOOK_UP: usize = 16_384;
/// Longest pause between two looks at rings in which nothing was.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);
/// The header that an application's packet never got: nobody to nobody.
const NO_LINK: usize = 14;

/// A capture that is being written.
pub(super) struct Section {
    capture: Capture,
    output: Output,
    points: Vec<Point>,
    /// One for each interface and point, in the order of the interfaces in the file.
    lines: Vec<Written>,
    snaplen: usize,
    start_ns: u64,
    left: u64,
    bytes: Box<[u8]>,
    comment: String,
}

/// Why a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    /// It has as many packets as were asked for.
    Count,
    /// Its time is over.
    Duration,
    /// Ctrl-C, or another signal.
    Signal,
    /// The program that read it has seen enough.
    ReaderGone,
    /// The tuple has another owner.
    Released,
    /// The daemon went down.
    Down,
    /// The daemon is gone without a word.
    DaemonGone,
}

/// What was written of one interface at one point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Written {
    interface: String,
    at: Point,
    /// Packets in the file.
    written: u64,
    /// Packets that the rings had no room for.
    lost: u64,
}

/// What is said at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    file: String,
    ended: Ended,
    written: u64,
    lost: u64,
    lines: Vec<Written>,
}

/// The end of a loop: a reason, or a file that takes no more.
type End = Result<Ended, Unwritten>;

impl Section {
    /// Writes what comes before the packets.
    ///
    /// # Errors
    /// The file takes nothing.
    pub(super) fn begin(
        capture: Capture,
        output: Output,
        start: &CaptureStart,
        count: Option<u64>,
    ) -> Result<Self> {
        let points = start.at.clone();
        let interfaces = &capture.started().interfaces;
        let line =
            |interface: &String, &at| Written { interface: interface.clone(), at, written: 0, lost: 0 };
        let lines = interfaces.iter().flat_map(|name| points.iter().map(move |at| line(name, at))).collect();
        let mut section = Self {
            points,
            lines,
            snaplen: usize::from(start.snaplen),
            start_ns: now_ns(),
            left: count.unwrap_or(u64::MAX),
            bytes: vec![0; NO_LINK + LONGEST].into(),
            comment: String::new(),
            capture,
            output,
        };
        let Self { output, lines, .. } = &mut section;
        let application = concat!("octroi ", env!("CARGO_PKG_VERSION"));
        pcapng::section(output.block(), application);
        for line in lines {
            let description = match line.at {
                Point::Rx => "received by a worker",
                Point::Tx => "sent by a worker",
                Point::Drop => "dropped by a worker",
            };
            pcapng::interface(output.block(), &line.interface, description, start.snaplen.into());
        }
        // At once: whoever waits for the file finds a capture that has begun.
        match section.output.flush() {
            Ok(()) | Err(Unwritten::ReaderGone) => Ok(section),
            Err(Unwritten::Failed(error)) => Err(error).context(section.output.name().to_owned()),
        }
    }

    /// Writes packets until the capture ends.
    pub(super) fn follow(&mut self, watch: &Watch, end: Option<Instant>) -> End {
        let mut pause = PAUSE;
        loop {
            // Before the rings: what was shown before the end is in them.
            let state = self.capture.state();
            let count = self.copy()?;
            if self.left == 0 {
                return Ok(Ended::Count);
            }
            if count == LOOK_UP {
                pause = Duration::ZERO;
            } else {
                self.output.flush()?;
                match state {
                    State::Live => {}
                    State::Released => return Ok(Ended::Released),
                    State::Stopped | State::Down => return Ok(Ended::Down),
                }
                pause = if count == 0 { (pause * 2).clamp(PAUSE, LONGEST_PAUSE) } else { PAUSE };
            }
            let rest = end.map_or(pause, |end| end.saturating_duration_since(Instant::now()).min(pause));
            match watch.wait(self.capture.connection().as_fd(), rest) {
                Came::Signal => return Ok(Ended::Signal),
                Came::Daemon => return Ok(self.daemon_went()),
                Came::Nothing if end.is_some_and(|end| end <= Instant::now()) => return Ok(Ended::Duration),
                Came::Nothing => {}
            }
        }
    }

    /// The daemon closed the connection; a daemon that went down in order said so before.
    fn daemon_went(&self) -> Ended {
        match self.capture.state() {
            State::Released => Ended::Released,
            State::Down => Ended::Down,
            State::Live | State::Stopped => Ended::DaemonGone,
        }
    }

    /// Copies packets, not more than some, and returns how many.
    fn copy(&mut self) -> Result<usize, Unwritten> {
        let mut count = 0;
        while count < LOOK_UP && self.left != 0 {
            let Some(bytes) = self.bytes.get_mut(NO_LINK..) else { break };
            let shown =
                self.capture.next(bytes).map_err(|error| Unwritten::Failed(std::io::Error::other(error)))?;
            let Some(shown) = shown else { break };
            self.write(&shown);
            self.output.spill()?;
            count += 1;
            if count % GIVE_BACK == 0 {
                self.capture.give_back();
            }
        }
        self.capture.give_back();
        Ok(count)
    }

    fn write(&mut self, shown: &Shown) {
        let Shown { point, record, time_ns } = shown;
        let Some(place) = self.points.iter().position(|at| at.seen() == *point) else { return };
        // An interface that came after the capture had begun is none of its: there is none such today.
        let interface = usize::from(record.link) * self.points.len() + place;
        let Some(line) = self.lines.get_mut(interface) else { return };
        let started = self.capture.started();
        self.comment.clear();
        comment(&mut self.comment, record, &started.reasons, line.at);
        let (first, len) = link_header(&mut self.bytes, record);
        let captured = (NO_LINK - first + usize::from(record.captured)).min(self.snaplen);
        let packet = Packet {
            interface: interface as u32,
            time_ns: *time_ns,
            bytes: self.bytes.get(first..first + captured).unwrap_or_default(),
            len,
            direction: match record.flags & flag::OUTBOUND {
                0 => Direction::Inbound,
                _ => Direction::Outbound,
            },
            queue: started.queues.get(usize::from(record.port)).copied(),
            comment: &self.comment,
        };
        pcapng::packet(self.output.block(), &packet);
        line.written += 1;
        self.left -= 1;
    }

    /// Ends the capture, writes what was still shown, and the statistics.
    ///
    /// # Errors
    /// The file takes no more; it is whole all the same.
    pub(super) fn close(mut self, ended: End) -> Result<Summary> {
        // A daemon that is gone has ended it too.
        let _ = self.capture.stop();
        let ended = ended.and_then(|ended| {
            while ended != Ended::ReaderGone && self.copy()? != 0 {}
            Ok(ended)
        });
        self.count_lost();
        let ended = ended.and_then(|ended| {
            self.write_statistics();
            self.output.flush()?;
            Ok(ended)
        });
        let ended = match ended {
            Ok(ended) => ended,
            Err(Unwritten::ReaderGone) => Ended::ReaderGone,
            Err(Unwritten::Failed(error)) => {
                let written: u64 = self.lines.iter().map(|line| line.written).sum();
                let name = self.output.name();
                return Err(error).context(format!("{name}: ended after {} packets", thousands(written)));
            }
        };
        let sum = |of: fn(&Written) -> u64| self.lines.iter().map(of).sum();
        let (written, lost) = (sum(|line| line.written), sum(|line| line.lost));
        Ok(Summary { file: self.output.name().to_owned(), ended, written, lost, lines: self.lines })
    }

    fn count_lost(&mut self) {
        let points = self.points.len();
        for (at, line) in self.lines.iter_mut().enumerate() {
            line.lost = self.capture.counts(line.at.seen(), (at / points) as u16).lost;
        }
    }

    fn write_statistics(&mut self) {
        let end_ns = now_ns();
        for (at, line) in self.lines.iter().enumerate() {
            let link = (at / self.points.len()) as u16;
            let counts = self.capture.counts(line.at.seen(), link);
            let statistics = Statistics {
                start_ns: self.start_ns,
                end_ns,
                accepted: counts.taken + counts.lost,
                dropped: counts.lost,
                delivered: line.written,
            };
            pcapng::statistics(self.output.block(), at as u32, &statistics);
        }
    }
}

impl Summary {
    /// Whether the capture ended as captures do.
    pub(super) const fn outcome(&self) -> Outcome {
        match self.ended {
            Ended::DaemonGone => Outcome::Unwell,
            _ => Outcome::Well,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, ended, written, lost, .. } = self;
        let why = match ended {
            Ended::Count | Ended::Duration | Ended::Signal | Ended::ReaderGone => "",
            Ended::Released => "; the tuple has another owner now, or none",
            Ended::Down => "; the daemon went down",
            Ended::DaemonGone => "; the daemon is gone",
        };
        writeln!(
            f,
            "{file}: {} packets, {} lost for want of room{why}",
            thousands(*written),
            thousands(*lost)
        )
    }
}

impl From<Unwritten> for anyhow::Error {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::ReaderGone => std::io::Error::from(std::io::ErrorKind::BrokenPipe).into(),
            Unwritten::Failed(error) => error.into(),
        }
    }
}

/// The word for a point.
pub(super) const fn name(point: Point) -> &'static str {
    match point {
        Point::Rx => "rx",
        Point::Tx => "tx",
        Point::Drop => "drop",
    }
}

/// What is said beside a packet: whose it is, or why it was dropped.
fn comment(text: &mut String, record: &Record, reasons: &[String], at: Point) {
    match at {
        Point::Drop => {
            text.push_str(reasons.get(usize::from(record.reason)).map_or("unknown", String::as_str));
        }
        Point::Tx if record.flags & flag::HAIRPIN != 0 => text.push_str("hairpin"),
        Point::Tx => {}
        Point::Rx => {
            let Record { kind, id, generation, class, flags, .. } = *record;
            match (kind, id) {
                _ if flags & flag::UNCLAIMED != 0 => text.push_str("unclaimed"),
                (kind::BUILTIN, builtin::SINK) => text.push_str("sink"),
                (kind::BUILTIN, builtin::ECHO) => text.push_str("echo"),
                // Writing to a string cannot fail.
                (kind::STACK, _) => _ = write!(text, "stack {id}.{generation}"),
                _ => _ = write!(text, "kind {kind}, {id}.{generation}"),
            }
            if class != CLASS_NONE {
                let _ = write!(text, ", class {class}");
            }
            if flags & flag::HAIRPIN != 0 {
                text.push_str(", hairpin");
            }
        }
    }
}

/// Where the frame begins in the buffer, and how long it was. An application's packet that never got an Ethernet header is
/// given one without addresses: a file whose interfaces have different link types is read by few programs.
fn link_header(bytes: &mut [u8], record: &Record) -> (usize, u32) {
    let len = u32::from(record.len);
    if record.flags & flag::BARE == 0 || record.captured == 0 {
        return (NO_LINK, len);
    }
    let version = bytes.get(NO_LINK).map_or(0, |first| first >> 4);
    let ethertype: [u8; 2] = if version == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    if let Some(header) = bytes.first_chunk_mut::<NO_LINK>() {
        *header = [0; NO_LINK];
        header[12..].copy_from_slice(&ethertype);
    }
    (0, len + NO_LINK as u32)
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_say_whose_a_packet_is_or_why_it_was_dropped() {
        let reasons = ["rx".to_owned(), "rx_stale".to_owned()];
        let said = |record: Record, at| {
            let mut text = String::new();
            comment(&mut text, &record, &reasons, at);
            text
        };
        let none = Record { class: CLASS_NONE, ..Record::default() };
        let builtin = |id| Record { kind: kind::BUILTIN, id, ..none };
        assert_eq!(said(builtin(builtin::ECHO), Point::Rx), "echo");
        assert_eq!(said(builtin(builtin::SINK), Point::Rx), "sink");
        let stack = Record { kind: kind::STACK, id: 3, generation: 1, ..none };
        assert_eq!(said(Record { class: 7, ..stack }, Point::Rx), "stack 3.1, class 7");
        assert_eq!(said(Record { flags: flag::HAIRPIN, ..stack }, Point::Rx), "stack 3.1, hairpin");
        assert_eq!(said(Record { flags: flag::UNCLAIMED, ..none }, Point::Rx), "unclaimed");
        assert_eq!(said(none, Point::Tx), "");
        assert_eq!(said(Record { flags: flag::HAIRPIN, ..none }, Point::Tx), "hairpin");
        assert_eq!(said(Record { reason: 1, ..none }, Point::Drop), "rx_stale");
        assert_eq!(said(Record { reason: 9, ..none }, Point::Drop), "unknown");
    }

    #[test]
    fn a_bare_packet_gets_a_header_of_nobodys() {
        let mut bytes = [0xff; NO_LINK + 40];
        bytes[NO_LINK] = 0x60;
        let bare = Record { flags: flag::BARE, len: 40, captured: 40, ..Record::default() };
        assert_eq!(link_header(&mut bytes, &bare), (0, 54));
        assert_eq!(bytes[..14], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd]);
        assert_eq!(link_header(&mut bytes, &Record { flags: 0, ..bare }), (NO_LINK, 40));
        assert_eq!(link_header(&mut bytes, &Record { captured: 0, len: 0, ..bare }), (NO_LINK, 0));
    }
}
