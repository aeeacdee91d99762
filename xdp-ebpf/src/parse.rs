//! From a frame to the tuple it is steered by, or to the reason why the OS stack gets it.
//!
//! It refuses whatever the OS would refuse, and whatever it cannot read in bounded work; both are PASS, each under
//! a name of its own. The numbered rules are those of `multistack::steer`, tried in the order of their numbers.
mod eth;
mod ipv4;
mod ipv6;
mod plain;
mod quote;

use abi::{counter::XdpCounter, fragment::FragKey, port::PortConfig, rxmeta::flag, steer::SteerKey};

use crate::frame::Frame;

pub use plain::parse as plain;

/// Bytes that must follow the IP headers: the smallest transport header, UDP's.
const MIN_TRANSPORT: usize = 8;

/// What a worker needs of a frame's headers.
pub struct Parsed {
    /// Bits of [`flag`].
    pub flags: u8,
    /// Offset of the network header.
    pub l3_off: u8,
    /// Offset of the transport or ICMP header; 0 in a later fragment.
    pub l4_off: u16,
}

/// A [`SteerKey`] as five words: five stores, and what the map's hash reads is what was stored.
pub struct Key([u32; 5]);

impl Key {
    /// Of an address as it lies in memory, a port as it lies in memory, and a protocol.
    #[inline(always)]
    fn new(address: [u32; 4], port: u16, proto: u8) -> Self {
        let [a, b, c, d] = address;
        Self([a, b, c, d, u32::from(port) | u32::from(proto) << 16])
    }

    /// The same tuple with the unspecified address: what a transit service registers.
    #[inline(always)]
    pub fn any(&self) -> Self {
        Self([0, 0, 0, 0, self.0[4]])
    }

    /// What the map is asked for.
    #[inline(always)]
    pub fn exact(&self) -> &SteerKey {
        zerocopy::transmute_ref!(&self.0)
    }
}

/// A [`FragKey`] as five words, for the reasons that [`Key`] has.
pub struct Identity(pub [u64; 5]);

impl Identity {
    /// What the map is asked for.
    #[inline(always)]
    pub fn key(&self) -> &FragKey {
        zerocopy::transmute_ref!(&self.0)
    }
}

/// Eight bytes of which the first four lie in memory as `first` does.
#[inline(always)]
fn word(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

/// What the link and network layers say, once rules 1 to 12 are done with them.
pub struct Network {
    /// The source, as it lies in memory.
    src: [u32; 4],
    /// The destination, as it lies in memory.
    dst: [u32; 4],
    /// Which part of a datagram this is.
    pub part: Part,
    /// [`flag::IPV6`], [`flag::OPTIONS`] and [`flag::TAGGED`].
    flags: u8,
    l3_off: usize,
    /// Where the transport header begins, if the chain of extension headers leads to one.
    l4_off: usize,
    /// What the transport is, or why there is no way to it. Of a later fragment it means nothing.
    proto: Result<u8, XdpCounter>,
    /// Where the IP packet ends; the frame is at least as long.
    end: usize,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy)]
pub enum Part {
    Whole,
    First(Datagram),
    Later(Datagram),
}

/// What all fragments of a datagram have in common beside their addresses, as a [`FragKey`] has it.
#[derive(Clone, Copy)]
pub struct Datagram {
    id: u32,
    proto: u8,
}

/// Rules 1 to 12.
#[inline(always)]
pub fn network(frame: Frame, port: &PortConfig) -> Result<Network, XdpCounter> {
    let link = eth::parse(frame, port)?;
    let mut network = match link.network {
        eth::Network::V4 => ipv4::parse(frame, link.l3_off)?,
        eth::Network::V6 => ipv6::parse(frame, link.l3_off)?,
    };
    if port.tags != 0 {
        network.flags |= flag::TAGGED;
    }
    Ok(network)
}

impl Network {
    /// Rules 13 to 15: the packet's own tuple.
    #[inline(always)]
    pub fn key(&self, frame: Frame) -> Result<Key, XdpCounter> {
        let proto = self.proto?;
        if self.l4_off + MIN_TRANSPORT > self.end {
            return Err(XdpCounter::PassBadHeader);
        }
        if is_icmp(proto) {
            return Err(XdpCounter::PassIcmp);
        }
        if !has_ports(proto) {
            return Err(XdpCounter::PassProtocol);
        }
        // It is there, for the packet ends in the frame; only the verifier does not know.
        let transport = frame.words::<2>(self.l4_off).ok_or(XdpCounter::PassBadHeader)?;
        Ok(Key::new(self.dst, transport.raw::<1>(), proto))
    }

    /// Rule 22: the tuple whose packet this packet, an ICMP error, quotes.
    #[inline(always)]
    pub fn quoted(&self, frame: Frame) -> Option<Key> {
        let is_v6 = self.flags & flag::IPV6 != 0;
        match (self.proto, is_v6) {
            (Ok(1), false) => quote::v4(frame, self),
            (Ok(58), true) => quote::v6(frame, self),
            _ => None,
        }
    }

    /// The identity that this fragment shares with all others of its datagram.
    #[inline(always)]
    pub fn identity(&self, datagram: Datagram) -> Identity {
        let ([a, b, c, d], [e, f, g, h]) = (self.src, self.dst);
        let last = word(datagram.id, u32::from(datagram.proto));
        Identity([word(a, b), word(c, d), word(e, f), word(g, h), last])
    }

    /// What a worker needs to know, with these flags beside those of the layers.
    #[inline(always)]
    pub fn parsed(&self, flags: u8) -> Parsed {
        let l4_off = if flags & flag::FRAG_LATER == 0 { self.l4_off as u16 } else { 0 };
        Parsed { flags: self.flags | flags, l3_off: self.l3_off as u8, l4_off }
    }

    /// Whether rule 17 may look once more.
    #[inline(always)]
    pub fn has_options(&self) -> bool {
        self.flags & flag::OPTIONS != 0
    }
}

#[inline(always)]
fn is_icmp(proto: u8) -> bool {
    proto == 1 || proto == 58
}

/// TCP, UDP, DCCP, SCTP, UDP-Lite.
#[inline(always)]
fn has_ports(proto: u8) -> bool {
    matches!(proto, 6 | 17 | 33 | 132 | 136)
}
