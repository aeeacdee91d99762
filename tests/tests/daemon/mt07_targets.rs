//! Targets of the configuration on tuples that somebody else still has after a restart: the daemon starts, they wait.
use anyhow::{Result, ensure};
use client::control::{
    answer::{DoctorRow, Health},
    request::{Doctor, TargetKind},
    stack::StackRelease,
};
use octroi_tests::lab::{
    self, App, Config, Daemon, Pair, PairOptions, Served, Tally, Tap, Wrapper,
    app::know_taps,
    config::{reservation, udp},
};

use crate::NEEDS;

const TAKEN: u16 = 5001;
const FREE: u16 = 5002;

/// A configuration with an echo on the port that an application has, and a sink on one that nobody has.
fn with_targets() -> Config {
    let targets = vec![udp(TargetKind::Echo, TAKEN), udp(TargetKind::Sink, FREE)];
    Config { targets, more: "\n[stack]\ngrace_s = 2\n".to_owned(), ..Config::default() }
}

fn doctor(daemon: &mut Daemon) -> Result<Vec<DoctorRow>> {
    let rows = daemon.control().pages::<Doctor>()?.into_iter().flat_map(|page| page.rows);
    Ok(rows.filter(|row| row.id == "target.waiting").collect())
}

fn ports(daemon: &mut Daemon) -> Result<Vec<u16>> {
    Ok(daemon.status()?.targets.iter().map(|target| target.target.port).collect())
}

/// Fails unless the echo waits, and everybody is told for whom.
fn waits(daemon: &mut Daemon, owner: &str) -> Result<()> {
    ensure!(ports(daemon)? == [FREE], "{:?}", ports(daemon)?);
    let line = format!("target echo udp any:{TAKEN} waits: its tuple {owner}");
    let warnings = daemon.status()?.head.warnings;
    ensure!(warnings.contains(&line), "{warnings:?}");
    let rows = doctor(daemon)?;
    let [row] = rows.as_slice() else { anyhow::bail!("{rows:?}") };
    ensure!(row.status == Health::Warn && row.detail.ends_with(owner) && row.fix.is_some(), "{row:?}");
    let log = daemon.log();
    ensure!(log.contains(&line) && log.contains("target.waiting"), "{log}");
    Ok(())
}

/// Waits until the echo has its tuple, and sees it answer.
fn comes(served: &mut Served) -> Result<()> {
    lab::until("the target has its tuple", || Ok(ports(&mut served.daemon)?.contains(&TAKEN)))?;
    let rows = doctor(&mut served.daemon)?;
    ensure!(rows.len() == 1 && rows[0].status == Health::Ok, "{rows:?}");
    ensure!(served.daemon.status()?.head.warnings.is_empty());
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(TAKEN, 4, 100);
    served.echoes(&load, &tap, 50_000, 200)
}

fn pair() -> Result<Pair> {
    let pair = Pair::new(PairOptions::default())?;
    know_taps(&pair)?;
    Ok(pair)
}

#[test]
fn mt07_a_target_waits_as_long_as_a_living_session_has_its_tuple() -> Result<()> {
    let id = "mt07_a_target_waits_as_long_as_a_living_session_has_its_tuple";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = pair()?;
    let daemon = Daemon::start(&pair.served, &Config::default())?;
    let mut app = App::start(daemon.home(), &pair.served, &Wrapper::default())?;
    app.udp(TAKEN)?;
    let home = daemon.crash()?;
    home.configure(&with_targets().text(&pair.served.ifname, &format!("unix:{}", home.metrics().display())))?;
    let mut served = Served { daemon: home.start(&pair.served)?, pair };
    ensure!(app.event()? == "Disconnected" && app.event()? == "Reconnected([TupleId(0)])");
    waits(&mut served.daemon, "belongs to tuple 0 of session 0.0")?;
    let tap = Tap::open(&served.pair.peer)?;
    assert_eq!(
        served.load(TAKEN, 4, 100).echo(&tap, 500)?,
        Tally::whole(500),
        "the application still answers"
    );
    drop(tap);
    app.release(0)?;
    comes(&mut served)?;
    drop(app);
    served.finish()
}

#[test]
fn mt07_a_target_has_the_tuple_of_a_session_whose_grace_is_over() -> Result<()> {
    let id = "mt07_a_target_has_the_tuple_of_a_session_whose_grace_is_over";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = pair()?;
    let daemon = Daemon::start(&pair.served, &Config::default())?;
    let mut app = App::start(daemon.home(), &pair.served, &Wrapper::default())?;
    app.register(&format!("udp {} {TAKEN}", pair.served.v4))?.map_err(|r| anyhow::anyhow!("{r:?}"))?;
    let home = daemon.crash()?;
    app.crash()?;
    home.configure(&with_targets().text(&pair.served.ifname, &format!("unix:{}", home.metrics().display())))?;
    let mut served = Served { daemon: home.start(&pair.served)?, pair };
    // One address of its `any` is enough to have to wait.
    waits(&mut served.daemon, "belongs to tuple 0 of session 0.0")?;
    comes(&mut served)?;
    served.finish()
}

#[test]
fn mt07_a_target_waits_for_a_reservation_too() -> Result<()> {
    let id = "mt07_a_target_waits_for_a_reservation_too";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = pair()?;
    let mut daemon = Daemon::start(&pair.served, &Config::default())?;
    let target = udp(TargetKind::Echo, TAKEN);
    daemon.control().call(&reservation(&target, 1000))?;
    let home = daemon.crash()?;
    home.configure(&with_targets().text(&pair.served.ifname, &format!("unix:{}", home.metrics().display())))?;
    let mut served = Served { daemon: home.start(&pair.served)?, pair };
    waits(&mut served.daemon, "is reserved for user 1000")?;
    let (proto, addr, port) = (Some(target.proto), Some(target.addr), Some(TAKEN));
    served.daemon.control().call(&StackRelease { proto, addr, port, ..StackRelease::default() })?;
    comes(&mut served)?;
    served.finish()
}
