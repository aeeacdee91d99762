//! `ndr_veth_*`, `pdr_veth_*`: the highest rates that come back without loss and with next to none, by RFC 9971.
//!
//! Octroi's search and the bare program's take turns, trial by trial. One search is some hundred trials of a second, and
//! decides by itself when it has seen enough: that is why a row of one run is no quick look. A search that runs out of
//! time is irregular and says so. No row has a limit: one hiccup of a shared machine decides about a rate without loss,
//! and `echo_veth_60` holds what can be held.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result};

use super::{
    Extent,
    echoes::{Echo, Who},
};
use crate::{
    peer::bare::Shape,
    report::bench::{Flag, Row},
    search::{Goal, GoalResult, Load, Search, controller::Side, in_turns},
    traffic::size::{Mix, RFC2544},
};

/// Rings and packet memory of both sides. At half a million frames a second they outlast a pause of 16 ms, as shared
/// machines have: what is searched for is how much the road carries, not how long its cores stood still.
const LASTING: Shape = Shape { frames: 16_384, ring: 8_192, headroom: 16 };
/// Share of the generator's ceiling up to which a result is Octroi's and not the generator's.
const TRUSTED: f64 = 0.8;
/// Lowest rate that is tried, in frames a second.
const SLOWEST: Load = Load(1_000);
/// Longest search of a mix that is searched unasked.
const PATIENCE: Duration = Duration::from_secs(230);
/// Longest search of any other mix, which is there for the shape.
const GLANCE: Duration = Duration::from_secs(110);
/// Trials of a quick look, in seconds.
const QUICK_TRIAL_S: f64 = 0.25;

/// What is searched if nothing is named: a suite ends within minutes.
const USUAL: [&str; 2] = ["64", "imix"];

/// Measures the mixes that `extent` wants: RFC 2544's sizes by their number, and `imix`.
pub(super) fn rows(extent: &Extent, say: &dyn Fn(&str), rows: &mut Vec<Row>) -> Result<()> {
    let sizes = RFC2544.into_iter().map(|size| (size.bytes().to_string(), Mix::Fixed(size)));
    for (name, mix) in sizes.chain([("imix".to_owned(), Mix::Imix)]) {
        let ids = [Goal::NDR, Goal::PDR].map(|goal| id(&goal, &name));
        let wanted = if extent.names_none() {
            USUAL.contains(&name.as_str())
        } else {
            ids.iter().any(|id| extent.wants(id))
        };
        if wanted {
            say(&ids.join(", "));
            let before = rows.len();
            search(&name, mix, extent, rows).with_context(|| ids.join(", "))?;
            if rows.len() < before + ids.len() {
                say("… found no rate that both sides carry");
            }
        }
    }
    Ok(())
}

fn id(goal: &Goal, mix: &str) -> String {
    format!("{}_veth_{mix}", goal.name)
}

fn search(name: &str, mix: Mix, extent: &Extent, rows: &mut Vec<Row>) -> Result<()> {
    let (ours, bare) = (Echo::start(Who::Octroi, mix, LASTING)?, Echo::start(Who::Bare, mix, LASTING)?);
    let (mut octroi, mut peer) = (ours.asker()?, bare.asker()?);
    let fastest = Load::nearest(octroi.ceiling()?.min(peer.ceiling()?) * TRUSTED);
    let goals =
        [Goal::NDR, Goal::PDR].map(|goal| if extent.is_quick() { goal.quick(QUICK_TRIAL_S) } else { goal });
    let search = || Search::new(&goals, SLOWEST, fastest);
    let (mut our_search, mut peer_search) = (search()?, search()?);
    let patience = if USUAL.contains(&name) { PATIENCE } else { GLANCE };
    let begun = Instant::now();
    let ended = in_turns(&mut our_search, &mut peer_search, |side, trial| {
        if patience < begun.elapsed() {
            return Err(Halt::Time);
        }
        let asker = if side == Side::Ours { &mut octroi } else { &mut peer };
        asker.trial(trial).map_err(Halt::Failed)
    });
    if let Err(Halt::Failed(error)) = ended {
        return Err(error);
    }
    for (found, peers) in our_search.results().iter().zip(peer_search.results()) {
        rows.extend(row(name, found, &peers, fastest));
    }
    drop(octroi);
    ours.end()
}

/// Why a search ended before it was done.
enum Halt {
    Time,
    Failed(Error),
}

/// The row of one goal; none if either side carries nothing at all.
fn row(name: &str, ours: &GoalResult, peer: &GoalResult, fastest: Load) -> Option<Row> {
    let rates = (ours.tentative?.per_second(), peer.tentative?.per_second());
    let mut row = Row::searched(id(&ours.goal, name), "packets/s", "bare AF_XDP swapping addresses", rates)?;
    if !ours.regular || !peer.regular {
        row = row.flagged(Flag::Irregular);
    }
    if ours.lower == Some(fastest) || peer.lower == Some(fastest) {
        row = row.flagged(Flag::GeneratorLimited);
    }
    Some(row)
}
