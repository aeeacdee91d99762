//! Bad, missing and partial checksums: each has its documented verdict, and what nobody claimed arrives intact.
//!
//! | checksum | verdict |
//! |---|---|
//! | IPv4 header wrong, claimed | the worker drops it: `rx_bad_ip_checksum` |
//! | IPv4 header wrong, unclaimed | passed: the OS drops and counts it |
//! | UDP wrong | not ours to judge: echoed as it is |
//! | UDP absent | IPv4: echoed as it is; IPv6: `echo_refused`, no receiver may accept it |
//! | UDP left to a device (partial) | echoed with a whole one |
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::NEEDS;
use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use octroi_tests::lab::{
    self, Config, Offloads, PairOptions, Reading, Served, Tap,
    config::ECHO,
    os::{self, Tcp},
    process,
};

/// Of a frame without options or tags.
mod at {
    pub(super) const V4_CHECKSUM: usize = 14 + 10;
    pub(super) const V4_UDP_CHECKSUM: usize = 14 + 20 + 6;
    pub(super) const V6_UDP_CHECKSUM: usize = 14 + 40 + 6;
}

/// 64 MB for each setting of the peer's offloads, as the rule of this row asks.
const STREAM: usize = 64 << 20;

#[test]
fn b09_an_unclaimed_stream_arrives_intact_with_the_peers_offloads_off() -> Result<()> {
    stream("b09_an_unclaimed_stream_arrives_intact_with_the_peers_offloads_off", Offloads::Off)
}

#[test]
fn b09_an_unclaimed_stream_arrives_intact_with_the_peers_offloads_on() -> Result<()> {
    stream("b09_an_unclaimed_stream_arrives_intact_with_the_peers_offloads_on", Offloads::KernelDefault)
}

fn stream(id: &'static str, peer_offloads: Offloads) -> Result<()> {
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = PairOptions { peer_offloads, ..PairOptions::default() };
    let mut served = Served::new(pair, &Config::echo_and_sink())?;
    let before = served.drain()?;
    for address in [served.pair.served.v4.into(), served.pair.served.v6.into()] {
        Tcp::connect(&served.pair.peer, &served.pair.served, address)?.carry(STREAM / 2)?;
    }
    let after = served.drain()?;
    let passed = after.sum("xdp.rx") - before.sum("xdp.rx");
    after.moved(&before, &[("xdp.rx", passed), ("xdp.pass_miss", passed)])?;
    served.finish()
}

#[test]
fn b09_a_wrong_header_checksum_is_dropped_by_the_worker_and_passed_where_nobody_claims() -> Result<()> {
    let id = "b09_a_wrong_header_checksum_is_dropped_by_the_worker_and_passed_where_nobody_claims";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let claimed =
        [("xdp.rx", 10), ("xdp.redirect", 10), ("rx", 10), ("rx_from_meta", 10), ("rx_bad_ip_checksum", 10)];
    let unclaimed = [("xdp.rx", 10), ("xdp.pass_miss", 10)];
    for (port, moves) in [(ECHO, &claimed[..]), (4242, &unclaimed[..])] {
        let mut frame = served.load(port, 1, 100).frame(0)?;
        frame[at::V4_CHECKSUM] ^= 0x55;
        let before = served.drain()?;
        send_ten(&mut served, &tap, &frame, &before)?;
        served.drain()?.moved(&before, moves)?;
        nothing_arrives(&tap)?;
    }
    served.finish()
}

#[test]
fn b09_a_wrong_udp_checksum_is_echoed_as_it_is() -> Result<()> {
    let Some(_lab) = lab::require("b09_a_wrong_udp_checksum_is_echoed_as_it_is", NEEDS)? else {
        return Ok(());
    };
    let served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 2, 100);
    for (flow, at) in [(0, at::V4_UDP_CHECKSUM), (1, at::V6_UDP_CHECKSUM)] {
        let (mut frame, mut answer) = (load.frame(flow)?, load.answer(flow)?);
        for bytes in [&mut frame, &mut answer] {
            bytes[at] ^= 0x55;
        }
        tap.send(&frame)?;
        ensure!(next(&tap)? == answer, "flow {flow}");
    }
    served.finish()
}

#[test]
fn b09_an_absent_udp_checksum_stays_absent_or_is_refused() -> Result<()> {
    let Some(_lab) = lab::require("b09_an_absent_udp_checksum_stays_absent_or_is_refused", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 2, 100);
    let without = |mut frame: Vec<u8>, at: usize| {
        frame[at..at + 2].fill(0);
        frame
    };
    tap.send(&without(load.frame(0)?, at::V4_UDP_CHECKSUM))?;
    ensure!(next(&tap)? == without(load.answer(0)?, at::V4_UDP_CHECKSUM));

    let before = served.drain()?;
    send_ten(&mut served, &tap, &without(load.frame(1)?, at::V6_UDP_CHECKSUM), &before)?;
    let moves = [
        ("xdp.rx", 10),
        ("xdp.redirect", 10),
        ("rx", 10),
        ("rx_from_meta", 10),
        ("target.packets", 10),
        ("target.bytes", 10 * load.frame(1)?.len() as u64),
        ("echo_refused", 10),
    ];
    served.drain()?.moved(&before, &moves)?;
    nothing_arrives(&tap)?;
    served.finish()
}

#[test]
fn b09_a_checksum_left_to_a_device_is_whole_in_the_echo() -> Result<()> {
    let Some(_lab) = lab::require("b09_a_checksum_left_to_a_device_is_whole_in_the_echo", NEEDS)? else {
        return Ok(());
    };
    let pair = PairOptions { peer_offloads: Offloads::KernelDefault, ..PairOptions::default() };
    let served = Served::new(pair, &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let (peer, end) = (&served.pair.peer, &served.pair.served);
    let families: [(IpAddr, IpAddr); 2] = [(peer.v4.into(), end.v4.into()), (peer.v6.into(), end.v6.into())];
    for (from, to) in families {
        let socket = os::udp_socket(&served.pair.peer, (from, 0).into())?;
        socket.connect((to, ECHO))?;
        socket.send(b"the kernel leaves the sum to the device")?;
        // The OS would not deliver a wrong one, and the tap sees what it got.
        let mut buffer = [0; 64];
        let len = process::again(|| socket.recv(&mut buffer))?;
        ensure!(&buffer[..len] == b"the kernel leaves the sum to the device");
        ensure!(has_whole_checksum(&next(&tap)?)?, "from {from}");
    }
    served.finish()
}

fn has_whole_checksum(frame: &[u8]) -> Result<bool> {
    let packet = SlicedPacket::from_ethernet(frame)?;
    let (Some(net), Some(TransportSlice::Udp(udp))) = (&packet.net, &packet.transport) else {
        anyhow::bail!("no UDP: {frame:02x?}");
    };
    let header = udp.to_header();
    let wanted = match net {
        NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload())?,
        NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload())?,
        _ => anyhow::bail!("no IP: {frame:02x?}"),
    };
    Ok(header.checksum == wanted)
}

fn send_ten(served: &mut Served, tap: &Tap, frame: &[u8], before: &Reading) -> Result<()> {
    (0..10).try_for_each(|_| tap.send(frame))?;
    lab::until("all ten are seen", || {
        Ok(Reading::of(&mut served.daemon)?.sum("xdp.rx") == before.sum("xdp.rx") + 10)
    })
}

fn next(tap: &Tap) -> Result<Vec<u8>> {
    tap.receive(Instant::now() + Duration::from_secs(10))?.context("nothing came back")
}

/// The books say already that nothing was sent: what could have arrived has.
fn nothing_arrives(tap: &Tap) -> Result<()> {
    let frame = tap.receive(Instant::now())?;
    ensure!(frame.is_none(), "{frame:02x?} arrived");
    Ok(())
}
