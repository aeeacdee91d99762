//! The daemon is stopped until its rings are full, or has to share both cores: it goes on, and says what it lost.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::libc::SYS_connect;
use octroi_tests::lab::{
    self, Config, End, PairOptions, Reading, Served, Service, Tap, Wrapper,
    config::{ECHO, SINK},
    process,
};

use crate::NEEDS;

/// Longer than a daemon may stand still without a word: three seconds, and the one after which it looks again.
const LONG: Duration = Duration::from_secs(5);

#[test]
fn f17_a_stopped_daemon_loses_what_its_rings_could_not_hold_and_goes_on() -> Result<()> {
    let Some(_lab) =
        lab::require("f17_a_stopped_daemon_loses_what_its_rings_could_not_hold_and_goes_on", NEEDS)?
    else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let before = served.drain()?;
    let load = served.load(SINK, 1, 100);
    // Four times what the rings hold. Whoever sends does not notice.
    let sent = 4 * u64::from(Config::default().rings);
    let stopped = Instant::now();
    process::stop(served.daemon.pid())?;
    // No faster than the driver takes them: what a veth has no room for, no XDP program ever sees.
    let end = &served.pair.served;
    let first = xdp_packets(end)?;
    let sending = (0..sent).try_for_each(|n| -> Result<()> {
        tap.send(&load.frame(n)?)?;
        if (n + 1).is_multiple_of(64) {
            lab::until("the driver has taken them", || Ok(xdp_packets(end)? == first + n + 1))?;
        }
        Ok(())
    });
    let waited = lab::until("a long pause is over", || Ok(LONG <= stopped.elapsed()));
    process::go_on(served.daemon.pid())?;
    sending.and(waited)?;
    lab::until("all of them are seen", || {
        Ok(Reading::of(&mut served.daemon)?.sum("xdp.rx") == before.sum("xdp.rx") + sent)
    })?;
    let after = served.drain()?;
    let moved = |name: &str| after.sum(name) - before.sum(name);
    let (taken, full, no_buffer) = (moved("delivered"), moved("xsk_ring_full"), moved("xsk_no_buffer"));
    ensure!(full + no_buffer != 0, "{sent} frames fitted");
    after.moved(
        &before,
        &[
            ("xdp.rx", sent),
            ("xdp.redirect", sent),
            ("rx", taken),
            ("rx_from_meta", taken),
            ("delivered", taken),
            ("target.packets", taken),
            ("target.bytes", taken * load.frame(0)?.len() as u64),
            ("xsk_ring_full", full),
            ("xsk_no_buffer", no_buffer),
        ],
    )?;
    assert_eq!(taken + full + no_buffer, sent);
    lab::until("it says that it was stopped", || Ok(served.daemon.log().contains("stood still for ")))?;
    // Nobody is blamed for it, and nobody is stopped any more.
    ensure!(!served.daemon.log().contains("stands still"), "{}", served.daemon.log());
    let status = served.daemon.status()?;
    ensure!(status.engines.iter().all(|engine| ["running", "asleep"].contains(&engine.state.as_str())));
    ensure!(status.head.warnings.is_empty(), "{:?}", status.head.warnings);
    // As before the pause, nothing is lost.
    let load = served.load(ECHO, 4, 100);
    served.echoes(&load, &tap, 0, 1000)?;
    served.finish()
}

#[test]
fn f17_busy_cores_lose_nothing_of_a_closed_loop() -> Result<()> {
    let Some(_lab) = lab::require("f17_busy_cores_lose_nothing_of_a_closed_loop", NEEDS)? else {
        return Ok(());
    };
    let mut served =
        Served::new(PairOptions { queues: 2, ..PairOptions::default() }, &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 8, 100);
    let done = AtomicBool::new(false);
    let cores = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        for _ in 0..2 * cores {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let echoed = served.echoes(&load, &tap, 0, 3000);
        done.store(true, Ordering::Relaxed);
        echoed
    })?;
    served.finish()
}

/// Frames that the driver's XDP program has seen, which the kernel counts whether the daemon runs or not.
fn xdp_packets(end: &End) -> Result<u64> {
    let statistics = end.run(&format!("ethtool -S {}", end.ifname))?;
    let seen = statistics.lines().filter_map(|line| line.trim().split_once("_xdp_packets: "));
    seen.map(|(_queue, value)| value.parse::<u64>().context("a statistic that is no number")).sum()
}

#[test]
fn f17_a_client_that_is_stopped_while_it_connects_gets_in() -> Result<()> {
    let id = "f17_a_client_that_is_stopped_while_it_connects_gets_in";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let served = Served::new(PairOptions::default(), &Config::default())?;
    // Nobody accepts, so that one of many connections waits within connect(2).
    process::stop(served.daemon.pid())?;
    let mut command = Wrapper::default().command("octroi-lab-idle")?;
    command.arg(served.daemon.home().socket()).arg("100");
    let mut client = Service::spawn(&served.pair.served, &mut command)?;
    for _ in 0..3 {
        process::await_call(client.pid(), SYS_connect)?;
        process::stop(client.pid())?;
        process::go_on(client.pid())?;
    }
    process::await_call(client.pid(), SYS_connect)?;
    process::go_on(served.daemon.pid())?;
    client.await_ready()?;
    drop(client);
    served.finish()
}
