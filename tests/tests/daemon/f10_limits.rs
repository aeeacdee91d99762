//! Limits of memory, locked memory, maps and descriptors, and a full disk: the error names the limit, nothing is half
//! attached, and packets that nobody claims go on.
use anyhow::{Result, ensure};
use octroi_tests::lab::{self, Config, Home, Pair, PairOptions, Served, Started, Wrapper, os};

use crate::NEEDS;

/// Starts a daemon under a limit, beside legacy traffic. Returns what it said, or `None` if it started after all.
fn start_under(pair: &Pair, wrapper: &Wrapper) -> Result<Option<String>> {
    let home = Home::new(&pair.served, &Config::echo_and_sink())?;
    let (started, _pings) = os::beside_legacy(pair, || home.launch(&pair.served, wrapper))?;
    match started {
        Started::Ready(daemon) => {
            daemon.down(&pair.served)?;
            Ok(None)
        }
        Started::Refused(mut refused) => {
            refused.home.check_nothing_left(&pair.served)?;
            ensure!(!refused.status.success());
            Ok(Some(refused.log.clone()))
        }
    }
}

#[test]
fn f10_too_few_descriptors_are_named_wherever_they_end() -> Result<()> {
    let Some(_lab) = lab::require("f10_too_few_descriptors_are_named_wherever_they_end", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions { queues: 2, ..PairOptions::default() })?;
    let mut refusals = 0;
    // From what a process needs to run at all, upwards until it is enough.
    for limit in (8..).step_by(4) {
        let Some(log) = start_under(&pair, &Wrapper::words(&format!("prlimit --nofile={limit}:{limit}")))?
        else {
            break;
        };
        ensure!(
            log.contains("RLIMIT_NOFILE") || log.contains("Too many open files"),
            "with {limit} descriptors:\n{log}"
        );
        refusals += 1;
    }
    ensure!(3 <= refusals, "the limit was never met");
    // And with no limit of ours it serves.
    let daemon = octroi_tests::lab::Daemon::start(&pair.served, &Config::echo_and_sink())?;
    Served { daemon, pair }.finish()
}

#[test]
fn f10_too_little_locked_memory_is_named() -> Result<()> {
    let Some(_lab) = lab::require("f10_too_little_locked_memory_is_named", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let wrapper = Wrapper::words(
        "prlimit --memlock=65536:65536 setpriv --bounding-set=-ipc_lock,-sys_resource --inh-caps=-ipc_lock,-sys_resource",
    );
    let log = start_under(&pair, &wrapper)?;
    let log = log.unwrap_or_default();
    ensure!(
        log.contains("RLIMIT_MEMLOCK") || log.contains("CAP_IPC_LOCK"),
        "it does not name the limit:\n{log}"
    );
    Ok(())
}
