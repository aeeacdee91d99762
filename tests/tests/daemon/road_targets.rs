//! Targets that come and go while packets flow: what is acknowledged holds for the next packet.
use anyhow::{Context as _, Result, ensure};
use client::control::request::{LocalAddr, TargetAdd, TargetKind};
use octroi_tests::lab::{
    self, Config, PairOptions, Reading, Served, Tally, Tap,
    config::{ECHO, udp},
    echoed, os, process,
};

use crate::NEEDS;

/// A port that no configuration of the lab claims.
const LATE: u16 = 4242;

#[test]
fn road_a_target_serves_from_the_packet_after_its_acknowledgement() -> Result<()> {
    let Some(_lab) = lab::require("road_a_target_serves_from_the_packet_after_its_acknowledgement", NEEDS)?
    else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(LATE, 2, 100);
    for round in 0..20 {
        let before = served.drain()?;
        let tuple = served.daemon.add(&udp(TargetKind::Echo, LATE))?;
        let tally = load.echo_from(&tap, 100 * round, 10)?;
        assert_eq!(Tally { foreign: 0, ..tally }, Tally::whole(10), "round {round}");
        served.daemon.remove(tuple)?;
        // Now the port is nobody's: the OS says so, and the frames are not ours.
        (0..5).try_for_each(|n| tap.send(&load.frame(100 * round + 50 + n)?))?;
        let moves = [
            ("xdp.rx", 15),
            ("xdp.redirect", 10),
            ("rx", 10),
            ("rx_from_meta", 10),
            ("transmitted", 10),
            ("xdp.pass_miss", 5),
        ];
        lab::until("all are counted", || {
            Ok(Reading::of(&mut served.daemon)?.sum("xdp.rx") == before.sum("xdp.rx") + 15)
        })?;
        served.drain()?.moved(&before, &moves).with_context(|| format!("round {round}"))?;
    }
    served.finish()
}

#[test]
fn road_other_targets_lose_nothing_when_one_comes_and_goes() -> Result<()> {
    let Some(_lab) = lab::require("road_other_targets_lose_nothing_when_one_comes_and_goes", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 4, 100);
    let before = served.drain()?;
    let (churned, tally) = std::thread::scope(|scope| -> Result<_> {
        let load = scope.spawn(|| load.echo(&tap, 10_000));
        let mut churned = 0;
        while !load.is_finished() || churned == 0 {
            let tuple = served.daemon.add(&udp(TargetKind::Sink, LATE))?;
            served.daemon.remove(tuple)?;
            churned += 1;
        }
        Ok((churned, load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??))
    })?;
    ensure!(churned != 0);
    assert_eq!(tally, Tally::whole(10_000));
    served.drain()?.moved(&before, &echoed(10_000, load.bytes(0, 10_000)?))?;
    served.finish()
}

#[test]
fn road_a_tuple_has_one_owner_and_only_where_it_is_local() -> Result<()> {
    let Some(_lab) = lab::require("road_a_tuple_has_one_owner_and_only_where_it_is_local", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let before = served.drain()?;
    let mut refused = |target: TargetAdd| -> Result<String> {
        let outcome = served.daemon.control().call(&target);
        Ok(outcome.err().context("it was not refused")?.to_string())
    };
    let taken = refused(udp(TargetKind::Sink, ECHO))?;
    ensure!(taken.contains("EBUSY"), "{taken}");
    let foreign = TargetAdd { addr: LocalAddr::Ip([192, 0, 2, 1].into()), ..udp(TargetKind::Sink, LATE) };
    let foreign = refused(foreign)?;
    ensure!(foreign.contains("EADDRNOTAVAIL"), "{foreign}");
    let unknown = served.daemon.remove(9999).err().context("it was not refused")?.to_string();
    ensure!(unknown.contains("ENOENT"), "{unknown}");
    // A refusal changes nothing: the owner still answers, and no counter moved.
    served.drain()?.moved(&before, &[])?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 2, 100);
    served.echoes(&load, &tap, 0, 100)?;
    served.finish()
}

#[test]
fn road_a_target_on_one_address_leaves_the_other_to_the_os() -> Result<()> {
    let Some(_lab) = lab::require("road_a_target_on_one_address_leaves_the_other_to_the_os", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::default())?;
    let only_v6 = LocalAddr::Ip(served.pair.served.v6.into());
    served.daemon.add(&TargetAdd { addr: only_v6, ..udp(TargetKind::Echo, LATE) })?;
    let before = served.drain()?;
    // The same port by IPv4 belongs to a socket of the OS, at the same time.
    let os_socket = os::udp_socket(&served.pair.served, served.address(LATE))?;
    let here = os::udp_socket(&served.pair.peer, (served.pair.peer.v4, 0).into())?;
    here.send_to(b"to the OS", served.address(LATE))?;
    let mut buffer = [0; 64];
    assert_eq!(process::again(|| os_socket.recv(&mut buffer))?, 9);
    let here = os::udp_socket(&served.pair.peer, (served.pair.peer.v6, 0).into())?;
    here.send_to(b"to the echo", (served.pair.served.v6, LATE))?;
    assert_eq!(process::again(|| here.recv(&mut buffer))?, 11);
    let moves = [
        ("xdp.rx", 2),
        ("xdp.pass_miss", 1),
        ("xdp.redirect", 1),
        ("rx", 1),
        ("rx_from_meta", 1),
        ("transmitted", 1),
        ("target.packets", 1),
        ("target.bytes", 14 + 40 + 8 + 11),
    ];
    served.drain()?.moved(&before, &moves)?;
    served.finish()
}
