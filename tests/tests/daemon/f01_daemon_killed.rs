//! The daemon is killed under applications: the OS does not notice, claimed packets follow their policy, and the
//! applications come back to the next daemon with what they had.
use std::net::UdpSocket;

use anyhow::{Context as _, Result, ensure};
use octroi_tests::{
    lab::{
        self, App, Config, Daemon, Home, Load, Pair, PairOptions, Ping, Reading, Served, Tally, Tap, Wrapper,
        app::know_taps, os, process,
    },
    scale,
};

use crate::{
    NEEDS,
    stacks::{claimed, tuples},
};

const KEPT: u16 = 5001;
const PASSED: u16 = 5002;

/// Frames that come while no daemon runs.
const ORPHANS: u64 = 50;

struct Lab {
    pair: Pair,
    app: App,
    tap: Tap,
    load: Load,
}

fn start() -> Result<(Daemon, Lab)> {
    let pair = Pair::new(PairOptions::default())?;
    know_taps(&pair)?;
    let served = Served { daemon: Daemon::start(&pair.served, &Config::default())?, pair };
    let mut app = App::start(served.daemon.home(), &served.pair.served, &Wrapper::default())?;
    app.udp(KEPT)?;
    app.register(&format!("udp any {PASSED} pass"))?.map_err(|r| anyhow::anyhow!("{r:?}"))?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(KEPT, 4, 100));
    let Served { daemon, pair } = served;
    Ok((daemon, Lab { pair, app, tap, load }))
}

/// Kills the daemon under load, and looks at what claimed and unclaimed packets do without one.
fn kill(daemon: Daemon, lab: &Lab, first: u64) -> Result<Home> {
    (0..20).try_for_each(|n| lab.tap.send(&lab.load.frame(first + n)?))?;
    let home = daemon.crash()?;
    (0..ORPHANS).try_for_each(|n| lab.tap.send(&lab.load.frame(first + 100 + n)?))?;
    Ping::open(&lab.pair.peer.netns, lab.pair.served.v4.into())?.times(3)?;
    Ok(home)
}

/// Starts the next daemon, and waits until the application is back.
fn back(home: Home, lab: &mut Lab) -> Result<Daemon> {
    let daemon = home.start(&lab.pair.served)?;
    let event = lab.app.event()?;
    ensure!(event == "Disconnected", "{event}");
    let event = lab.app.event()?;
    ensure!(event == "Reconnected([TupleId(0), TupleId(1)])", "{event}");
    Ok(daemon)
}

#[test]
fn f01_a_killed_daemon_comes_back_to_living_applications() -> Result<()> {
    let id = "f01_a_killed_daemon_comes_back_to_living_applications";
    // A few at a time, so that the clock of a test means one of them.
    let kills = scale::F01_KILLS.count();
    for round in 0..kills.div_ceil(5) {
        let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
        comes_back(5.min(kills - 5 * round)).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

fn comes_back(kills: u64) -> Result<()> {
    let (mut daemon, mut lab) = start()?;
    assert_eq!(lab.load.echo(&lab.tap, 500)?, Tally::whole(500));
    for n in 1..=kills {
        let before = Reading::of(&mut daemon)?;
        let (home, _pings) = os::beside_legacy(&lab.pair, || kill(daemon, &lab, 1_000_000 * n))?;
        daemon = back(home, &mut lab)?;
        // XDP counted what it dropped for want of a daemon: at least everything that came after the kill.
        let after = Reading::of(&mut daemon)?;
        let dropped = claimed(&after).1 - claimed(&before).1;
        ensure!((ORPHANS..=ORPHANS + 20).contains(&dropped), "kill {n}: {dropped} dropped by XDP");
        let tally = lab.load.echo_from(&lab.tap, 1_000_000 * n + 1000, 500)?;
        ensure!(Tally { foreign: 0, ..tally } == Tally::whole(500), "after kill {n}: {tally:?}");
        let rows = tuples(&mut daemon)?;
        ensure!(rows.iter().all(|row| row.pid == Some(lab.app.pid())) && rows.len() == 2, "{rows:?}");
    }
    let Lab { pair, app, .. } = lab;
    drop(app);
    Served { daemon, pair }.finish()
}

#[test]
fn f01_without_a_daemon_claimed_packets_follow_their_policy() -> Result<()> {
    let id = "f01_without_a_daemon_claimed_packets_follow_their_policy";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (daemon, mut lab) = start()?;
    let home = daemon.crash()?;
    // Placeholders died with the daemon: the OS may take the port, and gets the packets of the tuple that passes.
    let end = &lab.pair.served;
    let [dropped, passed] = [KEPT, PASSED].map(|port| end.netns.enter(|| UdpSocket::bind((end.v4, port))));
    let (dropped, passed) = (dropped??, passed??);
    dropped.set_nonblocking(true)?;
    passed.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    let passing = Load::new(vec![lab::Flow::v4(&lab.pair.peer, 20_000, &lab.pair.served, PASSED)], 100);
    for n in 0..ORPHANS {
        lab.tap.send(&lab.load.frame(n)?)?;
        lab.tap.send(&passing.frame(n)?)?;
        process::again(|| passed.recv(&mut [0; 200])).context("the OS waits in vain")?;
    }
    ensure!(dropped.recv(&mut [0; 200]).is_err(), "the OS got a packet of a tuple that drops");
    // The OS keeps what it took: both tuples are lost, and the application is told.
    let daemon = home.start(&lab.pair.served)?;
    let events = [lab.app.event()?, lab.app.event()?, lab.app.event()?, lab.app.event()?];
    ensure!(events[..2] == ["Disconnected", "Reconnected([])"], "{events:?}");
    ensure!(events[2..].iter().all(|event| event.contains("PortTaken")), "{events:?}");
    drop((dropped, passed));
    let Lab { pair, app, .. } = lab;
    drop(app);
    Served { daemon, pair }.finish()
}

#[test]
fn f01_an_application_that_does_not_come_back_loses_its_tuples() -> Result<()> {
    let id = "f01_an_application_that_does_not_come_back_loses_its_tuples";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let config = Config { more: "\n[stack]\ngrace_s = 1\n".to_owned(), ..Config::default() };
    let daemon = Daemon::start(&pair.served, &config)?;
    let mut app = App::start(daemon.home(), &pair.served, &Wrapper::default())?;
    app.udp(KEPT)?;
    let home = daemon.crash()?;
    app.crash()?;
    let mut daemon = home.start(&pair.served)?;
    let rows = tuples(&mut daemon)?;
    ensure!(rows.iter().map(|row| row.state.to_string()).eq(["orphan"]), "{rows:?}");
    lab::until("its grace is over", || Ok(tuples(&mut daemon)?.is_empty()))?;
    let free = pair.served.netns.enter(|| UdpSocket::bind((pair.served.v4, KEPT)))?;
    free.context("the port is not free")?;
    Served { daemon, pair }.finish()
}

#[test]
fn f05_a_new_daemon_takes_over_and_what_is_lost_is_counted() -> Result<()> {
    let id = "f05_a_new_daemon_takes_over_and_what_is_lost_is_counted";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (mut daemon, mut lab) = start()?;
    for n in 0..scale::F05_UPGRADES.count().min(20) {
        // What else the tap sees is the OS's, from the round before.
        let tally = lab.load.echo_from(&lab.tap, 10_000 * n, 100)?;
        assert_eq!(Tally { foreign: 0, ..tally }, Tally::whole(100));
        // At rest, so that what XDP counts is all that there is.
        lab::drain(&mut daemon)?;
        let before = claimed(&Reading::of(&mut daemon)?);
        let (home, _pings) = os::beside_legacy(&lab.pair, || {
            let home = daemon.crash()?;
            (0..ORPHANS).try_for_each(|i| lab.tap.send(&lab.load.frame(10_000 * n + 1000 + i)?))?;
            Ok(home)
        })?;
        daemon = back(home, &mut lab)?;
        let after = claimed(&Reading::of(&mut daemon)?);
        assert_eq!((after.0, after.1), (before.0, before.1 + ORPHANS), "upgrade {n}");
    }
    let Lab { pair, app, .. } = lab;
    drop(app);
    Served { daemon, pair }.finish()
}
