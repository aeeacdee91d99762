//! A mixture of frames through three filters: each has the end that it must have, and each rule has counted what it decided.
use anyhow::{Context as _, Result};
use client::control::{
    answer::{StatRow, TargetRow},
    ruler::FilterRow,
    status::Books,
};
use octroi_tests::lab::{Ping, Tap};

use super::{
    OS_OPEN, SLAMMED, VEILED,
    counts::{self, total},
    filters::{self, Files},
    mixture::{self, Kind},
    os,
    veiled::{self, Findings},
    wire,
};
use crate::{demo::scene::Scene, report::demo::Check};

/// What the OS stacks say to each other: the gate judges it too.
const DATAGRAMS: u64 = 200;
const PINGS: u16 = 100;

/// Attaches the filters, sends the mixture, and checks what came of it.
pub(super) fn run(scene: &mut Scene, files: &Files, checks: &mut Vec<Check>) -> Result<()> {
    attach(scene, files, checks)?;
    let before = Before { books: scene.at_rest()?, stats: scene.ask("stats")? };
    let answered = os::exchange(&scene.pair, OS_OPEN, DATAGRAMS)?;
    checks.push(Check::equal("OS stack behind the filter: datagrams answered", answered, DATAGRAMS));
    let pings = Ping::open(&scene.pair.peer.netns, scene.pair.served.v4.into())?.times(PINGS);
    let found = pings.map_or_else(|lost| format!("{lost:#}"), |()| format!("{PINGS} of {PINGS}"));
    checks.push(Check::equal(
        "OS stack behind the filter: pings answered",
        found,
        format!("{PINGS} of {PINGS}"),
    ));

    let tap = Tap::open(&scene.pair.peer)?;
    let frames = mixture::frames(&scene.pair)?;
    let comes_back = Kind::sum(&[Kind::Lines, Kind::EchoV6, Kind::Veiled]);
    let came = wire::send(scene, &tap, &frames, comes_back)?;
    came_back(scene, &came, checks)?;
    ends(scene, &before, checks)?;
    rules(scene, checks)
}

/// Where everything stood.
struct Before {
    books: Books,
    stats: Vec<StatRow>,
}

/// One filter on the interface, two on targets.
fn attach(scene: &Scene, files: &Files, checks: &mut Vec<Check>) -> Result<()> {
    let gate = files.attach_gate(scene)?.attached.context("it is not attached")?;
    let size = gate.header.instructions.map(|n| format!("{n} instructions"));
    checks.push(Check::new(
        "a header program of the interface's filter runs in XDP",
        size.is_some(),
        size.or(gate.header.why).unwrap_or_default(),
        "some instructions",
    ));
    files.attach(scene, filters::SIGNATURES, &["--target", &target(scene, SLAMMED)?])?;
    files.attach_veil(scene, &target(scene, VEILED)?)?;
    Ok(())
}

/// How `octroi target list` calls the target on this port, as `--target` wants it.
pub(super) fn target(scene: &Scene, port: u16) -> Result<String> {
    let rows: Vec<TargetRow> = scene.ask_in(&["target", "list"])?;
    let row = rows.iter().find(|row| row.port == port);
    Ok(format!("builtin:{}", row.with_context(|| format!("no target on port {port}"))?.tuple))
}

/// What came back is what must, to the byte.
fn came_back(scene: &Scene, came: &[Vec<u8>], checks: &mut Vec<Check>) -> Result<()> {
    let wanted = mixture::answers(&scene.pair)?;
    let (known, others) = wire::told_apart(came, &wanted);
    checks.push(Check::equal(
        "echo: first lines and untouched packets that came back, to the byte",
        known,
        Kind::sum(&[Kind::Lines, Kind::EchoV6]),
    ));
    let veiled: Vec<_> = (0..Kind::Veiled.count()).map(|n| Kind::Veiled.flow(&scene.pair, n)).collect();
    let count = Kind::sum(&[Kind::Veiled]);
    let Findings { right, unchanged, pairs_kept, pairs } = veiled::judge(&veiled, others.iter().copied())?;
    checks.push(Check::equal(
        "anonymised: packets that came back, all but IP addresses to the byte",
        right,
        count,
    ));
    checks.push(Check::equal("anonymised: addresses that are what they were", unchanged, 0_u64));
    // All askers, and the served address.
    let all = (count + 1) * count / 2;
    checks.push(Check::equal(
        "anonymised: pairs of addresses with as long a common prefix as before",
        format!("{pairs_kept} of {pairs}"),
        format!("{all} of {all}"),
    ));
    let foreign = others.len() as u64 - right;
    checks.push(Check::equal("packets that came back and should not have", foreign, 0_u64));
    Ok(())
}

/// Every frame has its end, and the daemon's counters say which.
fn ends(scene: &mut Scene, before: &Before, checks: &mut Vec<Check>) -> Result<()> {
    use Kind::{Closed, EchoV6, Harmless, Lines, NoWorm, SinkV6, Stealing, Veiled, Worm};
    let after = scene.at_rest()?;
    let sum = Kind::sum;
    let os = DATAGRAMS + u64::from(PINGS);
    for (what, found, wanted) in [
        ("packets that came in", after.rx - before.books.rx, sum(&Kind::ALL) + os),
        ("… and went to the OS stack", after.passed - before.books.passed, os),
        ("… and were sent back", after.transmitted - before.books.transmitted, sum(&[Lines, EchoV6, Veiled])),
        (
            "… and were delivered to a sink",
            after.delivered - before.books.delivered,
            sum(&[Harmless, NoWorm]),
        ),
    ] {
        checks.push(Check::equal(what, found, wanted));
    }
    let stats: Vec<StatRow> = scene.ask("stats")?;
    let to_port = [Stealing, Harmless, Lines, EchoV6, Worm, NoWorm, Veiled];
    for (what, counter, wanted) in [
        ("… and were rejected in XDP", "xdp.ruler_reject", sum(&[Closed, SinkV6])),
        ("… and were rejected by a worker", "ruler_reject", sum(&[Stealing, Worm])),
        ("judged by a worker from where XDP had stopped", "ruler_from_class", sum(&to_port)),
        ("judged from the first byte, for a target", "ruler_from_zero", sum(&[Worm, NoWorm, Veiled])),
    ] {
        let found = total(&stats, counter) - total(&before.stats, counter);
        checks.push(Check::equal(format!("{what} ({counter})"), found, wanted));
    }
    Ok(())
}

/// Every rule has counted what it decided, and `octroi ruler list` and `octroi stats` agree.
fn rules(scene: &Scene, checks: &mut Vec<Check>) -> Result<()> {
    use Kind::{Closed, EchoV6, Harmless, Lines, NoWorm, SinkV6, Stealing, Veiled, Worm};
    let sum = Kind::sum;
    let rows = filters::list(scene)?;
    let os = DATAGRAMS + u64::from(PINGS);
    // By headers alone, and claimed: decided in XDP, and found again by a worker.
    let both = sum(&[EchoV6, Worm, NoWorm, Veiled]);
    for (filter, rule, what, in_xdp, by_workers) in [
        (filters::GATE, Some(1), "reject for the OS stack", sum(&[Closed]), 0),
        (filters::GATE, Some(2), "reject for the sink", sum(&[SinkV6]), 0),
        (filters::GATE, Some(3), "reject by payload", 0, sum(&[Stealing])),
        (filters::GATE, Some(4), "shorten", 0, sum(&[Lines])),
        (filters::GATE, Some(5), "accept", both + os, both + sum(&[Harmless])),
        (filters::SIGNATURES, Some(2), "reject a worm", 0, sum(&[Worm])),
        (filters::SIGNATURES, None, "accept", 0, sum(&[NoWorm])),
        (filters::VEIL, Some(1), "anonymise", 0, sum(&[Veiled])),
    ] {
        let row = rows.iter().find(|row| row.filter == filter).with_context(|| format!("no {filter}"))?;
        // The last one, where it has no number here.
        let number = rule.map_or(row.rules.len(), |number: usize| number);
        let found = row.rules.get(number - 1).map_or_else(|| "no such rule".to_owned(), counts::did);
        checks.push(Check::equal(
            format!("{filter}, rule {number}: {what}"),
            found,
            counts::figures(in_xdp, by_workers),
        ));
    }
    let rewritten = |row: &FilterRow| {
        let rewrites = row.rules.iter().filter(|rule| rule.action == "rewrite");
        rewrites.map(|rule| rule.matched - rule.refused).sum::<u64>()
    };
    checks.push(Check::equal(
        "rewritten by workers",
        rows.iter().map(rewritten).sum::<u64>(),
        sum(&[Lines, Veiled]),
    ));
    let stats: Vec<StatRow> = scene.ask("stats")?;
    let (listed, counted) = (counts::of_list(&rows), counts::of_stats(&stats));
    let agree = listed.iter().filter(|(key, value)| counted.get(*key) == Some(value)).count();
    checks.push(Check::new(
        "octroi stats has the same figures as octroi ruler list",
        listed == counted && !listed.is_empty(),
        format!("{agree} of {}", counted.len()),
        format!("{0} of {0}", listed.len()),
    ));
    Ok(())
}
