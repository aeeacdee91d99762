//! Nothing is left of a daemon that was killed, and a living one holds no more after much work than before; nor do those
//! that come after it, or the applications that live through it all.
use anyhow::{Context as _, Result, ensure};
use client::control::{connection::Connection, request::TargetKind};
use octroi_tests::lab::{
    self, App, Config, Daemon, Footprint, Home, Objects, Pair, PairOptions, Ping, Served, Tally, Tap, WINDOW,
    Wrapper,
    app::know_taps,
    config::{ECHO, udp},
    load::Load,
};
use std::time::Duration;

use crate::{NEEDS, stacks::tuples};

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

/// Ports of applications that live while daemons are killed.
const PORTS: [u16; 2] = [5001, 5002];

#[test]
fn f03_mt07_applications_live_while_daemons_are_killed_and_nobody_holds_more() -> Result<()> {
    let id = "f03_mt07_applications_live_while_daemons_are_killed_and_nobody_holds_more";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions { queues: 2, ..PairOptions::default() })?;
    know_taps(&pair)?;
    let mut daemon = Daemon::start(&pair.served, &Config::default())?;
    let mut apps = Vec::new();
    for port in PORTS {
        let mut app = App::start(daemon.home(), &pair.served, &Wrapper::default())?;
        app.udp(port)?;
        apps.push(app);
    }
    let tap = Tap::open(&pair.peer)?;
    let loads = PORTS.map(|port| {
        let flows = (0..4).map(|n| lab::Flow::v4(&pair.peer, 20_000 + n, &pair.served, port)).collect();
        Load::new(flows, 100)
    });
    let mut first: Option<Held> = None;
    for kill in 0..KILLS {
        for load in &loads {
            let tally = load.echo_from(&tap, 100_000 * kill, 500)?;
            // What was under way at the kill may come back late.
            ensure!(Tally { foreign: 0, ..tally } == Tally::whole(500), "after {kill} kills: {tally:?}");
        }
        // The first daemon has adopted nothing: those after it are compared.
        if kill != 0 {
            let rows = tuples(&mut daemon)?;
            ensure!(rows.iter().map(|row| row.pid).eq(apps.iter().map(|app| Some(app.pid()))), "{rows:?}");
            match &first {
                None => first = Some(Held::at_rest(&daemon, &apps)?),
                Some(first) => {
                    first.is_not_exceeded(&daemon, &apps).with_context(|| format!("kill {kill}"))?
                }
            }
        }
        let home = kill_under_load(daemon, &loads[0], &tap)?;
        daemon = home.start(&pair.served)?;
        for app in &mut apps {
            let events = [app.event()?, app.event()?];
            ensure!(events == ["Disconnected", "Reconnected([TupleId(0)])"], "{events:?}");
        }
    }
    drop(apps);
    Served { daemon, pair }.finish()
}

/// What a daemon and its applications hold between them.
#[derive(Debug)]
struct Held {
    pins: Vec<String>,
    /// Programs, maps and links: so many of each.
    objects: [usize; 3],
    daemon: Process,
    apps: Vec<Process>,
}

/// What one process holds.
#[derive(Debug)]
struct Process {
    footprint: Footprint,
    /// Regions of sessions that it has mapped.
    regions: usize,
}

/// Memory that may be in use beyond what was, in KiB.
const GROWTH_KIB: u64 = 1024;

impl Held {
    fn now(daemon: &Daemon, apps: &[App]) -> Result<Self> {
        let Objects { programs, maps, links } = Objects::held_by(daemon.pid())?;
        Ok(Self {
            pins: daemon.home().pins().list()?,
            objects: [programs.len(), maps.len(), links.len()],
            daemon: Process::now(daemon.pid())?,
            apps: apps.iter().map(|app| Process::now(app.pid())).collect::<Result<_>>()?,
        })
    }

    /// When every session has its three regions, and every application has let go of those that it had before.
    fn at_rest(daemon: &Daemon, apps: &[App]) -> Result<Self> {
        let mut held = None;
        lab::until("all hold what is theirs and nothing else", || {
            let now = Self::now(daemon, apps)?;
            let rests = now.daemon.regions == 3 * apps.len() && now.apps.iter().all(|app| app.regions == 2);
            held = Some(now).filter(|_| rests);
            Ok(rests)
        })
        .with_context(|| format!("{:?}", Self::now(daemon, apps)))?;
        held.context("at rest")
    }

    fn is_not_exceeded(&self, daemon: &Daemon, apps: &[App]) -> Result<()> {
        lab::until("no process holds more descriptors or threads", || {
            let now = Self::at_rest(daemon, apps)?;
            let all = |held: &Self| {
                let counts = |process: &Process| (process.footprint.descriptors, process.footprint.threads);
                (counts(&held.daemon), held.apps.iter().map(counts).collect::<Vec<_>>())
            };
            Ok(all(&now) == all(self))
        })
        .with_context(|| format!("{self:?}, then {:?}", Self::now(daemon, apps)))?;
        let now = Self::at_rest(daemon, apps)?;
        ensure!((&now.pins, now.objects) == (&self.pins, self.objects), "{self:?}, then {now:?}");
        self.daemon.footprint.covers(&now.daemon.footprint, GROWTH_KIB).context("the daemon")?;
        let mut apps = self.apps.iter().zip(&now.apps);
        apps.try_for_each(|(then, now)| then.footprint.covers(&now.footprint, GROWTH_KIB))
            .context("an application")
    }
}

impl Process {
    fn now(pid: u32) -> Result<Self> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let regions = maps.lines().filter(|line| line.contains("memfd:octroi-")).count();
        Ok(Self { footprint: Footprint::of(pid)?, regions })
    }
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
