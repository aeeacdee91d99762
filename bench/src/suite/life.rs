//! Rows of the daemon as a program among others: how soon it is ready and answers, and what it costs at rest.
use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use octroi_tests::lab::{Config, Daemon, Wrapper};

use super::stage::pair;
use crate::report::bench::{Better, Row};

/// Seconds from start to ready, and for `doctor`.
const SOON_S: f64 = 1.0;
/// Seconds for `status`.
const AT_ONCE_S: f64 = 0.05;
/// Percent of a core that an engine may take in adaptive mode while there is nothing to do.
const IDLE_PERCENT: f64 = 5.0;
/// How long an engine is watched while it has nothing to do.
const WATCH: Duration = Duration::from_secs(1);
/// Least that is told apart from nothing: a row has no ratio to zero.
const RESOLUTION: f64 = 0.001;

/// Measures all rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let pair = pair()?;
    let (mut started, mut doctor, mut status, mut idle) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let begin = Instant::now();
        let mut daemon = Daemon::start(&pair.served, &Config::echo_and_sink())?;
        started.push(begin.elapsed().as_secs_f64());
        doctor.push(took(&daemon, "doctor")?);
        status.push(took(&daemon, "status")?);
        idle.push(at_rest(&mut daemon)?);
        daemon.down(&pair.served)?;
    }
    let aim = |id: &str, unit, runs: &[f64], aim| Row::against_aim(id, unit, Better::Lower, runs, aim);
    rows.extend(aim("start_up", "s", &started, SOON_S));
    rows.extend(aim("doctor", "s", &doctor, SOON_S));
    rows.extend(aim("status", "s", &status, AT_ONCE_S));
    rows.extend(aim("idle", "% of a core", &idle, IDLE_PERCENT).map(|row| row.with_limit(1.0)));
    Ok(())
}

/// Seconds that `octroi VERB --json` takes as a process.
fn took(daemon: &Daemon, verb: &str) -> Result<f64> {
    let mut command = daemon.home().command(&Wrapper::default(), "octroi", &[verb, "--json"])?;
    let begin = Instant::now();
    let output = command.output()?;
    let took = begin.elapsed().as_secs_f64();
    ensure!(!output.stdout.is_empty(), "octroi {verb}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(took)
}

/// Percent of a core that all engines together take while nothing comes.
fn at_rest(daemon: &mut Daemon) -> Result<f64> {
    let mut cpu_ns = || -> Result<u64> { Ok(daemon.status()?.engines.iter().map(|row| row.cpu_ns).sum()) };
    let (before, begin) = (cpu_ns()?, Instant::now());
    thread::sleep(WATCH);
    let used = (cpu_ns()? - before) as f64 / begin.elapsed().as_nanos() as f64;
    Ok((100.0 * used).max(RESOLUTION))
}
