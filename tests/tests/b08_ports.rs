//! AF_XDP ports over a veth pair: what is sent arrives whole, and every chunk comes home.
//!
//! B8 asks that no frame is cut short; these are the ordinary lengths, the limits are in `b08_frames.rs`.
mod ports;

use std::{
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use ixp::{
    frame::Frame,
    port::{PortId, Receive as _, RxLosses, Transmit as _},
};
use octroi_tests::lab::{self, Flow, Need, Pair, PairOptions, Stamp, Tap, until};
use xsk::socket::{CopyMode, OpenError, QueueConfig};

use crate::ports::{Port, config, open};

const NEEDS: &[Need] = &[Need::Netns, Need::RawSockets, Need::Bpf, Need::AfXdp];

/// Frames of `len` bytes, numbered.
fn frame(pair: &Pair, sequence: u64, len: usize) -> Result<Vec<u8>> {
    let flow = Flow::v4(&pair.peer, 1000, &pair.served, 7);
    flow.udp(&[], &Stamp { flow: 0, sequence }.payload(len - lab::frame::V4_HEADERS))
}

#[test]
fn b08_what_a_port_sends_the_other_end_sees() -> Result<()> {
    let Some(_lab) = lab::require("b08_what_a_port_sends_the_other_end_sees", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let tap = Tap::open(&pair.peer)?;
    let mut port = Port::on(&pair.served, &config(&pair.served)?)?;
    for sequence in 0..300 {
        let bytes = frame(&pair, sequence, 62 + sequence as usize)?;
        port.send_bytes(&bytes)?;
        let seen = tap.receive(Instant::now() + Duration::from_secs(10))?;
        assert_eq!(seen.context("nothing arrived")?, bytes);
    }
    port.lost(RxLosses::default())?;
    port.balance()
}

#[test]
fn b08_two_ports_echo_every_frame_and_keep_every_chunk() -> Result<()> {
    let Some(_lab) = lab::require("b08_two_ports_echo_every_frame_and_keep_every_chunk", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions::default())?;
    let mut near = Port::on(&pair.peer, &config(&pair.peer)?)?;
    let mut far = Port::on(&pair.served, &config(&pair.served)?)?;
    for round in 0..100 {
        let bytes: Vec<_> = (0..64).map(|n| frame(&pair, round * 64 + n, 300)).collect::<Result<_>>()?;
        for bytes in &bytes {
            near.send_bytes(bytes)?;
        }
        for frame in far.receive(64)? {
            far.send(frame)?;
        }
        let back = near.receive(64)?;
        assert!(back.iter().zip(&bytes).all(|(frame, bytes)| frame.bytes() == bytes), "round {round}");
        near.recycle(back);
    }
    for port in [&mut near, &mut far] {
        port.lost(RxLosses::default())?;
        port.balance()?;
    }
    Ok(())
}

#[test]
fn b08_halves_on_two_threads_lose_nothing() -> Result<()> {
    const FRAMES: u64 = 2_000;
    let Some(_lab) = lab::require("b08_halves_on_two_threads_lose_nothing", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let mut near = Port::on(&pair.peer, &config(&pair.peer)?)?;
    let mut far = Port::on(&pair.served, &config(&pair.served)?)?;
    let (rx, tx) = (&mut far.rx, &mut far.tx);
    let (mut to_tx, mut from_rx) = ixp::ring::ring::<Frame>(1024)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        // As in layout `pipeline`: one thread receives and refills, another sends.
        let receiving = scope.spawn(|| -> Result<()> {
            let mut frames = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                rx.receive(&mut frames, 64)?;
                while !frames.is_empty() {
                    to_tx.push_burst(&mut frames);
                }
                rx.refill()?;
            }
            Ok(())
        });
        let sending = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) || tx.outstanding() != 0 {
                let mut next = from_rx.pop();
                while let Some(frame) = next.take() {
                    next = tx.send(frame).err();
                    tx.flush()?;
                }
                tx.flush()?;
            }
            Ok(())
        });
        let echoed = exchange(&pair, &mut near, FRAMES);
        stop.store(true, Ordering::Relaxed);
        sending.join().expect("no panic")?;
        receiving.join().expect("no panic")?;
        echoed
    })?;
    for port in [&mut near, &mut far] {
        port.lost(RxLosses::default())?;
        port.balance()?;
    }
    Ok(())
}

/// Sends numbered frames, at most [`lab::WINDOW`] ahead of the answers, and sees that each comes back.
fn exchange(pair: &Pair, near: &mut Port, frames: u64) -> Result<()> {
    let (mut sent, mut back) = (0, 0);
    let mut got = Vec::new();
    until("every frame has come back", || {
        while sent < frames && sent < back + lab::WINDOW {
            near.send_bytes(&frame(pair, sent, 200)?)?;
            sent += 1;
        }
        near.rx.receive(&mut got, 64)?;
        for frame in got.drain(..) {
            let stamp = Stamp::read(&frame.bytes()[lab::frame::V4_HEADERS..]).context("a changed frame")?;
            ensure!(stamp.sequence == back, "{} instead of {back}", stamp.sequence);
            back += 1;
            near.rx.recycle(frame);
        }
        near.turn()?;
        Ok(back == frames)
    })
}

#[test]
fn b08_a_foreign_frame_is_copied_and_goes_home() -> Result<()> {
    let Some(_lab) = lab::require("b08_a_foreign_frame_is_copied_and_goes_home", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions::default())?;
    let other_pair = Pair::new(PairOptions::default())?;
    let tap = Tap::open(&pair.peer)?;
    let mut port = Port::on(&pair.served, &QueueConfig { copies: 8, ..config(&pair.served)? })?;
    let mut other = Port::on(&other_pair.served, &config(&other_pair.served)?)?;
    for sequence in 0..100 {
        let bytes = frame(&pair, sequence, 100)?;
        let foreign = other.frame(&bytes)?;
        port.send(foreign)?;
        let seen = tap.receive(Instant::now() + Duration::from_secs(10))?;
        assert_eq!(seen.context("nothing arrived")?, bytes);
    }
    port.balance()?;
    other.balance()?;

    // A port without chunks for copies hands it back, and nothing has changed.
    drop(port);
    let mut port = Port::on(&pair.served, &QueueConfig { copies: 0, ..config(&pair.served)? })?;
    let foreign = other.frame(&frame(&pair, 0, 100)?)?;
    let foreign = port.tx.send(foreign).expect_err("no chunk for copies");
    ensure!(!port.tx.fits(&foreign), "trying again would be for ever");
    other.recycle([foreign]);
    port.balance()?;
    other.balance()
}

#[test]
fn b08_a_foreign_frame_longer_than_a_chunk_never_fits() -> Result<()> {
    let Some(_lab) = lab::require("b08_a_foreign_frame_longer_than_a_chunk_never_fits", NEEDS)? else {
        return Ok(());
    };
    let (pair, other_pair) = (Pair::new(PairOptions::default())?, Pair::new(PairOptions::default())?);
    let mut port = Port::on(&pair.served, &QueueConfig { copies: 8, ..config(&pair.served)? })?;
    let large = QueueConfig { chunk: 4096, ..config(&other_pair.served)? };
    let mut other = Port::on(&other_pair.served, &large)?;
    assert_eq!(other.rx.memory_bytes(), large.umem_bytes(), "what the engines account for");
    let long = other.frame(&frame(&other_pair, 0, 3000)?)?;
    let long = port.tx.send(long).expect_err("a chunk has 2048 bytes");
    let short = other.frame(&frame(&other_pair, 0, 1000)?)?;
    ensure!(!port.tx.fits(&long) && port.tx.fits(&short) && other.tx.fits(&long));
    other.recycle([long, short]);
    port.balance()?;
    other.balance()
}

#[test]
fn b08_a_burst_beyond_the_ring_is_handed_back_and_counted_where_it_is_lost() -> Result<()> {
    let Some(_lab) = lab::require("b08_a_burst_beyond_the_ring", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let small =
        |end| -> Result<_> { Ok(QueueConfig { ring: 64, frames: 256, tx_budget: 64, ..config(end)? }) };
    let mut near = Port::on(&pair.peer, &small(&pair.peer)?)?;
    let mut far = Port::on(&pair.served, &small(&pair.served)?)?;

    // Without a flush in between the transmit ring takes what it has slots for, and not one more.
    for sequence in 0..64 {
        let frame = near.frame(&frame(&pair, sequence, 100)?)?;
        ensure!(near.tx.send(frame).is_ok());
    }
    let one_more = near.frame(&frame(&pair, 64, 100)?)?;
    let one_more = near.tx.send(one_more).expect_err("the ring is full");
    near.turn()?;
    near.send(one_more)?;

    // The far port has 64 slots to receive into; what comes beyond is counted by the kernel, under one reason.
    for sequence in 65..165 {
        near.send_bytes(&frame(&pair, sequence, 100)?)?;
    }
    near.balance()?;
    let mut received = Vec::new();
    far.rx.receive(&mut received, 1024)?;
    let losses = far.rx.losses();
    assert_eq!(received.len(), 64);
    assert_eq!(losses, RxLosses { ring_full: 0, no_buffer: 165 - 64, bad_descriptor: 0 });
    far.recycle(received);
    far.balance()
}

#[test]
fn b08_a_queue_is_free_again_even_if_a_frame_was_forgotten() -> Result<()> {
    let Some(_lab) = lab::require("b08_a_queue_is_free_again", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let config = config(&pair.served)?;
    let tap = Tap::open(&pair.peer)?;
    let mut forgotten = Vec::new();
    for sequence in 0..5 {
        let mut port = Port::on(&pair.served, &config)?;
        let bytes = frame(&pair, sequence, 200)?;
        tap.send(&bytes)?;
        let mut frames = port.receive(1)?;
        let last = port.last.clone();
        assert_eq!(last.get(), None, "the socket is open");
        drop(port);
        assert_eq!(last.get().context("saved when it closed")?.rx_dropped, 0);
        assert_eq!(frames[0].bytes(), bytes, "a forgotten frame keeps its memory");
        forgotten.append(&mut frames);
    }
    Ok(())
}

#[test]
fn b08_halves_may_end_in_either_order_on_other_threads() -> Result<()> {
    let Some(_lab) = lab::require("b08_halves_may_end_in_either_order", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let config = config(&pair.served)?;
    for receiving_first in [true, false, true] {
        let port = Port::on(&pair.served, &config)?;
        let Port { rx, tx, last, .. } = port;
        let (first, second): (Box<dyn Send>, Box<dyn Send>) =
            if receiving_first { (Box::new(rx), Box::new(tx)) } else { (Box::new(tx), Box::new(rx)) };
        std::thread::spawn(move || drop(first)).join().expect("no panic");
        assert_eq!(last.get(), None, "one half is left");
        drop(second);
        assert!(last.get().is_some());
    }
    // Each round found the queue free again.
    Ok(())
}

#[test]
fn b08_a_second_socket_on_a_queue_is_refused_by_name() -> Result<()> {
    let Some(_lab) = lab::require("b08_a_second_socket_on_a_queue", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions { queues: 2, ..PairOptions::default() })?;
    let first = config(&pair.served)?;
    let port = open(&pair.served, &first)??;
    assert!(matches!(open(&pair.served, &first)?, Err(OpenError::Taken { queue: 0, .. })));
    let second = open(&pair.served, &QueueConfig { queue: 1, port: PortId::new(1), ..first })??;
    assert_ne!(port.xsk_fd().as_raw_fd(), second.xsk_fd().as_raw_fd());
    let inactive = QueueConfig { queue: 2, ..first };
    let error = open(&pair.served, &inactive)?.err().context("queue 2 of 2")?;
    assert_eq!(
        error.to_string(),
        "queue 2 of served0 is not active (2 for receiving, 2 for sending are): see `ethtool -l served0`"
    );
    Ok(())
}

#[test]
fn b08_what_was_granted_is_what_was_asked_or_an_error() -> Result<()> {
    let Some(_lab) = lab::require("b08_what_was_granted", NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let config = config(&pair.served)?;
    let granted = open(&pair.served, &config)??.granted();
    assert_eq!((granted.mode, granted.mtu, granted.capacity), (CopyMode::Copy, 1500, 1776));
    assert_eq!(granted.ifindex, pair.served.ifindex()?);
    assert!([32, 64].contains(&granted.tx_budget), "{granted:?}");
    let zero_copy = QueueConfig { mode: CopyMode::ZeroCopy, ..config };
    let error = open(&pair.served, &zero_copy)?.err().context("veth has no zero-copy")?;
    assert!(matches!(error, OpenError::NoZeroCopy { .. }), "{error}");
    let busy = xsk::socket::BusyPoll { timeout_us: 20, budget: 64 };
    open(&pair.served, &QueueConfig { busy_poll: Some(busy), ..config })??;
    Ok(())
}
