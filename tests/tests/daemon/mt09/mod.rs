//! What reaches applications by another way than a wire and a port: from each other, in fragments, and in ICMP errors.
//!
//! Every test states all that the books have of its packets: the engines', the sessions' and the tuples'.
mod errors;
mod filtered;
mod fragments;
mod hairpin;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use abi::{
    rxmeta::{CLASS_NONE, flag},
    shm::desc::{RxDesc, rx_flag},
};
use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{self, Flow, Hostile, Reading, Served, Stamp, Tap};

pub(super) const FIRST: u16 = 5001;
pub(super) const SECOND: u16 = 5002;
pub(super) const PORTS: [u16; 2] = [FIRST, SECOND];
/// A port that nobody has.
pub(super) const NOBODYS: u16 = 4242;

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum V {
    Four,
    Six,
}

pub(super) const VERSIONS: [V; 2] = [V::Four, V::Six];

impl V {
    /// The flag of its packets, and the length of their headers.
    pub(super) fn flag(self) -> u8 {
        if self == Self::Six { flag::IPV6 } else { 0 }
    }

    pub(super) fn header(self) -> usize {
        if self == Self::Six { 40 } else { 20 }
    }

    /// The address of the served end.
    pub(super) fn of(self, served: &Served) -> IpAddr {
        let end = &served.pair.served;
        if self == Self::Six { end.v6.into() } else { end.v4.into() }
    }

    /// Where the other end's tap is.
    pub(super) fn away(self, served: &Served) -> IpAddr {
        let end = &served.pair.peer;
        if self == Self::Six { end.tap_v6.into() } else { end.tap_v4.into() }
    }
}

/// From one port of the served address to another.
pub(super) fn within(served: &Served, v: V, from: u16, to: u16) -> Flow {
    let mac = served.pair.served.mac;
    Flow { from_mac: mac, to_mac: mac, from: (v.of(served), from).into(), to: (v.of(served), to).into() }
}

/// From a port of the served address to the wire.
pub(super) fn out(served: &Served, v: V, from: u16) -> Flow {
    let to = (v.away(served), 20_000).into();
    Flow {
        from_mac: served.pair.served.mac,
        to_mac: served.pair.peer.mac,
        from: (v.of(served), from).into(),
        to,
    }
}

/// Frames of a flow, each of its own.
pub(super) fn frames(flow: &Flow, count: u64) -> Result<Vec<Vec<u8>>> {
    let frame = |sequence| flow.udp(&[], &Stamp { flow: flow.to.port().into(), sequence }.payload(100));
    (0..count).map(frame).collect()
}

/// What an application is told of a frame: its transport header is behind so many bytes of others, of a later fragment
/// nowhere.
pub(super) fn told(frame: &[u8], tuple: u16, flags: u16, l4: usize) -> RxDesc {
    let (len, l4_off) = (frame.len() as u32, l4 as u16);
    RxDesc { len, tuple, flags, l3_off: 14, l4_off, class: CLASS_NONE, ..RxDesc::default() }
}

/// What an application is told of a packet that another one sent.
pub(super) fn told_of_hairpin(frame: &[u8], v: V, tuple: u16) -> RxDesc {
    told(frame, tuple, rx_flag::HAIRPIN | u16::from(v.flag()), 14 + v.header())
}

/// Sends the packets of frames.
pub(super) fn send(application: &mut Hostile, frames: &[Vec<u8>]) -> Result<()> {
    application.send(frames.iter().map(|frame| &frame[14..]))
}

/// Waits until exactly these counters have moved since `before`, and everything is at rest.
pub(super) fn moved(served: &mut Served, before: &Reading, wanted: &[(&str, u64)]) -> Result<Reading> {
    let whole: BTreeMap<&str, u64> = wanted.iter().copied().collect();
    let reached = lab::until("the books have it", || {
        let now = Reading::of(&mut served.daemon)?;
        // An engine writes its own counters and those of sessions one after the other.
        let entered = now.sum("stack.tx_read") == now.sum("submitted")
            && now.sum("stack.rx_delivered") == now.sum("delivered");
        Ok(entered && now.moves(before) == whole)
    });
    let after = served.drain()?;
    after.moved(before, wanted)?;
    reached.map(|()| after)
}

/// This is all that the books have of a session's packets.
pub(super) fn account(reading: &Reading, session: &Hostile, all: &[(&str, u64)]) -> Result<()> {
    let of = reading.of_session(session.opened.slot);
    ensure!(of == all.iter().copied().collect(), "the session's: {of:?} is not {all:?}");
    Ok(())
}

/// This is all that the books have of the packets of the tuples on a port.
pub(super) fn account_of_port(reading: &Reading, port: u16, all: &[(&str, u64)]) -> Result<()> {
    let of = reading.of_tuple(port);
    ensure!(of == all.iter().copied().collect(), "of port {port}: {of:?} is not {all:?}");
    Ok(())
}

/// The next frame on the wire: what the books have as transmitted is there a moment later.
pub(super) fn next_at(tap: &Tap) -> Result<Vec<u8>> {
    tap.receive(Instant::now() + Duration::from_secs(10))?.context("nothing is on the wire")
}

/// The books say already that nothing was sent: what could have arrived has.
pub(super) fn nothing_at(tap: &Tap) -> Result<()> {
    let frame = tap.receive(Instant::now())?;
    ensure!(frame.is_none(), "{frame:02x?} is on the wire");
    Ok(())
}

/// Two applications, each with a UDP port at every address, and the numbers of their tuples.
pub(super) struct Two {
    pub(super) one: Hostile,
    pub(super) other: Hostile,
    pub(super) numbers: [u16; 2],
}

impl Two {
    pub(super) fn new(served: &Served) -> Result<Self> {
        let (mut one, mut other) =
            (Hostile::open(served.daemon.home())?, Hostile::open(served.daemon.home())?);
        let numbers = [one.udp(FIRST)?, other.udp(SECOND)?];
        Ok(Self { one, other, numbers })
    }
}
