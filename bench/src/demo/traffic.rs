//! What the demo's generator sends: numbered, checked frames from the peer end to a UDP port of the served end.
use std::time::Duration;

use anyhow::Result;
use octroi_tests::lab::Pair;

use crate::{
    engine::{
        clock::{Monotonic, pin},
        drive::{self, Idle, Job, Sent},
        interface::{Interface, XskEngine},
        live::LiveSender,
    },
    traffic::{
        book::{Book, Outcome},
        pace::Rate,
        plan::Plan,
        profile::{Mac, Order, Profile, Transport},
        reader::Reader,
        size::FrameSize,
        span::{AddrSpan, PortSpan},
    },
};

/// Where the generator runs; the daemon's engine has core 0.
const CORE: usize = 1;
/// Distinct (source, destination) pairs.
const FLOWS: u32 = 64;

/// Sends `frames` frames of `size` to the echo on `port`, at most a window of them under way, and takes the replies.
///
/// # Errors
/// A socket cannot be had.
pub(super) fn echo(pair: &Pair, port: u16, size: FrameSize, frames: u64) -> Result<(Sent, Outcome)> {
    let profile = profile(pair, port, size)?;
    pair.peer.netns.enter(|| {
        pin(CORE)?;
        let plan = Plan::new(&profile)?;
        let mut book = Book::new(Reader::new(plan.config().shape, FLOWS), FLOWS)?;
        let mut engine = XskEngine::both_ways(&Interface::open(&pair.peer.ifname)?, plan)?;
        let job = Job { frames: Some(frames), idle: Idle::Sleep, ..job(Duration::from_secs(10)) };
        let (sent, _) = drive::echo(&mut engine, &mut book, &job, &Monotonic, &mut |_| {})?;
        Ok((sent, book.outcome(Some(sent.sent))))
    })?
}

/// Sends frames of `size` to the sink on `port` as fast as the kernel makes them.
///
/// # Errors
/// The kernel refuses live frames.
pub(super) fn flood(pair: &Pair, port: u16, size: FrameSize, duration: Duration) -> Result<Sent> {
    let profile = profile(pair, port, size)?;
    pair.peer.netns.enter(|| {
        pin(CORE)?;
        let plan = Plan::new(&profile)?;
        let mut sender = LiveSender::open(&Interface::open(&pair.peer.ifname)?, &plan)?;
        sender.send(&job(duration), &Monotonic, &mut |_| {})
    })?
}

fn job(duration: Duration) -> Job {
    Job::lasting(duration.as_nanos() as u64, Rate::UNLIMITED)
}

fn profile(pair: &Pair, port: u16, size: FrameSize) -> Result<Profile> {
    Ok(Profile {
        src_mac: Mac(pair.peer.mac.0),
        dst_mac: Mac(pair.served.mac.0),
        tags: Vec::new(),
        transport: Transport::Udp,
        src: AddrSpan::one(pair.peer.v4.into()),
        dst: AddrSpan::one(pair.served.v4.into()),
        sport: "20000-20063".parse()?,
        dport: PortSpan::one(port),
        flows: FLOWS,
        order: Order::RoundRobin,
        mix: crate::traffic::size::Mix::Fixed(size),
        seed: 1,
    })
}
