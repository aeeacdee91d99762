//! What an application wrote, as far as egress looks at it: the tags of a frame, the flow of an IP packet.
//!
//! Both are read once; nothing here knows who may send what.
use std::net::IpAddr;

use abi::port::MAX_TAGS;
use abi::shm::counter::ChannelCounter;
use abi::steer::SteerKey;
use wire::ethernet::{self, EtherType, Frame, Mac};
use wire::ip::Protocol;
use wire::{ipv4, ipv6, udp, vlan};

use super::key;

/// The Ethernet header of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tags {
    pub(super) src: Mac,
    pub(super) ethertype: EtherType,
    vids: [u16; MAX_TAGS],
    count: usize,
}

impl Tags {
    /// Reads a frame's tags; `None` if there are too many, or one is cut short.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let header = Frame::new_checked(frame).ok()?;
        let mut tags =
            Self { src: header.src(), ethertype: header.ethertype(), vids: [0; MAX_TAGS], count: 0 };
        while tags.ethertype.is_tag() {
            let tag = vlan::Packet::new_checked(frame.get(tags.header_len()..)?).ok()?;
            *tags.vids.get_mut(tags.count)? = tag.tci().vid().get();
            tags.count += 1;
            tags.ethertype = tag.ethertype();
        }
        Some(tags)
    }

    pub(super) fn vids(&self) -> &[u16] {
        self.vids.get(..self.count).unwrap_or_default()
    }

    pub(super) const fn header_len(&self) -> usize {
        ethernet::HEADER_LEN + self.count * vlan::TAG_LEN
    }
}

/// An IP packet that rules 4 to 6 let pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    ports: [u16; 2],
    protocol: Protocol,
    /// Offset of the transport header.
    pub(super) l4: usize,
    /// Length, what follows cut off.
    pub(super) len: usize,
}

impl Packet {
    /// Rules 4 to 6.
    #[inline]
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ChannelCounter> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Self::parse_v6(bytes),
            _ => Err(ChannelCounter::TxMalformed),
        }
    }

    #[inline]
    fn parse_v4(bytes: &[u8]) -> Result<Self, ChannelCounter> {
        let ip = ipv4::Packet::new_checked(bytes).map_err(|_| ChannelCounter::TxMalformed)?;
        let (l4, len) = (ip.header_len(), usize::from(ip.total_len()));
        if len < l4 + udp::HEADER_LEN || ip.ttl() == 0 {
            return Err(ChannelCounter::TxMalformed);
        }
        if ip.is_fragment() {
            return Err(ChannelCounter::TxFragment);
        }
        Self::with_ports(ip.payload(), ip.protocol(), (ip.src().into(), ip.dst().into()), (l4, len))
    }

    #[inline]
    fn parse_v6(bytes: &[u8]) -> Result<Self, ChannelCounter> {
        let ip = ipv6::Packet::new_checked(bytes).map_err(|_| ChannelCounter::TxMalformed)?;
        if usize::from(ip.payload_len()) < udp::HEADER_LEN || ip.hop_limit() == 0 {
            return Err(ChannelCounter::TxMalformed);
        }
        match ip.next_header() {
            Protocol::FRAGMENT => return Err(ChannelCounter::TxFragment),
            next if next.is_extension_header() => return Err(ChannelCounter::TxExtHeader),
            _ => {}
        }
        let (l4, len) = (ipv6::HEADER_LEN, ip.total_len());
        Self::with_ports(ip.payload(), ip.next_header(), (ip.src().into(), ip.dst().into()), (l4, len))
    }

    /// All protocols with ports have them where UDP has.
    #[inline]
    fn with_ports(
        segment: &[u8],
        protocol: Protocol,
        (src, dst): (IpAddr, IpAddr),
        (l4, len): (usize, usize),
    ) -> Result<Self, ChannelCounter> {
        if !protocol.has_ports() {
            return Err(ChannelCounter::TxProtocol);
        }
        // Rule 4 left at least a UDP header's length.
        let ports = udp::Packet::new_unchecked(segment);
        Ok(Self { src, dst, ports: [ports.src_port(), ports.dst_port()], protocol, l4, len })
    }

    #[inline]
    pub(super) const fn is_ipv6(&self) -> bool {
        self.src.is_ipv6()
    }

    #[inline]
    pub(super) const fn has_options(&self) -> bool {
        !self.is_ipv6() && self.l4 != ipv4::HEADER_LEN
    }

    #[inline]
    pub(super) const fn source_key(&self) -> SteerKey {
        key(self.src, self.ports[0], self.protocol.0)
    }

    #[inline]
    pub(super) const fn destination_key(&self) -> SteerKey {
        key(self.dst, self.ports[1], self.protocol.0)
    }

    /// Whether the source is the second spelling of an IPv4 address.
    #[inline]
    pub(super) const fn source_is_mapped(&self) -> bool {
        matches!(self.src, IpAddr::V6(src) if src.to_ipv4_mapped().is_some())
    }

    /// Rule 8, but for the broadcast addresses of subnets.
    #[inline]
    pub(super) const fn no_destination(&self) -> bool {
        match self.dst {
            IpAddr::V4(dst) => {
                matches!(dst.octets(), [0 | 127 | 224..=239, ..] | [255, 255, 255, 255])
            }
            IpAddr::V6(dst) => {
                dst.is_unspecified()
                    || dst.is_loopback()
                    || dst.is_multicast()
                    || dst.to_ipv4_mapped().is_some()
            }
        }
    }
}
