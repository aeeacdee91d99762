//! Applications are killed beside another one, which does not notice; what they had comes back.
use anyhow::{Context as _, Result, ensure};
use octroi_tests::{
    lab::{self, Config, Footprint, Reading, Tally, Tap, WINDOW},
    scale,
};

use crate::{
    NEEDS,
    stacks::{app, served, tuples},
};

const KEPT: u16 = 5001;
const KILLED: u16 = 5002;

/// Kills between two looks at the clock of a test.
const ROUND: u64 = 20;

#[test]
fn f02_a_killed_application_takes_nothing_with_it_and_leaves_nothing() -> Result<()> {
    let id = "f02_a_killed_application_takes_nothing_with_it_and_leaves_nothing";
    let kills = scale::F02_KILLS.count();
    for round in 0..kills.div_ceil(ROUND) {
        let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
        killed(ROUND.min(kills - round * ROUND)).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

fn killed(kills: u64) -> Result<()> {
    let mut served = served(&Config::default())?;
    let mut kept = app(&served)?;
    kept.udp(KEPT)?;
    let (tap, other) = (Tap::open(&served.pair.peer)?, Tap::open(&served.pair.peer)?);
    let (load, noise) = (served.load(KEPT, 4, 200), served.load(KILLED, 1, 200));
    // A few to warm up: what allocators keep, and every slot of the living one's rings.
    ensure!(load.echo(&tap, 1000)? == Tally::whole(1000));
    for n in 0..3 {
        kill_one(&mut served, &other, &noise, 100 * n)?;
    }
    let before = Footprint::of(served.daemon.pid())?;
    let first = served.drain()?;
    // The other one loses nothing: each kill happens amid its packets.
    let mut echoed = 0;
    for n in 1..=kills {
        let tally = std::thread::scope(|scope| {
            let running = scope.spawn(|| load.echo_from(&tap, n * 1000, 500));
            kill_one(&mut served, &other, &noise, n * 1000)?;
            running.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
        })?;
        ensure!(Tally { foreign: 0, ..tally } == Tally::whole(500), "kill {n}: {tally:?}");
        echoed += 500;
    }
    ensure!(served.drain()?.sum("transmitted") - first.sum("transmitted") >= echoed);
    assert_eq!(tuples(&mut served.daemon)?.iter().map(|row| row.port).collect::<Vec<_>>(), [KEPT]);
    lab::until("its descriptors are closed", || {
        Ok(Footprint::of(served.daemon.pid())?.descriptors == before.descriptors)
    })?;
    let shared = std::fs::read_to_string(format!("/proc/{}/maps", served.daemon.pid()))?;
    let regions = shared.lines().filter(|line| line.contains("octroi-")).count();
    ensure!(regions == 3, "{regions} regions are mapped, three belong to the living one");
    before.covers(&Footprint::of(served.daemon.pid())?, 1024)?;
    drop(kept);
    served.finish()
}

/// Starts an application, sends it something, kills it, and waits until its tuple is free.
fn kill_one(served: &mut lab::Served, tap: &Tap, noise: &lab::Load, first: u64) -> Result<()> {
    let mut victim = app(served)?;
    victim.udp(KILLED)?;
    (0..WINDOW / 4).try_for_each(|n| tap.send(&noise.frame(first + n)?))?;
    victim.crash()?;
    lab::until("its tuple is free", || Ok(tuples(&mut served.daemon)?.iter().all(|row| row.port != KILLED)))?;
    // Its port is the OS's again.
    let end = &served.pair.served;
    let free = end.netns.enter(|| std::net::UdpSocket::bind((end.v4, KILLED)))?;
    free.context("the port is not free")?;
    Ok(())
}

#[test]
fn f02_a_stopped_application_stops_alone() -> Result<()> {
    let Some(_lab) = lab::require("f02_a_stopped_application_stops_alone", NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let (mut stopped, mut other) = (app(&served)?, app(&served)?);
    stopped.udp(KILLED)?;
    other.udp(KEPT)?;
    stopped.stop()?;
    let tap = Tap::open(&served.pair.peer)?;
    let before = served.drain()?;
    let flood = served.load(KILLED, 1, 100);
    let daemon = &mut served.daemon;
    flood.sink(&tap, 4 * WINDOW, || {
        let now = Reading::of(daemon)?;
        Ok(["delivered", "rx_ring_full"].iter().map(|name| now.sum(name) - before.sum(name)).sum())
    })?;
    assert_eq!(served.load(KEPT, 2, 100).echo(&tap, 1000)?, Tally::whole(1000));
    stopped.go_on()?;
    // It answers what its ring held, and then what comes.
    let held = served.drain()?;
    lab::until("it has answered what its ring held", || {
        let now = Reading::of(&mut served.daemon)?;
        Ok(now.sum("transmitted") - held.sum("transmitted") <= 256 && now.sum("held") == 0)
    })?;
    drop((stopped, other));
    served.finish()
}
