//! What C says and what C is told, in the words of the Rust interface: options, tuples, events.
//!
//! It refuses every number that `octroi.h` does not list.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use abi::shm::desc::Form;
use nix::{errno::Errno, libc};

use super::{
    end::Wait,
    types::{self, octroi_event, octroi_tuple},
};
use crate::{
    control::request::{LocalAddr, OnCrash, Proto},
    shm::channel::{Interest, Ready},
    stack::{Event, Frames, IcmpErrors, Over, Reason, StackOptions, Tuple},
};

/// The options of a session.
pub(super) fn options(name: &str, rx_slots: u32, tx_slots: u32, frames: u32) -> Result<StackOptions, Errno> {
    let default = StackOptions::named(name);
    let frames = match form(frames)? {
        Form::L3 => Frames::Ip,
        Form::L2 => Frames::Ethernet,
    };
    let slots = |given, default| if given == 0 { default } else { given };
    Ok(StackOptions {
        rx_slots: slots(rx_slots, default.rx_slots),
        tx_slots: slots(tx_slots, default.tx_slots),
        frames,
        ..default
    })
}

/// How a packet to be sent begins.
pub(super) fn form(given: u32) -> Result<Form, Errno> {
    match given {
        types::OCTROI_IP => Ok(Form::L3),
        types::OCTROI_ETHERNET => Ok(Form::L2),
        _ => Err(Errno::EINVAL),
    }
}

/// A tuple.
pub(super) fn tuple(given: &octroi_tuple) -> Result<Tuple, Errno> {
    // Port 0 would be chosen by the daemon, and nothing here could say which it is.
    if given.port == 0 {
        return Err(Errno::EINVAL);
    }
    let on_crash = match given.flags & !types::OCTROI_ICMP {
        0 => None,
        types::OCTROI_ON_CRASH_DROP => Some(OnCrash::Drop),
        types::OCTROI_ON_CRASH_PASS => Some(OnCrash::Pass),
        _ => return Err(Errno::EINVAL),
    };
    let [a, b, c, d, ..] = given.address;
    let addr = match i32::from(given.family) {
        libc::AF_UNSPEC => LocalAddr::Any,
        libc::AF_INET => LocalAddr::Ip(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
        libc::AF_INET6 => LocalAddr::Ip(IpAddr::V6(Ipv6Addr::from(given.address))),
        _ => return Err(Errno::EINVAL),
    };
    let icmp = if given.flags & types::OCTROI_ICMP == 0 { IcmpErrors::Leave } else { IcmpErrors::Deliver };
    Ok(Tuple { on_crash, icmp, ..Tuple::new(protocol(given.protocol)?, addr, given.port) })
}

fn protocol(number: u8) -> Result<Proto, Errno> {
    match i32::from(number) {
        libc::IPPROTO_TCP => Ok(Proto::Tcp),
        libc::IPPROTO_UDP => Ok(Proto::Udp),
        libc::IPPROTO_SCTP => Ok(Proto::Sctp),
        libc::IPPROTO_DCCP => Ok(Proto::Dccp),
        libc::IPPROTO_UDPLITE => Ok(Proto::UdpLite),
        _ => Err(Errno::EINVAL),
    }
}

/// What to wait for, and how.
pub(super) fn wait(what: u32, ms: i32) -> Result<(Interest, Wait), Errno> {
    let interest = match what & !types::OCTROI_ARM {
        types::OCTROI_RX => Interest::Rx,
        types::OCTROI_TX => Interest::Tx,
        both if both == types::OCTROI_RX | types::OCTROI_TX => Interest::Both,
        _ => return Err(Errno::EINVAL),
    };
    let how = if what & types::OCTROI_ARM == 0 {
        // Negative: for ever, as poll(2) has it.
        Wait::Sleep(u64::try_from(ms).ok().map(Duration::from_millis))
    } else {
        Wait::Arm
    };
    Ok((interest, how))
}

/// What there is of what was asked for.
pub(super) fn ready(what: u32, ready: Ready) -> u32 {
    let rx = if ready.rx == 0 { 0 } else { types::OCTROI_RX };
    let tx = if ready.tx == 0 { 0 } else { types::OCTROI_TX };
    what & (rx | tx)
}

impl From<&Event> for octroi_event {
    fn from(event: &Event) -> Self {
        let kind = |kind| Self { kind, ..Self::default() };
        match event {
            Event::Revoked { tuple, reason } => {
                Self { tuple: tuple.0, reason: self::reason(*reason), ..kind(types::OCTROI_EVENT_REVOKED) }
            }
            Event::Over(why) => Self { reason: over(why), ..kind(types::OCTROI_EVENT_OVER) },
            Event::AddressGone(tuple) => Self { tuple: tuple.0, ..kind(types::OCTROI_EVENT_ADDRESS_GONE) },
            Event::AddressBack(tuple) => Self { tuple: tuple.0, ..kind(types::OCTROI_EVENT_ADDRESS_BACK) },
            Event::Disconnected => kind(types::OCTROI_EVENT_DISCONNECTED),
            Event::Reconnected(_) => kind(types::OCTROI_EVENT_RECONNECTED),
        }
    }
}

fn over(why: &Over) -> u32 {
    match why {
        Over::Revoked(reason) => self::reason(*reason),
        Over::NotTakenBack(_) | Over::Unusable => types::OCTROI_REASON_NOT_TAKEN_BACK,
    }
}

fn reason(reason: Reason) -> u32 {
    match reason {
        Reason::Released => types::OCTROI_REASON_RELEASED,
        Reason::Violation => types::OCTROI_REASON_VIOLATION,
        Reason::PortTaken => types::OCTROI_REASON_PORT_TAKEN,
        Reason::InterfaceGone => types::OCTROI_REASON_INTERFACE_GONE,
        Reason::Shutdown => types::OCTROI_REASON_SHUTDOWN,
    }
}
