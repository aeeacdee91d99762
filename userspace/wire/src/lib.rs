//! Packet headers as views over bytes and as values, one protocol per file; and the checksums that hold them together.
//!
//! This crate does not allocate, knows no operating system, keeps no state and decides nothing about a packet. It
//! builds for `wasm32-unknown-unknown` and `bpfel-unknown-none`.
//!
//! Every protocol has the same two types:
//!
//! ```text
//!            new_checked (lengths)          Repr::parse (values)
//!   bytes ─────────────────────► Packet<T> ────────────────────► Repr
//!                                         ◄────────────────────
//!                                            Repr::emit
//! ```
//!
//! - `Packet<T>` is a *view*. `check_len` judges lengths only; where it says `Ok`, no accessor panics, whatever the
//!   other bytes are. `new_checked` is for what came in; `new_unchecked` for a buffer that is about to be written.
//! - `Repr` is a *value*. It holds only what is legal; reading it from a view refuses what is not.
//! - No checksum is verified by reading: frames of a local peer may carry partial ones. Ask for it by name.
//!
//! | module | what | defined in |
//! |---|---|---|
//! | [`ethernet`], [`vlan`] | frames, and the tags between EtherType and payload | IEEE 802.3, 802.1Q |
//! | [`arp`] | IPv4 over Ethernet | RFC 826 |
//! | [`ip`] | protocol numbers, fragment offsets, pseudo-headers | RFC 8200 section 8.1, IANA |
//! | [`ipv4`] | with options | RFC 791 |
//! | [`ipv6`], [`ipv6_ext`], [`ipv6_frag`] | the fixed header, and those after it | RFC 8200 |
//! | [`ipv6_walk`] | the bounded way to the transport header | RFC 8200 section 4 |
//! | [`udp`], [`tcp`] | | RFC 768, RFC 9293 |
//! | [`icmp`], [`icmpv6`] | echo, errors and what they quote | RFC 792, RFC 4443 |
//! | [`checksum`] | the Internet checksum, whole and incremental | RFC 1071, RFC 1624 |
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

mod field;

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ipv6_ext;
pub mod ipv6_frag;
pub mod ipv6_walk;
pub mod tcp;
pub mod udp;
pub mod vlan;

/// The bytes are not what they are read as: too short for their own lengths, or a value that the protocol forbids.
///
/// On the packet path that is a counted verdict and not an error to explain, so it carries nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("malformed packet")
    }
}

impl core::error::Error for Malformed {}
