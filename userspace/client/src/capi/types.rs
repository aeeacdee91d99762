//! What crosses the border: structs and numbers that a C program fills in or reads.
//!
//! Nothing here is a Rust `enum`: a C program may write any number into any field, and what is not listed is refused.
//! Names are C's, because `octroi.h` is made from this file.
#![allow(non_camel_case_types, reason = "octroi.h has these names")]

use std::ffi::c_char;

use abi::{
    rxmeta::{CLASS_NONE, flag},
    shm::desc::{rx_flag, tx_flag},
};

/// Where the default instance of the daemon listens.
pub const OCTROI_DEFAULT_PATH: &std::ffi::CStr = c"/run/octroi/main/control.sock";

/// Packets begin with their IP header; the daemon writes the Ethernet header.
pub const OCTROI_IP: u32 = 0;
/// Packets bring an Ethernet header of their own, where the daemon's policy allows it.
pub const OCTROI_ETHERNET: u32 = 1;

/// octroi_tuple.family: any local address. Otherwise AF_INET (2) or AF_INET6 (10).
pub const OCTROI_ANY: u8 = 0;

/// octroi_tuple.flags: while no daemon runs, its packets are dropped. With neither of the two the administrator decides.
pub const OCTROI_ON_CRASH_DROP: u32 = 1;
/// octroi_tuple.flags: while no daemon runs, its packets go to the OS.
pub const OCTROI_ON_CRASH_PASS: u32 = 2;
/// octroi_tuple.flags: deliver ICMP errors that quote it. Without it the OS has them.
pub const OCTROI_ICMP: u32 = 4;

/// octroi_wait: packets were received.
pub const OCTROI_RX: u32 = 1;
/// octroi_wait: there is room for packets to be sent.
pub const OCTROI_TX: u32 = 2;
/// octroi_wait: do not sleep, ask to be rung. For those who poll octroi_fd() themselves.
pub const OCTROI_ARM: u32 = 4;

/// octroi_fd: instead of a channel's number. Readable when octroi_event() may have something to say.
pub const OCTROI_CONTROL: u32 = 0xFFFF_FFFF;

/// octroi_frame.flags: the first fragment of a datagram.
pub const OCTROI_FRAME_FRAG_FIRST: u16 = 0x0001;
/// octroi_frame.flags: a later fragment of a datagram, which has no transport header.
pub const OCTROI_FRAME_FRAG_LATER: u16 = 0x0002;
/// octroi_frame.flags: an ICMP error about a packet of this tuple.
pub const OCTROI_FRAME_ICMP_ERROR: u16 = 0x0004;
/// octroi_frame.flags: VLAN tags stand between the Ethernet and the IP header.
pub const OCTROI_FRAME_TAGGED: u16 = 0x0008;
/// octroi_frame.flags: IPv6.
pub const OCTROI_FRAME_IPV6: u16 = 0x0010;
/// octroi_frame.flags: the IP header has options or extension headers behind it.
pub const OCTROI_FRAME_OPTIONS: u16 = 0x0020;
/// octroi_frame.flags: sent by an application on this host and handed over without a wire.
pub const OCTROI_FRAME_HAIRPIN: u16 = 0x0100;
/// octroi_frame.flags: its TCP or UDP checksum may be incomplete, because its sender may be on this host: do not verify it.
pub const OCTROI_FRAME_CSUM_PARTIAL: u16 = 0x8000;
/// octroi_frame.traffic_class: none.
pub const OCTROI_CLASS_NONE: u16 = 0xFFFF;

/// octroi_event.kind: the tuple is gone, for the reason given.
pub const OCTROI_EVENT_REVOKED: u32 = 1;
/// octroi_event.kind: the session is over, for the reason given. Nothing comes after this.
pub const OCTROI_EVENT_OVER: u32 = 2;
/// octroi_event.kind: the tuple's address is on no served interface any more.
pub const OCTROI_EVENT_ADDRESS_GONE: u32 = 3;
/// octroi_event.kind: the tuple's address is there again.
pub const OCTROI_EVENT_ADDRESS_BACK: u32 = 4;
/// octroi_event.kind: the daemon is gone. octroi_event() tries to come back.
pub const OCTROI_EVENT_DISCONNECTED: u32 = 5;
/// octroi_event.kind: it is back; tuples that it no longer has follow as OCTROI_EVENT_REVOKED.
pub const OCTROI_EVENT_RECONNECTED: u32 = 6;

/// octroi_event.reason: there is none to give.
pub const OCTROI_REASON_NONE: u32 = 0;
/// octroi_event.reason: somebody who may released it.
pub const OCTROI_REASON_RELEASED: u32 = 1;
/// octroi_event.reason: this program broke the rules of its rings.
pub const OCTROI_REASON_VIOLATION: u32 = 2;
/// octroi_event.reason: a socket of the OS took the port while no daemon ran.
pub const OCTROI_REASON_PORT_TAKEN: u32 = 3;
/// octroi_event.reason: its interface is no longer served.
pub const OCTROI_REASON_INTERFACE_GONE: u32 = 4;
/// octroi_event.reason: the daemon goes down.
pub const OCTROI_REASON_SHUTDOWN: u32 = 5;
/// octroi_event.reason: a new daemon does not take it back.
pub const OCTROI_REASON_NOT_TAKEN_BACK: u32 = 6;

/// What a session is to have.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct octroi_options {
    /// What people see in lists.
    pub name: *const c_char,
    /// Slots of each Rx ring: a power of two from 64 to 4096, or 0 for the default.
    pub rx_slots: u32,
    /// Slots of each Tx ring: the same.
    pub tx_slots: u32,
    /// OCTROI_IP, or OCTROI_ETHERNET if packets to be sent may be of either form.
    pub frames: u32,
}

/// What is registered: a protocol, a local address and a local port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct octroi_tuple {
    /// The transport protocol's number: IPPROTO_UDP, IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_DCCP or IPPROTO_UDPLITE.
    pub protocol: u8,
    /// AF_INET, AF_INET6 or OCTROI_ANY.
    pub family: u8,
    /// The port, in the host's byte order. Not 0: to let the OS choose, bind a socket, ask getsockname(2), and lend the
    /// socket to octroi_register().
    pub port: u16,
    /// OCTROI_ON_CRASH_DROP or OCTROI_ON_CRASH_PASS, OCTROI_ICMP.
    pub flags: u32,
    /// The address as it is in a packet: 4 bytes of it for AF_INET, 16 for AF_INET6, none for OCTROI_ANY.
    pub address: [u8; 16],
}

/// A received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct octroi_frame {
    /// The frame from its Ethernet header on.
    pub bytes: *const u8,
    /// Bytes of the frame.
    pub len: usize,
    /// The tuple that it is for.
    pub tuple: u16,
    /// OCTROI_FRAME_ bits.
    pub flags: u16,
    /// Where the IP header is, in bytes from the first.
    pub l3: u16,
    /// Where the transport header is; 0 in a later fragment, which has none.
    pub l4: u16,
    /// The class that a rule set gave it, or OCTROI_CLASS_NONE.
    pub traffic_class: u16,
}

/// Room for a packet to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct octroi_slot {
    /// To be written from the first byte on. What an earlier packet left is still there.
    pub bytes: *mut u8,
    /// Bytes that there is room for.
    pub len: usize,
}

/// Something that happened to a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct octroi_event {
    /// OCTROI_EVENT_.
    pub kind: u32,
    /// OCTROI_REASON_, with OCTROI_EVENT_REVOKED and OCTROI_EVENT_OVER.
    pub reason: u32,
    /// The tuple, where the kind speaks of one.
    pub tuple: u16,
}

// The numbers are written out above because octroi.h is made without a compiler. They are those of `abi`.
const _: () = {
    assert!(OCTROI_FRAME_FRAG_FIRST == flag::FRAG_FIRST as u16);
    assert!(OCTROI_FRAME_FRAG_LATER == flag::FRAG_LATER as u16);
    assert!(OCTROI_FRAME_ICMP_ERROR == flag::ICMP_ERROR as u16);
    assert!(OCTROI_FRAME_TAGGED == flag::TAGGED as u16);
    assert!(OCTROI_FRAME_IPV6 == flag::IPV6 as u16);
    assert!(OCTROI_FRAME_OPTIONS == flag::OPTIONS as u16);
    assert!(OCTROI_FRAME_HAIRPIN == rx_flag::HAIRPIN);
    assert!(OCTROI_CLASS_NONE == CLASS_NONE && OCTROI_ETHERNET == tx_flag::L2 as u32);
};
