//! A daemon ends without a word and another takes its place: on the same link, with new programs, the OS undisturbed.
use anyhow::{Result, ensure};
use client::control::request::{OnCrash, TargetAdd, TargetKind};
use octroi_tests::lab::{
    self, Config, Daemon, Objects, Pair, PairOptions, Served, Tap,
    config::{ECHO, udp},
    os, process,
};

use crate::NEEDS;

/// A port whose packets the OS gets while no daemon runs.
const PASSED: u16 = 4243;

/// Maps that outlive a daemon: steering, fragments, counters, and the interface's jumps, sockets and configuration.
const PINNED_MAPS: usize = 6;

/// Frames that come while no daemon runs.
const ORPHANS: u64 = 100;

#[test]
fn road_a_new_daemon_takes_over_the_link_and_replaces_the_programs() -> Result<()> {
    let id = "road_a_new_daemon_takes_over_the_link_and_replaces_the_programs";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions { queues: 2, ..PairOptions::default() })?;
    let daemon = Daemon::start(&pair.served, &Config::echo_and_sink())?;
    let first = Objects::held_by(daemon.pid())?;
    // Pings and a connection of the OS go on all the while, and lose nothing.
    let (daemon, _pings) = os::beside_legacy(&pair, || daemon.crash()?.start(&pair.served))?;
    let second = Objects::held_by(daemon.pid())?;
    ensure!(first.links == second.links && !first.links.is_empty(), "links: {first:?}, then {second:?}");
    ensure!(first.programs.is_disjoint(&second.programs), "programs: {first:?}, then {second:?}");
    let kept = first.maps.intersection(&second.maps).count();
    ensure!(kept == PINNED_MAPS, "maps: {first:?}, then {second:?}");
    let mut served = Served { daemon, pair };
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 8, 100);
    served.echoes(&load, &tap, 0, 500)?;
    served.finish()
}

#[test]
fn road_claimed_packets_follow_their_policy_while_no_daemon_runs() -> Result<()> {
    let id = "road_claimed_packets_follow_their_policy_while_no_daemon_runs";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let passed = TargetAdd { on_crash: OnCrash::Pass, ..udp(TargetKind::Sink, PASSED) };
    let mut config = Config::echo_and_sink();
    config.targets.push(passed);
    let mut served = Served::new(PairOptions::default(), &config)?;
    let tap = Tap::open(&served.pair.peer)?;
    let (dropped, passed) = (served.load(ECHO, 2, 100), served.load(PASSED, 1, 100));
    let before = served.drain()?;
    let Served { daemon, pair } = served;
    let home = daemon.crash()?;
    let os_socket = os::udp_socket(&pair.served, (pair.served.v4, PASSED).into())?;
    for n in 0..ORPHANS {
        tap.send(&dropped.frame(n)?)?;
        tap.send(&passed.frame(n)?)?;
    }
    let mut buffer = [0; 128];
    for _ in 0..ORPHANS {
        process::again(|| os_socket.recv(&mut buffer))?;
    }
    let mut served = Served { daemon: home.start(&pair.served)?, pair };
    let after = served.drain()?;
    let n = ORPHANS;
    // The programs counted on; the engines of the new daemon have seen nothing.
    after.moved(&before, &[("xdp.rx", 2 * n), ("xdp.drop_no_socket", n), ("xdp.pass_no_socket", n)])?;
    served.echoes(&dropped, &tap, n, 100)?;
    served.finish()
}
