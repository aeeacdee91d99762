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
use octroi_tests::lab::{self, Tap, WINDOW, os};

use super::{
    counts::{self, total},
    filters::{self, Files},
    marked::{Book, Tally},
    wire::PATIENCE,
};
use crate::{demo::scene::Scene, report::demo::Check};

/// How often the filter is replaced.
const REPLACEMENTS: u64 = 100;

/// Replaces, and checks that nobody noticed but by the mark.
pub(super) fn run(scene: &mut Scene, files: &Files, checks: &mut Vec<Check>) -> Result<()> {
    let first = put(scene, files, 0)?.attached.context("it is not attached")?;
    let before = scene.at_rest()?;
    let stats: Vec<StatRow> = scene.ask("stats")?;
    let beside = os::beside_legacy(&scene.pair, || flow_while_replacing(scene, files));
    let (Outcome { tally, versions, replaced }, exchanges) = match beside {
        Ok(done) => done,
        Err(why) => {
            let all = "every ping and TCP byte";
            checks.push(Check::new("OS stack beside it", false, format!("{why:#}"), all));
            return Ok(());
        }
    };
    // The last version is still attached.
    let rows = filters::list(scene)?;
    let last = rows.into_iter().find(|row| row.at == first.at).context("the last version is not attached")?;
    let counted_up = last.generation - first.generation;
    let versions: Vec<FilterRow> = versions.into_iter().chain([last]).collect();
    let ended = replaced.map_or_else(|why| format!("{why:#}"), |()| "the last".to_owned());
    let after = scene.at_rest()?;
    let now: Vec<StatRow> = scene.ask("stats")?;
    let moved = |counter| total(&now, counter) - total(&stats, counter);
    let (from_class, from_zero) = (moved("ruler_from_class"), moved("ruler_from_zero"));

    let mut check = |what: &str, found: u64, wanted: u64| {
        checks.push(Check::equal(format!("replaced under load: {what}"), found, wanted));
    };
    check("times", versions.len() as u64 - 1, REPLACEMENTS);
    check("generations counted up", counted_up, REPLACEMENTS);
    account(&tally, &versions, &mut check);
    check("judged from where XDP had stopped, or from the first byte", from_class + from_zero, tally.sent);
    check("sent back, by the daemon's count", after.transmitted - before.transmitted, tally.sent);
    checks.push(Check::equal("replaced under load: up to which version", ended, "the last"));
    checks.push(Check::shown("replaced under load: packets sent", tally.sent));
    let name = "replaced under load: packets whose XDP program was of the version before";
    checks.push(Check::shown(name, from_zero));
    let name = "OS stack beside it: pings and TCP exchanges answered";
    checks.push(Check::at_least(name, exchanges as f64, 1.0));
    Ok(())
}

/// Holds what came back against what the versions have counted.
fn account(tally: &Tally, versions: &[FilterRow], check: &mut impl FnMut(&str, u64, u64)) {
    let &Tally { sent, marked: [a, b], out_of_order, foreign } = tally;
    let by = |name| versions.iter().filter(|row| row.filter == name).map(counts::judged).sum::<u64>();
    let busy = versions.iter().filter(|row| counts::judged(row) != 0).count() as u64;
    check("versions that judged packets", busy, REPLACEMENTS + 1);
    check("packets lost", sent.saturating_sub(a + b), 0);
    check("packets twice or out of order", out_of_order, 0);
    check("packets damaged or judged by none", foreign, 0);
    check("packets with mark A, as many as versions of A judged", a, by("a"));
    check("packets with mark B, as many as versions of B judged", b, by("b"));
}

/// Attaches the version of this number: of filter `a` if it is even.
fn put(scene: &Scene, files: &Files, number: u64) -> Result<Said> {
    let name = if number.is_multiple_of(2) { "a" } else { "b" };
    files.attach(scene, filters::MARKS, &["--filter", name, "--port", &scene.pair.served.ifname])
}

/// What came of it.
struct Outcome {
    tally: Tally,
    /// The versions that were replaced, as they were last.
    versions: Vec<FilterRow>,
    /// Whether all of them were.
    replaced: Result<()>,
}

/// Packets flow until the last version is there, or none come back any more.
fn flow_while_replacing(scene: &Scene, files: &Files) -> Result<Outcome> {
    let (arrived, mut versions) = (AtomicU64::new(0), Vec::new());
    let tap = Tap::open(&scene.pair.peer)?;
    let (tally, replaced) = thread::scope(|scope| {
        let replacing = scope.spawn(|| replace(scene, files, &arrived, &mut versions));
        let tally = flow(scene, &tap, &arrived, || !replacing.is_finished());
        (tally, replacing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok(Outcome { tally: tally?, versions, replaced })
}

/// Puts one version after the other; each judges some packets, the last one too.
fn replace(scene: &Scene, files: &Files, arrived: &AtomicU64, versions: &mut Vec<FilterRow>) -> Result<()> {
    for number in 1..=REPLACEMENTS {
        until_some_are_judged(arrived)?;
        versions.push(put(scene, files, number)?.replaced.context("it replaced nothing")?);
    }
    until_some_are_judged(arrived)
}

/// Waits until more packets have arrived than can have been under way: by then the version that is there now judged some.
fn until_some_are_judged(arrived: &AtomicU64) -> Result<()> {
    let enough = arrived.load(Ordering::Relaxed) + 2 * WINDOW;
    lab::until("packets flow", || Ok(enough <= arrived.load(Ordering::Relaxed)))
}

/// Sends while `go_on`, at most a window ahead of what came back; then takes the rest.
fn flow(scene: &Scene, tap: &Tap, arrived: &AtomicU64, go_on: impl Fn() -> bool) -> Result<Tally> {
    let mut book = Book::new(&scene.pair);
    // The OS's packets are seen here too: they are no sign that ours come back.
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        let back = book.tally.back();
        while book.tally.sent < back + WINDOW && go_on() {
            tap.send(&book.next_packet()?)?;
        }
        if book.tally.sent <= back || deadline <= Instant::now() {
            return Ok(book.tally);
        }
        if let Some(frame) = tap.receive(deadline)? {
            book.take(&frame)?;
        }
        if back < book.tally.back() {
            deadline = Instant::now() + PATIENCE;
            arrived.store(book.tally.back(), Ordering::Relaxed);
        }
    }
}
