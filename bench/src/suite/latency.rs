//! `latency_veth_10`, `_50`, `_90`: how long an echo takes at so many percent of the rate that loses next to nothing.
//!
//! The generator sends and receives by AF_XDP on core 1, open loop: every frame has its time, and its latency counts from
//! there. The rate is the lower of both sides' partial-drop rates with this same generator, so both sides carry the
//! same load. A figure is the 99th percentile of one trial.
use std::time::Duration;

use anyhow::{Result, ensure};
use octroi_tests::lab::Pair;

use super::{
    echoes::{Echo, Who},
    stage::GENERATOR_CORE,
};
use crate::{
    engine::{
        clock::{Monotonic, pin},
        drive::{self, Idle, Job, Progress},
        interface::{Interface, XskEngine},
    },
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
    search::{Goal, Load, Search, Trial, TrialResult, controller::Side, in_turns},
    traffic::{
        book::{Book, Outcome},
        pace::Rate,
        plan::Plan,
        reader::Reader,
    },
};

/// Percent of the rate, and the least that the bare program's 99th percentile may be of ours.
const LOADS: [(u32, Option<f64>); 3] = [(10, None), (50, Some(0.5)), (90, None)];
/// Length of a trial whose latencies count.
const TRIAL: Duration = Duration::from_secs(1);
/// Length of a trial of the search for the rate; three decide.
const SEARCH_TRIAL_S: f64 = 0.25;
/// Rates that are tried, in frames a second.
const SLOWEST: Load = Load(1_000);
const FASTEST: Load = Load(2_000_000);
/// How long the last replies are waited for.
const LINGER: Duration = Duration::from_millis(50);

/// Measures all rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let (ours, bare) = (Echo::smallest(Who::Octroi)?, Echo::smallest(Who::Bare)?);
    let rate = carried(&ours, &bare)?;
    for (percent, limit) in LOADS {
        let load = rate * f64::from(percent) / 100.0;
        let p99 = |echo: &Echo| {
            Ok::<_, anyhow::Error>(
                asked(echo.pair(), echo.plan(), load, TRIAL, &mut |_| {})?.latency.p99_ns as f64 / 1e3,
            )
        };
        let pairs = interleaved(runs, Better::Lower, || p99(&ours), || p99(&bare))?;
        let peer = format!("bare AF_XDP at {:.0} packets/s", load);
        let row = Row::paired(format!("latency_veth_{percent}"), "µs p99", &peer, &pairs);
        rows.extend(row.map(|row| Row { limit, ..row }));
    }
    ours.end()
}

/// The rate that both carry with at most 0.5 % loss, in frames a second.
fn carried(ours: &Echo, bare: &Echo) -> Result<f64> {
    let search = || Search::new(&[Goal::PDR.quick(SEARCH_TRIAL_S)], SLOWEST, FASTEST);
    let (mut octroi, mut peer) = (search()?, search()?);
    in_turns(&mut octroi, &mut peer, |side, trial: Trial| {
        let echo = if side == Side::Ours { ours } else { bare };
        let length = Duration::from_secs_f64(trial.duration_s);
        let outcome = asked(echo.pair(), echo.plan(), trial.load.per_second(), length, &mut |_| {})?;
        Ok::<_, anyhow::Error>(TrialResult::of(trial, outcome.loss_ratio))
    })?;
    let lower = |search: &Search| search.results().first().and_then(|found| found.lower);
    let rates = [lower(&octroi), lower(&peer)].into_iter().flatten();
    let least = rates.min().map_or(0.0, Load::per_second);
    ensure!(0.0 < least, "no rate from {SLOWEST} on comes back");
    Ok(least)
}

/// One trial: what came back, and when. What could not be sent in time is lost. `each` has its turn in each round.
pub(super) fn asked(
    pair: &Pair,
    plan: &Plan,
    rate: f64,
    length: Duration,
    each: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome> {
    let (peer, config) = (&pair.peer, *plan.config());
    peer.netns.enter(|| {
        pin(GENERATOR_CORE)?;
        let mut engine = XskEngine::both_ways(&Interface::open(&peer.ifname)?, plan.clone())?;
        let mut book = Book::new(Reader::new(config.shape, config.flows), config.flows)?;
        let job = Job {
            linger_ns: LINGER.as_nanos() as u64,
            idle: Idle::Spin,
            ..Job::lasting(length.as_nanos() as u64, Rate::new(rate)?)
        };
        let (sent, _) = drive::echo(&mut engine, &mut book, &job, &Monotonic, each)?;
        Ok(book.outcome(Some(sent.sent + sent.unsent)))
    })?
}
