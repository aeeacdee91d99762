//! A filter replaced a hundred times while packets flow: each packet comes back with the mark of the version that judged it.
//!
//! The two versions differ in the mark, and each replacement waits for some packets, so that every version judges some. The
//! flow is closed: at most a window of packets is under way, so that no ring is too small, and what is lost was lost by us.
use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};
use client::control::{
    answer::StatRow,
    ruler::{FilterRow, Said},
};
use octroi_tests::lab::{self, Flow, Stamp, Tap, WINDOW, frame::V4_HEADERS, os};

use super::{
    ECHO,
    counts::{self, total},
    filters::{self, Files},
    mixture::SPORT,
    wire::PATIENCE,
};
use crate::{demo::scene::Scene, report::demo::Check};

/// How often the filter is replaced.
const REPLACEMENTS: u64 = 100;

/// Bytes of payload: one for the mark, and those that say which packet it is.
const PAYLOAD: usize = 64;

/// The mark that packets are sent with.
const UNJUDGED: u8 = b'?';

/// Those that filters `a` and `b` write over it.
const MARKS: [u8; 2] = [b'A', b'B'];

/// UDP's number in IPv4.
const UDP: u8 = 17;

/// Flows that take turns.
const FLOWS: u16 = 8;

/// What became of the packets, by their own account.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    /// Those that came back right and in order, by mark: A and B.
    marked: [u64; 2],
    /// Came back before one that was sent earlier, or once more.
    out_of_order: u64,
    /// Came and are none of ours, or have another byte changed.
    foreign: u64,
}

/// Replaces, and checks that nobody noticed but by the mark.
pub(super) fn run(scene: &mut Scene, files: &Files, checks: &mut Vec<Check>) -> Result<()> {
    let first = put(scene, files, 0)?.attached.context("it is not attached")?;
    let before = scene.at_rest()?;
    let stats: Vec<StatRow> = scene.ask("stats")?;
    let beside = os::beside_legacy(&scene.pair, || flow_while_replacing(scene, files));
    let ((tally, versions), exchanges) = match beside {
        Ok(done) => done,
        Err(why) => {
            checks.push(Check::new("filters replaced under load", false, format!("{why:#}"), "done"));
            return Ok(());
        }
    };
    let after = scene.at_rest()?;
    let now: Vec<StatRow> = scene.ask("stats")?;
    let moved = |counter| total(&now, counter) - total(&stats, counter);
    // The last one is still attached.
    let rows = filters::list(scene)?;
    let last = rows.into_iter().find(|row| row.at == first.at).context("the last version is not attached")?;
    let counted_up = last.generation - first.generation;
    let versions: Vec<FilterRow> = versions.into_iter().chain([last]).collect();

    let Tally { sent, marked: [a, b], out_of_order, foreign } = tally;
    let by = |name| versions.iter().filter(|row| row.filter == name).map(counts::judged).sum::<u64>();
    let busy = versions.iter().filter(|row| counts::judged(row) != 0).count() as u64;
    for (what, found, wanted) in [
        ("times that the filter was replaced", versions.len() as u64 - 1, REPLACEMENTS),
        ("generations counted up", counted_up, REPLACEMENTS),
        ("versions that judged packets", busy, REPLACEMENTS + 1),
        ("packets lost", sent.saturating_sub(a + b), 0),
        ("packets twice or out of order", out_of_order, 0),
        ("packets damaged or judged by none", foreign, 0),
        ("packets with mark A, as many as versions of A judged", a, by("a")),
        ("packets with mark B, as many as versions of B judged", b, by("b")),
        (
            "judged from where XDP had stopped, or from the first byte",
            moved("ruler_from_class") + moved("ruler_from_zero"),
            sent,
        ),
        ("sent back, by the daemon's count", after.transmitted - before.transmitted, sent),
    ] {
        checks.push(Check::equal(format!("replaced under load: {what}"), found, wanted));
    }
    checks.push(Check::shown("replaced under load: packets sent", sent));
    checks.push(Check::shown(
        "replaced under load: packets whose XDP program was of the version before",
        moved("ruler_from_zero"),
    ));
    checks.push(Check::at_least(
        "OS stack beside it: pings and TCP exchanges answered",
        exchanges as f64,
        1.0,
    ));
    Ok(())
}

/// Attaches the version of this number: of filter `a` if it is even.
fn put(scene: &Scene, files: &Files, number: u64) -> Result<Said> {
    let name = if number.is_multiple_of(2) { "a" } else { "b" };
    files.attach(scene, filters::MARKS, &["--filter", name, "--port", &scene.pair.served.ifname])
}

/// Packets flow until the last version is there. The versions that were replaced, as they were last.
fn flow_while_replacing(scene: &Scene, files: &Files) -> Result<(Tally, Vec<FilterRow>)> {
    let arrived = AtomicU64::new(0);
    let tap = Tap::open(&scene.pair.peer)?;
    thread::scope(|scope| {
        let replacing = scope.spawn(|| replace(scene, files, &arrived));
        let tally = flow(scene, &tap, &arrived, || !replacing.is_finished());
        let versions = replacing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((tally?, versions?))
    })
}

/// Puts one version after the other; each judges some packets, the last one too.
fn replace(scene: &Scene, files: &Files, arrived: &AtomicU64) -> Result<Vec<FilterRow>> {
    let mut replaced = Vec::new();
    for number in 1..=REPLACEMENTS {
        until_some_are_judged(arrived)?;
        replaced.push(put(scene, files, number)?.replaced.context("it replaced nothing")?);
    }
    until_some_are_judged(arrived)?;
    Ok(replaced)
}

/// Waits until more packets have arrived than can have been under way: by then the version that is there now judged some.
fn until_some_are_judged(arrived: &AtomicU64) -> Result<()> {
    let enough = arrived.load(Ordering::Relaxed) + 2 * WINDOW;
    lab::until("packets flow", || Ok(enough <= arrived.load(Ordering::Relaxed)))
}

/// Sends while `go_on`, at most a window ahead of what came back; then takes the rest.
fn flow(scene: &Scene, tap: &Tap, arrived: &AtomicU64, go_on: impl Fn() -> bool) -> Result<Tally> {
    let flows = (0..FLOWS).map(|n| Flow::v4(&scene.pair.peer, SPORT + n, &scene.pair.served, ECHO)).collect();
    let mut book = Book { flows, next: 0, tally: Tally::default() };
    loop {
        while book.tally.sent < book.tally.back() + WINDOW && go_on() {
            tap.send(&book.packet(book.tally.sent)?)?;
            book.tally.sent += 1;
        }
        if book.tally.sent <= book.tally.back() {
            return Ok(book.tally);
        }
        match tap.receive(Instant::now() + PATIENCE)? {
            Some(frame) => book.take(&frame)?,
            None => return Ok(book.tally),
        }
        arrived.store(book.tally.back(), Ordering::Relaxed);
    }
}

/// What was sent, and what came back.
struct Book {
    flows: Vec<Flow>,
    /// The least number that has not come back, if none is lost.
    next: u64,
    tally: Tally,
}

impl Book {
    /// The packet of this number.
    fn packet(&self, number: u64) -> Result<Vec<u8>> {
        self.flow(number).udp(&[], &payload(UNJUDGED, number))
    }

    fn flow(&self, number: u64) -> Flow {
        self.flows[(number % u64::from(FLOWS)) as usize]
    }

    /// Enters a frame that came.
    fn take(&mut self, frame: &[u8]) -> Result<()> {
        // Pings and TCP are the OS's.
        if frame.get(12..14) != Some(&[8, 0]) || frame.get(23) != Some(&UDP) {
            return Ok(());
        }
        let Some((number, mark)) = self.identify(frame)? else {
            self.tally.foreign += 1;
            return Ok(());
        };
        if number < self.next {
            self.tally.out_of_order += 1;
            return Ok(());
        }
        self.next = number + 1;
        self.tally.marked[mark] += 1;
        Ok(())
    }

    /// The number of the packet that this answers, and which mark it has, if it is right to the byte.
    fn identify(&self, frame: &[u8]) -> Result<Option<(u64, usize)>> {
        let Some((mark, stamp)) = frame.get(V4_HEADERS..).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let stamp = Stamp::read(stamp).filter(|stamp| stamp.sequence < self.tally.sent);
        let (Some(stamp), Some(which)) = (stamp, MARKS.iter().position(|known| known == mark)) else {
            return Ok(None);
        };
        let answer = self.flow(stamp.sequence).reversed().udp(&[], &payload(*mark, stamp.sequence))?;
        Ok((answer == frame).then_some((stamp.sequence, which)))
    }
}

impl Tally {
    fn back(&self) -> u64 {
        self.marked.iter().sum()
    }
}

fn payload(mark: u8, number: u64) -> Vec<u8> {
    let stamp = Stamp { flow: 0, sequence: number };
    [&[mark], &stamp.payload(PAYLOAD - 1)[..]].concat()
}

#[cfg(test)]
mod tests {
    use octroi_tests::lab::Mac;

    use super::*;

    fn book() -> Book {
        let flow = |n| Flow {
            from_mac: Mac([2, 0, 0, 0, 0, 1]),
            to_mac: Mac([2, 0, 0, 0, 0, 2]),
            from: ([10, 77, 0, 101], SPORT + n).into(),
            to: ([10, 77, 0, 2], ECHO).into(),
        };
        Book { flows: (0..FLOWS).map(flow).collect(), next: 0, tally: Tally { sent: 20, ..Tally::default() } }
    }

    fn taken(frames: impl IntoIterator<Item = (u64, u8)>) -> Tally {
        let mut book = book();
        for (number, mark) in frames {
            let frame = book.flow(number).reversed().udp(&[], &payload(mark, number)).unwrap();
            book.take(&frame).unwrap();
        }
        book.tally
    }

    #[test]
    fn marks_are_counted_and_what_is_wrong_is_seen() {
        let tally = taken([(0, b'A'), (1, b'B'), (2, b'B')]);
        assert_eq!((tally.marked, tally.out_of_order, tally.foreign), ([1, 2], 0, 0));
        let tally = taken([(0, b'A'), (0, b'B'), (2, b'B'), (1, b'B')]);
        assert_eq!((tally.marked, tally.out_of_order), ([1, 1], 2));
        // Not judged, and never sent.
        assert_eq!(taken([(0, UNJUDGED), (20, b'A')]).foreign, 2);
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let whole = book().flow(3).reversed().udp(&[], &payload(b'A', 3)).unwrap();
        for at in 0..whole.len() {
            let mut frame = whole.clone();
            frame[at] ^= 0x80;
            let mut book = book();
            book.take(&frame).unwrap();
            assert_eq!(book.tally.back(), 0, "byte {at}");
        }
    }
}
