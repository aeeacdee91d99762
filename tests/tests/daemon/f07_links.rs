//! The link goes down and up, is deleted and made again, is renamed, changes MTU and queues: it forwards again each time.
//!
//! An event costs at most ten lines of log, and while the link is down no engine looks for packets.
use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{self, Config, Daemon, Pair, PairOptions, Served, Tap, config::ECHO};

use crate::NEEDS;

/// How often each event happens.
const TIMES: u64 = 5;

/// Most lines of log that an event may cost.
const LINES: usize = 10;

/// Waits until the daemon says `state` of its interface.
fn until_state(served: &mut Served, state: &str) -> Result<()> {
    let mut last = String::new();
    lab::until("the interface is so", || {
        let status = served.daemon.status()?;
        let row = status.interfaces.first().context("no interface is shown")?;
        last = format!("{row:?}");
        Ok(row.state == state)
    })
    .with_context(|| format!("wanted {state}, is {last}"))
}

/// Fails if the daemon does not forward.
fn forwards(served: &mut Served, round: u64) -> Result<()> {
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 16, 100);
    served.echoes(&load, &tap, 1000 * round, 500).with_context(|| format!("round {round}"))
}

/// Does `event` [`TIMES`] times; after each the daemon forwards again and has said little.
fn each_time(
    id: &'static str,
    pair: PairOptions,
    event: impl Fn(&mut Served, u64) -> Result<()>,
) -> Result<()> {
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(pair, &Config::echo_and_sink())?;
    forwards(&mut served, 0)?;
    for round in 1..=TIMES {
        let lines = served.daemon.log().lines().count();
        event(&mut served, round).with_context(|| format!("round {round}"))?;
        until_state(&mut served, "served")?;
        forwards(&mut served, round)?;
        said_little(&served, lines).with_context(|| format!("round {round}"))?;
    }
    served.finish()
}

/// Fails if the log grew by more than an event may cost since it had `lines`.
fn said_little(served: &Served, lines: usize) -> Result<()> {
    let log = served.daemon.log();
    ensure!(log.lines().count() <= lines + LINES, "it said too much:\n{log}");
    Ok(())
}

#[test]
fn f07_a_link_that_was_down_forwards_again() -> Result<()> {
    each_time("f07_a_link_that_was_down_forwards_again", PairOptions::default(), |served, _| {
        served.pair.served.down()?;
        until_state(served, "down")?;
        engines_sleep(served)?;
        served.pair.settle()
    })
}

/// With nothing to receive every engine blocks: it sleeps, and makes no more rounds.
fn engines_sleep(served: &mut Served) -> Result<()> {
    lab::until("every engine sleeps", || {
        let engines = served.daemon.status()?.engines;
        Ok(engines.iter().all(|engine| engine.state == "asleep"))
    })
}

#[test]
fn f07_a_device_made_again_under_its_name_forwards_again() -> Result<()> {
    let id = "f07_a_device_made_again_under_its_name_forwards_again";
    each_time(id, PairOptions { queues: 2, ..PairOptions::default() }, |served, _| {
        served.pair.unplug()?;
        until_state(served, "absent")?;
        engines_sleep(served)?;
        served.pair.plug()
    })
}

#[test]
fn f07_a_renamed_device_stays_served() -> Result<()> {
    each_time("f07_a_renamed_device_stays_served", PairOptions::default(), |served, _| {
        let original = served.pair.served.ifname.clone();
        rename(served, "other0")?;
        until_state(served, "served")?;
        forwards(served, 0)?;
        rename(served, &original)
    })
}

/// A device must be down to be renamed on older kernels.
fn rename(served: &mut Served, name: &str) -> Result<()> {
    let end = &mut served.pair.served;
    end.down()?;
    end.run(&format!("ip link set {} name {name}", end.ifname))?;
    name.clone_into(&mut end.ifname);
    served.pair.settle()
}

#[test]
fn f07_an_mtu_that_fits_again_is_served_again() -> Result<()> {
    each_time("f07_an_mtu_that_fits_again_is_served_again", PairOptions::default(), |served, _| {
        let set = |served: &Served, mtu: u32| {
            let end = &served.pair.served;
            end.run(&format!("ip link set {} mtu {mtu}", end.ifname))
        };
        set(served, 1400)?;
        until_state(served, "served")?;
        // More than a chunk of 2048 holds: refused, by name, and not cut.
        set(served, 3000)?;
        until_state(served, "retrying")?;
        let reason = served.daemon.status()?.interfaces.pop().and_then(|row| row.reason).unwrap_or_default();
        ensure!(reason.contains("3000"), "the reason does not say what is wrong: {reason}");
        set(served, 1500).map(drop)
    })
}

/// Fewer queues than are served is what the kernel itself refuses while sockets are bound to them.
#[test]
fn f07_more_queues_are_served_as_soon_as_there_are() -> Result<()> {
    let id = "f07_more_queues_are_served_as_soon_as_there_are";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions { queues: 1 + TIMES as u16, ..PairOptions::default() })?;
    set_queues(&pair, 1)?;
    let daemon = Daemon::start(&pair.served, &Config::echo_and_sink())?;
    let mut served = Served { daemon, pair };
    served.daemon.home_mut().device().excuse("channels");
    forwards(&mut served, 0)?;
    for round in 1..=TIMES {
        let lines = served.daemon.log().lines().count();
        set_queues(&served.pair, 1 + round)?;
        lab::until("all queues are served", || Ok(served.daemon.status()?.queues.len() as u64 == 1 + round))?;
        until_state(&mut served, "served")?;
        forwards(&mut served, round)?;
        said_little(&served, lines)?;
        let fewer = set_queues(&served.pair, 1);
        ensure!(fewer.is_err(), "queues with sockets were taken away");
    }
    served.finish()
}

/// The served end first: native XDP wants as many receive queues as the peer has for sending.
fn set_queues(pair: &Pair, queues: u64) -> Result<()> {
    let ends = if queues == 1 { [&pair.peer, &pair.served] } else { [&pair.served, &pair.peer] };
    ends.into_iter()
        .try_for_each(|end| end.run(&format!("ethtool -L {} rx {queues} tx {queues}", end.ifname)).map(drop))
}
