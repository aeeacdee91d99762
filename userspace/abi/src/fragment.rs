//! The fragment map: which datagram an IP fragment belongs to, and whose that datagram is.
//!
//! It holds no packet and puts none together. A datagram's first fragment has the ports, so its owner is known; the
//! others have nothing but the datagram's identity, and follow what the first left here. The map forgets: the entry
//! that was not used for longest when it is full, every one after [`LIFETIME_NS`].
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::steer::{Target, mapped};

/// Entries of the fragment map: the most datagrams that are waited for at one time.
pub const FRAG_ENTRIES: u32 = 16_384;

/// How long a datagram's fragments are waited for: as long as Linux does (`net.ipv4.ipfrag_time`).
pub const LIFETIME_NS: u64 = 30_000_000_000;

/// What all fragments of one datagram have in common (RFC 791, RFC 8200 section 4.5).
///
/// ```text
///  0                 16                32          36      37        40
/// +-----------------+-----------------+-----------+-------+---------+
/// | source          | destination     | id        | proto | zero    |
/// +-----------------+-----------------+-----------+-------+---------+
/// ```
/// IPv4 addresses are written as [`mapped`] says. `proto` is IPv4's protocol, or the next header that the IPv6 fragment
/// header names: RFC 8200 leaves it out of the identity, but with it two datagrams under one number stay apart.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FragKey {
    /// Who sent it, network byte order.
    pub src: [u8; 16],
    /// The local address, network byte order.
    pub dst: [u8; 16],
    /// The datagram's identification, network byte order; IPv4's 16 bits are the last two bytes.
    pub id: [u8; 4],
    /// What the datagram holds.
    pub proto: u8,
    /// Always 0.
    pub zero: [u8; 3],
}

impl FragKey {
    /// The identity of an IPv4 datagram.
    #[must_use]
    pub const fn v4(src: [u8; 4], dst: [u8; 4], id: u16, proto: u8) -> Self {
        Self::v6(mapped(src), mapped(dst), id as u32, proto)
    }

    /// The identity of an IPv6 datagram.
    #[must_use]
    pub const fn v6(src: [u8; 16], dst: [u8; 16], id: u32, proto: u8) -> Self {
        Self { src, dst, id: id.to_be_bytes(), proto, zero: [0; 3] }
    }
}

/// Where the later fragments of one datagram go.
///
/// The key stands in the value once more, before all else: the kernel gives an entry that it evicts to the next key at
/// once, so whoever looked the old one up may read the new one. What is read last must still be the key that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragEntry {
    /// Whose entry it is.
    pub key: FragKey,
    /// Where the first fragment went.
    pub target: Target,
    /// From when on it counts as absent; nanoseconds of `CLOCK_MONOTONIC`.
    pub until_ns: u64,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<FragKey>() == 40 && align_of::<FragKey>() == 1);
    assert!(offset_of!(FragKey, id) == 32 && offset_of!(FragKey, proto) == 36);
    assert!(size_of::<FragEntry>() == 56 && align_of::<FragEntry>() == 8);
    assert!(offset_of!(FragEntry, target) == 40 && offset_of!(FragEntry, until_ns) == 48);
};
