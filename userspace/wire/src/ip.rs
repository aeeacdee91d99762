//! What both versions of IP share: protocol numbers, fragment offsets, the pseudo-header.
//!
//! No header is defined here; [`crate::ipv4`] and [`crate::ipv6`] do that.
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::Sum;

/// An IP protocol number: what follows an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP.
    pub const ICMP: Self = Self(1);
    /// IGMP.
    pub const IGMP: Self = Self(2);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// DCCP.
    pub const DCCP: Self = Self(33);
    /// IPv6 routing header.
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Self = Self(44);
    /// IPsec encapsulating security payload.
    pub const ESP: Self = Self(50);
    /// IPsec authentication header.
    pub const AH: Self = Self(51);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);
    /// IPv6: nothing follows.
    pub const NO_NEXT_HEADER: Self = Self(59);
    /// IPv6 destination options.
    pub const DST_OPTIONS: Self = Self(60);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// IPv6 mobility header.
    pub const MOBILITY: Self = Self(135);
    /// UDP-Lite.
    pub const UDP_LITE: Self = Self(136);
    /// Host identity protocol.
    pub const HIP: Self = Self(139);
    /// Shim6.
    pub const SHIM6: Self = Self(140);
    /// For experiments, RFC 3692.
    pub const EXPERIMENT_1: Self = Self(253);
    /// For experiments, RFC 3692.
    pub const EXPERIMENT_2: Self = Self(254);

    /// Whether its header begins with a source and a destination port of 16 bits each.
    #[must_use]
    #[inline]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::DCCP | Self::SCTP | Self::UDP_LITE)
    }

    /// Whether it is an IPv6 extension header by IANA's list, and not an upper-layer protocol.
    #[must_use]
    pub const fn is_extension_header(self) -> bool {
        matches!(
            self,
            Self::HOP_BY_HOP
                | Self::ROUTING
                | Self::FRAGMENT
                | Self::ESP
                | Self::AH
                | Self::DST_OPTIONS
                | Self::MOBILITY
                | Self::HIP
                | Self::SHIM6
                | Self::EXPERIMENT_1
                | Self::EXPERIMENT_2
        )
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.write_str("ICMP"),
            Self::IGMP => f.write_str("IGMP"),
            Self::TCP => f.write_str("TCP"),
            Self::UDP => f.write_str("UDP"),
            Self::DCCP => f.write_str("DCCP"),
            Self::ICMPV6 => f.write_str("ICMPv6"),
            Self::SCTP => f.write_str("SCTP"),
            Self::UDP_LITE => f.write_str("UDP-Lite"),
            Self(other) => write!(f, "{other}"),
        }
    }
}

/// Where a fragment lies in its datagram.
///
/// # Invariants
/// A multiple of 8 below 65,536, because the header counts it in units of 8 in 13 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentOffset(u16);

impl FragmentOffset {
    /// The beginning.
    pub const ZERO: Self = Self(0);

    /// An offset in bytes, if a header can say it.
    #[must_use]
    pub const fn from_bytes(bytes: u16) -> Option<Self> {
        if bytes.is_multiple_of(8) { Some(Self(bytes)) } else { None }
    }

    /// From the 13 bits of a header; higher bits are ignored.
    pub(crate) const fn from_units(units: u16) -> Self {
        Self(units << 3)
    }

    pub(crate) const fn units(self) -> u16 {
        self.0 >> 3
    }

    /// In bytes.
    #[must_use]
    #[inline]
    pub const fn bytes(self) -> u16 {
        self.0
    }
}

/// The addresses that a transport's checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Source and destination.
    V4(Ipv4Addr, Ipv4Addr),
    /// Source and destination.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Addresses {
    /// The sum over the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
    ///
    /// Both versions' sum up alike: addresses, then the length and the protocol, zeros between them.
    #[must_use]
    pub fn pseudo_header(&self, protocol: Protocol, transport_len: u32) -> Sum {
        let addresses = match self {
            Self::V4(src, dst) => Sum::of(&src.octets()).plus(Sum::of(&dst.octets())),
            Self::V6(src, dst) => Sum::of(&src.octets()).plus(Sum::of(&dst.octets())),
        };
        addresses.plus(Sum::of(&transport_len.to_be_bytes())).plus_u16(u16::from(protocol.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudo_headers_as_the_rfcs_draw_them() {
        let v4 = Addresses::V4(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
        let drawn = [192, 0, 2, 1, 198, 51, 100, 7, 0, 17, 0x12, 0x34];
        assert_eq!(v4.pseudo_header(Protocol::UDP, 0x1234).complement(), Sum::of(&drawn).complement());
        let (src, dst) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::LOCALHOST);
        let mut drawn = [0; 40];
        drawn[..16].copy_from_slice(&src.octets());
        drawn[16..32].copy_from_slice(&dst.octets());
        drawn[32..].copy_from_slice(&[0, 1, 0x12, 0x34, 0, 0, 0, 6]);
        let v6 = Addresses::V6(src, dst).pseudo_header(Protocol::TCP, 0x1_1234);
        assert_eq!(v6.complement(), Sum::of(&drawn).complement());
    }

    #[test]
    fn protocols_with_ports_and_extension_headers_are_told_apart() {
        let with_ports: std::vec::Vec<u8> = (0..=255).filter(|&n| Protocol(n).has_ports()).collect();
        assert_eq!(with_ports, [6, 17, 33, 132, 136]);
        let extensions: std::vec::Vec<u8> =
            (0..=255).filter(|&n| Protocol(n).is_extension_header()).collect();
        assert_eq!(extensions, [0, 43, 44, 50, 51, 60, 135, 139, 140, 253, 254]);
    }

    #[test]
    fn a_fragment_offset_is_a_multiple_of_eight() {
        assert_eq!(FragmentOffset::from_bytes(65_528).map(FragmentOffset::units), Some(0x1fff));
        assert_eq!(FragmentOffset::from_bytes(4), None);
        assert_eq!(FragmentOffset::from_units(0xffff), FragmentOffset(65_528));
    }
}
