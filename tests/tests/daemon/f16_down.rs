//! `octroi down`, every way there is: no pin, program or link stays, and the devices are as they were.
//!
//! Every other test of this program ends so as well; here are the ways that they do not take.
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use octroi_tests::lab::{
    self, Config, Daemon, Device, Home, Objects, Offloads, Pair, PairOptions, Served, Tally, Tap,
    config::ECHO,
};

use crate::NEEDS;

#[test]
fn f16_offloads_of_both_ends_are_put_back() -> Result<()> {
    let Some(_lab) = lab::require("f16_offloads_of_both_ends_are_put_back", NEEDS)? else { return Ok(()) };
    let options = PairOptions {
        peer_offloads: Offloads::KernelDefault,
        served_offloads: Offloads::KernelDefault,
        ..PairOptions::default()
    };
    let pair = Pair::new(options)?;
    let peer = Device::of(&pair.peer)?;
    let features = || pair.served.run(&format!("ethtool -k {}", pair.served.ifname));
    ensure!(features()?.contains("rx-vlan-offload: on"), "veth has changed: there is nothing to put back");
    let daemon = Daemon::start(&pair.served, &Config::echo_and_sink())?;
    ensure!(features()?.contains("rx-vlan-offload: off"), "XDP would not see tags");
    // Compares the served end.
    daemon.down(&pair.served)?;
    peer.unchanged(&Device::of(&pair.peer)?)
}

#[test]
fn f16_a_terminated_daemon_goes_down_in_order() -> Result<()> {
    let Some(_lab) = lab::require("f16_a_terminated_daemon_goes_down_in_order", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions::default())?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Daemon::start(&pair.served, &Config::echo_and_sink())?;
        daemon.note_objects()?;
        daemon.signal(signal)?;
        let (status, mut home) = daemon.wait()?;
        ensure!(status.success(), "{signal}: {status}");
        home.check_nothing_left(&pair.served)?;
    }
    Ok(())
}

#[test]
fn f16_up_and_down_by_the_command_line_leave_nothing() -> Result<()> {
    let Some(_lab) = lab::require("f16_up_and_down_by_the_command_line_leave_nothing", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions::default())?;
    let mut home = Home::new(&pair.served, &Config::echo_and_sink())?;
    let config = home.config();
    let config = config.to_str().context("a path that is not text")?;
    home.octroi(&["up", "--config", config, "--netns", pair.served.netns.name()])?;
    let pid = home.running()?;
    let held = Objects::held_by(pid)?;
    ensure!(!held.programs.is_empty() && !held.links.is_empty() && !held.maps.is_empty(), "{held:?}");
    let tap = Tap::open(&pair.peer)?;
    let load = lab::Load::new(vec![lab::Flow::v4(&pair.peer, 20_000, &pair.served, ECHO)], 100);
    assert_eq!(load.echo(&tap, 200)?, Tally::whole(200));
    // A second one of the same instance is refused, and the first one goes on.
    ensure!(home.octroi(&["up", "--config", config, "--netns", pair.served.netns.name()]).is_err());
    assert_eq!(load.echo_from(&tap, 200, 200)?, Tally::whole(200));
    // Another interface's name guards against stopping the wrong one.
    ensure!(home.octroi(&["down", "--iface", "other0"]).is_err());
    home.octroi(&["down", "--iface", &pair.served.ifname])?;
    held.wait_until_gone()?;
    // What is promised to stay, does.
    assert_eq!(home.run_files()?, ["lock", "octroid.log"]);
    home.check_nothing_left(&pair.served)
}

#[test]
fn f16_what_a_crash_left_is_cleaned_without_a_daemon() -> Result<()> {
    let Some(_lab) = lab::require("f16_what_a_crash_left_is_cleaned_without_a_daemon", NEEDS)? else {
        return Ok(());
    };
    let options = PairOptions { served_offloads: Offloads::KernelDefault, ..PairOptions::default() };
    let pair = Pair::new(options)?;
    let mut home = Daemon::start(&pair.served, &Config::echo_and_sink())?.crash()?;
    ensure!(!home.pins().list()?.is_empty(), "a crash keeps its pins: claimed traffic follows its policy");
    home.octroi(&["down", "--crashed", "--netns", pair.served.netns.name()])?;
    home.check_nothing_left(&pair.served)
}

#[test]
fn f16_down_under_load_balances_first() -> Result<()> {
    let Some(_lab) = lab::require("f16_down_under_load_balances_first", NEEDS)? else { return Ok(()) };
    let served = Served::new(PairOptions { queues: 2, ..PairOptions::default() }, &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 8, 100);
    (0..lab::WINDOW).try_for_each(|n| tap.send(&load.frame(n)?))?;
    let Served { daemon, pair } = served;
    daemon.down(&pair.served)
}
