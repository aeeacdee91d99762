//! `octroi-echo`: sends every UDP datagram back, straight from one ring into the other.
//!
//! The least that an application on raw channels needs: no stack, no sockets, no timers.
//!
//! ```sh
//! octroi-echo --listen any:7
//! ```
#![deny(unsafe_code)]

use std::{os::fd::AsFd as _, process::ExitCode, time::Duration};

use abi::shm::desc::Form;
use anyhow::Result;
use clap::Parser;
use client::{
    control::request::Proto,
    shm::channel::{Bell, Channel, Interest},
    stack::StackOptions,
};
use octroi_examples::{
    arguments::Arguments,
    datagram::Datagram,
    session::{Session, Woken},
    stop::ended,
};
use smoltcp::phy::{Checksum, ChecksumCapabilities};

/// Datagrams answered before anything else is looked at.
const BURST: usize = 64;
/// Bursts after which signals and the daemon are listened to, however much there is to do.
const GLANCE: u32 = 64;

/// Send every UDP datagram back.
#[derive(Debug, Parser)]
#[command(version)]
struct Echo {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    ended(run(&Echo::parse().arguments))
}

fn run(arguments: &Arguments) -> Result<()> {
    let (mut session, mut channels) =
        Session::open(arguments, &StackOptions::named("octroi-echo"), Proto::Udp)?;
    let mut bursts: u32 = 0;
    loop {
        let busy = channels.iter_mut().fold(false, |busy, channel| busy | (echo(channel) == More::Yes));
        bursts = if busy { bursts.wrapping_add(1) } else { 0 };
        if busy && !bursts.is_multiple_of(GLANCE) {
            continue;
        }
        let waits = !busy && channels.iter_mut().all(|channel| !has_work(channel));
        let bells = channels.iter().map(|channel| channel.as_fd());
        match session.sleep(bells, (!waits).then_some(Duration::ZERO))? {
            Woken::Look => channels.retain(|channel| channel.drain() == Bell::Rings),
            Woken::Lost => channels.clear(),
            Woken::Back(again) => channels = again,
            Woken::Stop => return Ok(()),
        }
    }
}

/// Whether a full burst was there.
#[derive(PartialEq, Eq)]
enum More {
    Yes,
    No,
}

/// Answers one burst.
fn echo(channel: &mut Channel) -> More {
    let mut checksums = ChecksumCapabilities::default();
    if channel.has_partial_checksums() {
        checksums.udp = Checksum::Tx;
    }
    let mtu = channel.mtu();
    let (rx, tx) = channel.split();
    let mut room = tx.burst(BURST);
    let mut burst = rx.burst(BURST);
    // What there is no room to answer stays in the ring.
    burst.truncate(room.room());
    for frame in burst.iter() {
        let Some(datagram) = Datagram::parse(frame.packet(), &checksums) else { continue };
        let Some(slot) = room.next() else { break };
        let longest = slot.bytes.len().min(mtu);
        if let Some(len) = slot.bytes.get_mut(..longest).and_then(|bytes| datagram.back().write(bytes)) {
            // It fits: it was written there.
            let _ = slot.commit(len, Form::L3);
        }
    }
    if burst.len() == BURST { More::Yes } else { More::No }
}

/// Asks to be rung, and says whether there is something to do already: with a full Tx ring a packet is not.
fn has_work(channel: &mut Channel) -> bool {
    if channel.ready().tx == 0 {
        channel.arm(Interest::Tx).tx != 0
    } else {
        channel.arm(Interest::Rx).rx != 0
    }
}
