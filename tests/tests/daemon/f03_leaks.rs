//! Nothing is left of a daemon that was killed, and a living one holds no more after much work than before.
use anyhow::{Context as _, Result, ensure};
use client::control::{connection::Connection, request::TargetKind};
use octroi_tests::lab::{
    self, Config, Daemon, Footprint, Home, Pair, PairOptions, Ping, Served, Tally, Tap, WINDOW,
    config::{ECHO, udp},
    load::Load,
};
use std::time::Duration;

use crate::NEEDS;

/// How often the daemon is killed.
const KILLS: u64 = 5;

#[test]
fn f03_a_killed_daemon_is_adopted_and_nothing_is_left_at_the_end() -> Result<()> {
    let Some(_lab) = lab::require("f03_a_killed_daemon_is_adopted_and_nothing_is_left_at_the_end", NEEDS)?
    else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions { queues: 2, ..PairOptions::default() })?;
    let mut home = Home::new(&pair.served, &Config::echo_and_sink())?;
    let mut pins = None;
    for kill in 0..KILLS {
        let daemon = home.start(&pair.served)?;
        let tap = Tap::open(&pair.peer)?;
        let load = load(&pair);
        assert_eq!(load.echo(&tap, 500)?, Tally::whole(500), "after {kill} kills");
        home = kill_under_load(daemon, &load, &tap)?;
        // Pins are as they were the last time: adopted, not made beside.
        let left = home.pins().list()?;
        ensure!(left.contains(&format!("{}/LINK", pair.served.ifname)), "{left:?}");
        let first = pins.get_or_insert_with(|| left.clone());
        ensure!(*first == left, "{first:?}, then {left:?}");
        // What nobody claimed goes on without a daemon.
        Ping::open(&pair.peer.netns, pair.served.v4.into())?.times(3)?;
    }
    let mut served = Served { daemon: home.start(&pair.served)?, pair };
    let tap = Tap::open(&served.pair.peer)?;
    let load = load(&served.pair);
    served.echoes(&load, &tap, 0, 500)?;
    served.finish()
}

fn load(pair: &Pair) -> Load {
    let flows = (0..8).map(|i| lab::Flow::v4(&pair.peer, 20_000 + i, &pair.served, ECHO)).collect();
    Load::new(flows, 100)
}

/// Frames are under way when the daemon dies, and more come after.
fn kill_under_load(daemon: Daemon, load: &Load, tap: &Tap) -> Result<Home> {
    (0..WINDOW).try_for_each(|n| tap.send(&load.frame(10_000 + n)?))?;
    let home = daemon.crash()?;
    (0..WINDOW).try_for_each(|n| tap.send(&load.frame(20_000 + n)?))?;
    Ok(home)
}

#[test]
fn f03_a_living_daemon_holds_no_more_after_work_than_before() -> Result<()> {
    let Some(_lab) = lab::require("f03_a_living_daemon_holds_no_more_after_work_than_before", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    // Once to warm up: allocators and thread pools take what they will keep.
    work(&mut served)?;
    let before = Footprint::of(served.daemon.pid())?;
    let objects = lab::Objects::held_by(served.daemon.pid())?;
    for _ in 0..5 {
        work(&mut served)?;
    }
    lab::until("connections that were closed are forgotten", || {
        Ok(Footprint::of(served.daemon.pid())?.descriptors == before.descriptors)
    })
    .with_context(|| format!("{before:?}"))?;
    before.covers(&Footprint::of(served.daemon.pid())?, 1024)?;
    let now = lab::Objects::held_by(served.daemon.pid())?;
    ensure!(objects == now, "BPF objects: {objects:?}, then {now:?}");
    served.finish()
}

/// A little of everything that could leave something behind.
fn work(served: &mut Served) -> Result<()> {
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 4, 200);
    served.echoes(&load, &tap, 0, 1000)?;
    for _ in 0..10 {
        let tuple = served.daemon.add(&udp(TargetKind::Sink, 4242))?;
        served.daemon.remove(tuple)?;
        Connection::open(&served.daemon.home().socket(), Duration::from_secs(10))?.status()?;
        served.daemon.home().scrape()?;
    }
    Ok(())
}
