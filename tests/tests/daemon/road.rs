//! Packets from a wire through XDP and AF_XDP to the builtin targets, and past them to the OS.
use std::{io::ErrorKind, net::UdpSocket};

use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{
    self, Config, Load, PairOptions, Ping, Served, Tally, Tap, WINDOW,
    config::{ECHO, SINK},
    echoed,
    frame::{STAMP, V4_HEADERS},
    os::{self, Tcp},
    process, sunk,
};

use crate::NEEDS;

#[test]
fn road_an_echo_returns_every_frame_by_both_families() -> Result<()> {
    let Some(_lab) = lab::require("road_an_echo_returns_every_frame_by_both_families", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 4, 200);
    served.echoes(&load, &tap, 0, 2000)?;
    served.finish()
}

#[test]
fn road_an_echo_returns_frames_of_every_size() -> Result<()> {
    let Some(_lab) = lab::require("road_an_echo_returns_frames_of_every_size", NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let before = served.drain()?;
    let (mut frames, mut bytes) = (0, 0);
    for size in (V4_HEADERS + STAMP..128).chain([508, 1020, 1276, 1513, 1514]) {
        let load = served.load(ECHO, 1, size - V4_HEADERS);
        assert_eq!(load.echo(&tap, 10)?, Tally::whole(10), "frames of {size} bytes");
        frames += 10;
        bytes += 10 * size as u64;
    }
    served.drain()?.moved(&before, &echoed(frames, bytes))?;
    served.finish()
}

#[test]
fn road_a_sink_counts_every_frame_it_takes() -> Result<()> {
    let Some(_lab) = lab::require("road_a_sink_counts_every_frame_it_takes", NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let (each, sizes) = (8 * WINDOW, [64, 508, 1514]);
    for size in sizes {
        let before = served.drain()?;
        let load = served.load(SINK, 4, size - V4_HEADERS - 20);
        let daemon = &mut served.daemon;
        load.sink(&tap, each, || Ok(lab::Reading::of(daemon)?.sum("delivered") - before.sum("delivered")))?;
        let moves = sunk(each, load.bytes(0, each)?);
        served.drain()?.moved(&before, &moves).with_context(|| format!("frames of {size} bytes"))?;
    }
    served.finish()
}

#[test]
fn road_what_nobody_claimed_is_the_os_stacks() -> Result<()> {
    let Some(_lab) = lab::require("road_what_nobody_claimed_is_the_os_stacks", NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let before = served.drain()?;
    for to in [served.pair.served.v4.into(), served.pair.served.v6.into()] {
        Ping::open(&served.pair.peer.netns, to)?.times(20)?;
    }
    served.drain()?.moved(&before, &[("xdp.rx", 40), ("xdp.pass_icmp", 40)])?;

    let before = served.drain()?;
    unclaimed_udp(&served, 20)?;
    served.drain()?.moved(&before, &[("xdp.rx", 20), ("xdp.pass_miss", 20)])?;

    // How many segments a megabyte takes is TCP's affair; that none of them is ours is not.
    let before = served.drain()?;
    Tcp::connect(&served.pair.peer, &served.pair.served, served.pair.served.v4.into())?.carry(1 << 20)?;
    let after = served.drain()?;
    let passed = after.sum("xdp.pass_miss") - before.sum("xdp.pass_miss");
    ensure!(1 << 20 < passed * 1514, "{passed} segments cannot be a megabyte");
    after.moved(&before, &[("xdp.rx", passed), ("xdp.pass_miss", passed)])?;
    served.finish()
}

/// Datagrams to a port of the served address that an OS socket has, each answered.
fn unclaimed_udp(served: &Served, count: usize) -> Result<()> {
    let there = os::udp_socket(&served.pair.served, served.address(0))?;
    let here = os::udp_socket(&served.pair.peer, (served.pair.peer.v4, 0).into())?;
    here.connect(there.local_addr()?)?;
    let mut buffer = [0; 64];
    for n in 0..count {
        here.send(&n.to_be_bytes())?;
        let (len, from) = process::again(|| there.recv_from(&mut buffer))?;
        there.send_to(&buffer[..len], from)?;
        let len = process::again(|| here.recv(&mut buffer))?;
        ensure!(buffer[..len] == n.to_be_bytes(), "datagram {n} came back changed");
    }
    Ok(())
}

#[test]
fn road_legacy_traffic_and_an_echo_share_one_address() -> Result<()> {
    let Some(_lab) = lab::require("road_legacy_traffic_and_an_echo_share_one_address", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let before = served.drain()?;
    let load = served.load(ECHO, 2, 100);
    // The tap sees the OS's own traffic too: those frames are foreign to the load.
    let (tally, _pings) = os::beside_legacy(&served.pair, || load.echo(&tap, 5000))?;
    assert_eq!(Tally { foreign: 0, ..tally }, Tally::whole(5000));
    let after = served.drain()?;
    assert_eq!(after.sum("transmitted") - before.sum("transmitted"), 5000);
    assert_eq!(after.sum("xdp.redirect") - before.sum("xdp.redirect"), 5000);
    served.finish()
}

#[test]
fn road_an_os_socket_talks_to_an_echo() -> Result<()> {
    let Some(_lab) = lab::require("road_an_os_socket_talks_to_an_echo", NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let before = served.drain()?;
    let socket = os::udp_socket(&served.pair.peer, (served.pair.peer.v4, 0).into())?;
    socket.connect(served.address(ECHO))?;
    exchange(&socket, 50)?;
    served.drain()?.moved(&before, &echoed(50, 50 * (V4_HEADERS as u64 + 4)))?;

    // The same port by another protocol is nobody's: the OS refuses the connection.
    let before = served.drain()?;
    let refused = served.pair.peer.netns.enter(|| std::net::TcpStream::connect(served.address(ECHO)))?;
    assert_eq!(refused.map(drop).map_err(|why| why.kind()), Err(ErrorKind::ConnectionRefused));
    served.drain()?.moved(&before, &[("xdp.rx", 1), ("xdp.pass_miss", 1)])?;
    served.finish()
}

fn exchange(socket: &UdpSocket, count: u32) -> Result<()> {
    let mut buffer = [0; 64];
    for n in 0..count {
        socket.send(&n.to_be_bytes())?;
        let received = process::again(|| socket.recv(&mut buffer));
        let len = received.with_context(|| format!("no answer to datagram {n}"))?;
        ensure!(buffer[..len] == n.to_be_bytes(), "datagram {n} came back changed");
    }
    Ok(())
}

#[test]
fn road_every_refused_frame_has_its_reason() -> Result<()> {
    let Some(_lab) = lab::require("road_every_refused_frame_has_its_reason", NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let good: Load = served.load(ECHO, 1, 100);
    let frame = good.frame(0)?;
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = frame.clone();
        change(&mut frame);
        frame
    };
    let reasons: [(&str, Vec<u8>); 6] = [
        ("xdp.pass_other_host", changed(&|f| f[5] ^= 0x40)),
        ("xdp.pass_ethertype", changed(&|f| f[12..14].copy_from_slice(&[0x88, 0xB5]))),
        ("xdp.pass_bad_header", changed(&|f| f[14] = 0x44)),
        ("xdp.pass_martian", changed(&|f| f[26] = 127)),
        ("xdp.pass_fragment", changed(&|f| f[21] |= 0x01)),
        ("xdp.pass_protocol", changed(&|f| f[23] = 47)),
    ];
    for (reason, frame) in reasons {
        let before = served.drain()?;
        (0..10).try_for_each(|_| tap.send(&frame))?;
        lab::until("they are counted", || {
            Ok(lab::Reading::of(&mut served.daemon)?.sum("xdp.rx") == before.sum("xdp.rx") + 10)
        })?;
        served.drain()?.moved(&before, &[("xdp.rx", 10), (reason, 10)])?;
    }
    served.finish()
}
