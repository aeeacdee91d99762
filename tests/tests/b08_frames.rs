//! B8: frames at the limit of a chunk arrive whole, are refused at start, or are a counted drop; never cut short.
mod ports;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ixp::port::{Receive as _, RxLosses};
use octroi_tests::lab::{self, Flow, Need, Pair, PairOptions, Stamp, Tap, until};
use xsk::socket::{OpenError, QueueConfig};

use crate::ports::{Port, config, open};

const NEEDS: &[Need] = &[Need::Netns, Need::RawSockets, Need::Bpf, Need::AfXdp];

/// A chunk of 2048 bytes less the kernel's 256 and our 16.
const CAPACITY: u32 = 1776;

/// Frames that the sending end gave up on because the other end is too small for them.
fn dropped_on_the_wire(pair: &Pair) -> Result<u64> {
    let shown = pair.peer.run(&format!("ip -s -s -o link show {}", pair.peer.ifname))?;
    let tx = shown.split("TX:").nth(1).with_context(|| format!("no TX in {shown}"))?;
    let values = tx.split('\\').nth(1).context("no TX values")?;
    values.split_whitespace().nth(3).context("no TX drops")?.parse().context("a count")
}

fn frame(pair: &Pair, sequence: u64, len: u32) -> Result<Vec<u8>> {
    let flow = Flow::v4(&pair.peer, 1000, &pair.served, 7);
    flow.udp(&[], &Stamp { flow: 0, sequence }.payload(len as usize - lab::frame::V4_HEADERS))
}

#[test]
fn b08_an_mtu_that_does_not_fit_is_refused_at_start() -> Result<()> {
    let Some(_lab) = lab::require("b08_an_mtu_that_does_not_fit", NEEDS)? else { return Ok(()) };
    // (MTU, tags, chunk, the largest MTU named by the refusal)
    let cases = [
        (1500, 0, 2048, None),
        (1762, 0, 2048, None),
        (1763, 0, 2048, Some(1762)),
        (1762, 1, 2048, Some(1758)),
        (3000, 0, 2048, Some(1762)),
        (3000, 2, 4096, None),
        (9000, 0, 2048, Some(1762)),
        (9000, 0, 4096, Some(3810)),
    ];
    for (mtu, vlan_tags, chunk, largest) in cases {
        let pair = Pair::new(PairOptions { mtu, ..PairOptions::default() })?;
        let config = QueueConfig { vlan_tags, chunk, ..config(&pair.served)? };
        match (open(&pair.served, &config)?, largest) {
            (Ok(_), None) => {}
            (Err(OpenError::Mtu { source, .. }), Some(largest)) => {
                assert_eq!((source.mtu, source.largest), (mtu, largest));
            }
            (result, _) => panic!("MTU {mtu}, {vlan_tags} tags, chunk {chunk}: {:?}", result.err()),
        }
    }
    Ok(())
}

#[test]
fn b08_frames_up_to_the_capacity_arrive_whole_and_longer_ones_are_counted() -> Result<()> {
    let Some(_lab) = lab::require("b08_frames_up_to_the_capacity", NEEDS)? else { return Ok(()) };
    // The served end's MTU fills a chunk exactly; the peer may send more.
    let pair = Pair::new(PairOptions { mtu: CAPACITY - 14, ..PairOptions::default() })?;
    pair.peer.run(&format!("ip link set {} mtu 3000", pair.peer.ifname))?;
    // Not a packet socket: a frame that the wire refuses would keep it trying.
    let mut sender = Port::on(&pair.peer, &QueueConfig { chunk: 4096, ..config(&pair.peer)? })?;
    let mut port = Port::on(&pair.served, &config(&pair.served)?)?;
    assert_eq!(port.granted.capacity, CAPACITY);

    for (sequence, len) in [60, 1514, CAPACITY - 1, CAPACITY].into_iter().enumerate() {
        let bytes = frame(&pair, sequence as u64, len)?;
        sender.send_bytes(&bytes)?;
        let frames = port.receive(1)?;
        assert_eq!(frames[0].bytes(), bytes, "{len} bytes");
        port.recycle(frames);
    }
    port.lost(RxLosses::default())?;

    // veth lets 4 bytes beyond the MTU pass, for a VLAN tag: these reach the socket, which has no room for them.
    for (nth, len) in (CAPACITY + 1..=CAPACITY + 4).enumerate() {
        sender.send_bytes(&frame(&pair, 100, len)?)?;
        let want = RxLosses { no_buffer: nth as u64 + 1, ..RxLosses::default() };
        until("the long frame is counted", || Ok(port.rx.losses() == want))?;
    }
    // The fifth byte is one too many for veth, whose sending end counts it.
    let before = dropped_on_the_wire(&pair)?;
    sender.send_bytes(&frame(&pair, 200, CAPACITY + 5)?)?;
    until("the wire counts it", || Ok(dropped_on_the_wire(&pair)? == before + 1))?;

    // Nothing of all that arrived, in whole or in part, and the next frame does.
    let bytes = frame(&pair, 300, CAPACITY)?;
    sender.send_bytes(&bytes)?;
    let frames = port.receive(1)?;
    assert_eq!(frames[0].bytes(), bytes);
    port.recycle(frames);
    port.lost(RxLosses { no_buffer: 4, ..RxLosses::default() })?;
    sender.balance()?;
    port.balance()
}

#[test]
fn b08_a_port_sends_up_to_its_capacity_and_never_less_than_it_was_given() -> Result<()> {
    let Some(_lab) = lab::require("b08_a_port_sends_up_to_its_capacity", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions { mtu: CAPACITY - 14, ..PairOptions::default() })?;
    let tap = Tap::open(&pair.peer)?;
    let mut port = Port::on(&pair.served, &config(&pair.served)?)?;
    for (sequence, len) in [60, CAPACITY - 1, CAPACITY].into_iter().enumerate() {
        let bytes = frame(&pair, sequence as u64, len)?;
        port.send_bytes(&bytes)?;
        let seen = tap.receive(Instant::now() + Duration::from_secs(10))?;
        assert_eq!(seen.context("nothing arrived")?, bytes, "{len} bytes");
    }
    // One byte more has no place in a frame.
    let mut frame = port.rx.alloc().context("a free frame")?;
    for more in [1, 4, 5] {
        assert_eq!(frame.set_len((CAPACITY + more) as usize), Err(CAPACITY as usize));
    }
    ensure!(frame.is_empty());
    port.recycle([frame]);
    port.balance()
}

#[test]
fn b08_a_large_chunk_carries_frames_of_mtu_3000_both_ways() -> Result<()> {
    let Some(_lab) = lab::require("b08_a_large_chunk", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions { mtu: 3000, ..PairOptions::default() })?;
    let tap = Tap::open(&pair.peer)?;
    let mut port = Port::on(&pair.served, &QueueConfig { chunk: 4096, ..config(&pair.served)? })?;
    for (sequence, len) in (3000..=3014).enumerate() {
        let bytes = frame(&pair, sequence as u64, len)?;
        tap.send(&bytes)?;
        for frame in port.receive(1)? {
            port.send(frame)?;
        }
        let seen = tap.receive(Instant::now() + Duration::from_secs(10))?;
        assert_eq!(seen.context("nothing came back")?, bytes, "{len} bytes");
    }
    port.lost(RxLosses::default())?;
    port.balance()
}
