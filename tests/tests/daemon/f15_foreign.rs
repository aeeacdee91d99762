//! Somebody else's XDP program is never touched: octroid refuses to start beside it, and lets nobody take its place.
use abi::pins::LAB_PASS;
use anyhow::{Result, ensure};
use octroi_tests::lab::{
    self, Config, Daemon, End, Home, Pair, PairOptions, Served, Tap, Wrapper,
    config::{ECHO, Mode},
};
use xsk::bpf::{Lab, Occupant, XdpMode, occupant};

use crate::NEEDS;

fn on_hook(end: &End) -> Result<Option<Occupant>> {
    let ifindex = end.ifindex()?;
    Ok(end.netns.enter(|| occupant(ifindex))??)
}

fn attach(lab: &Lab, end: &End, mode: XdpMode) -> Result<xsk::bpf::LabLink> {
    let ifindex = end.ifindex()?;
    Ok(end.netns.enter(|| lab.attach(LAB_PASS, ifindex, mode))??)
}

#[test]
fn f15_a_foreign_program_is_named_and_left_alone() -> Result<()> {
    let Some(_lab) = lab::require("f15_a_foreign_program_is_named_and_left_alone", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions::default())?;
    let foreign = Lab::load()?;
    for (theirs, ours) in
        [(XdpMode::Native, Mode::Native), (XdpMode::Generic, Mode::Generic), (XdpMode::Generic, Mode::Native)]
    {
        let link = attach(&foreign, &pair.served, theirs)?;
        let seen = on_hook(&pair.served)?;
        let id = seen.as_ref().map(|occupant| occupant.id).unwrap_or_default();
        let config = Config { mode: ours, ..Config::echo_and_sink() };
        let mut refused =
            Home::new(&pair.served, &config)?.launch(&pair.served, &Wrapper::default())?.refused()?;
        ensure!(!refused.status.success());
        let log = &refused.log;
        ensure!(
            log.contains(LAB_PASS) && log.contains(&id.to_string()),
            "it does not name program {id}:\n{log}"
        );
        ensure!(on_hook(&pair.served)? == seen, "the foreign program was touched");
        refused.home.check_nothing_left(&pair.served)?;
        drop(link);
    }
    // With the hook free the same daemon starts.
    let daemon = Daemon::start(&pair.served, &Config::echo_and_sink())?;
    Served { daemon, pair }.finish()
}

#[test]
fn f15_nobody_takes_the_place_of_a_running_daemon() -> Result<()> {
    let Some(_lab) = lab::require("f15_nobody_takes_the_place_of_a_running_daemon", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let ours = on_hook(&served.pair.served)?;
    ensure!(ours.as_ref().is_some_and(|occupant| occupant.name == abi::pins::PROG_INGRESS), "{ours:?}");
    let foreign = Lab::load()?;
    for mode in [XdpMode::Native, XdpMode::Generic] {
        ensure!(attach(&foreign, &served.pair.served, mode).is_err(), "{mode} was let in");
    }
    ensure!(on_hook(&served.pair.served)? == ours);
    let load = served.load(ECHO, 2, 100);
    served.echoes(&load, &tap, 0, 500)?;
    served.finish()
}

#[test]
fn f15_down_frees_the_hook_for_the_next() -> Result<()> {
    let Some(_lab) = lab::require("f15_down_frees_the_hook_for_the_next", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let foreign = Lab::load()?;
    for _ in 0..3 {
        Daemon::start(&pair.served, &Config::echo_and_sink())?.down(&pair.served)?;
        ensure!(on_hook(&pair.served)?.is_none());
        drop(attach(&foreign, &pair.served, XdpMode::Native)?);
    }
    Ok(())
}
