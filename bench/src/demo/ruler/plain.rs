//! What Octroi does without a filter: before the first is attached, and after the last is taken away.
use anyhow::Result;
use client::control::answer::StatRow;
use octroi_tests::lab::Tap;

use super::{OS_CLOSED, mixture::Kind, os, wire};
use crate::{demo::scene::Scene, report::demo::Check};

/// Of each.
const COUNT: u16 = 200;

/// Checks that what filters shorten comes back whole, and that what they reject arrives.
pub(super) fn run(scene: &mut Scene, when: &str, checks: &mut Vec<Check>) -> Result<()> {
    let before = (scene.at_rest()?, by_filters(scene)?);
    let open = os::exchange(&scene.pair, OS_CLOSED, u64::from(COUNT))?;
    let tap = Tap::open(&scene.pair.peer)?;
    let (mut frames, mut answers) = (Vec::new(), Vec::new());
    for n in 0..COUNT {
        frames.push(Kind::Lines.frame(&scene.pair, n)?);
        frames.push(Kind::SinkV6.frame(&scene.pair, n)?);
        answers.push(Kind::Lines.untouched(&scene.pair, n)?);
    }
    let came = wire::send(scene, &tap, &frames, u64::from(COUNT))?;
    let (known, others) = wire::told_apart(&came, &answers);
    let after = (scene.at_rest()?, by_filters(scene)?);
    let count = u64::from(COUNT);
    for (what, found, wanted) in [
        ("echo: packets that came back whole", known, count),
        ("other packets that came back", others.len() as u64, 0),
        ("sink: packets by IPv6", after.0.delivered - before.0.delivered, count),
        ("OS stack: datagrams answered on the port that is to be closed", open, count),
        ("packets that a filter decided on", after.1 - before.1, 0),
    ] {
        checks.push(Check::equal(format!("{when}, {what}"), found, wanted));
    }
    Ok(())
}

/// What all counters of filters say together, but those of single filters, which go with them.
fn by_filters(scene: &Scene) -> Result<u64> {
    let stats: Vec<StatRow> = scene.ask("stats")?;
    let filters = |row: &&StatRow| row.name.starts_with("ruler_") || row.name.starts_with("xdp.ruler_");
    Ok(stats.iter().filter(filters).map(|row| row.value).sum())
}
