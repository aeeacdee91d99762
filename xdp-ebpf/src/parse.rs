//! From a frame to the tuple it is steered by, or to the reason why the OS stack gets it.
//!
//! It refuses whatever the OS would refuse, and whatever it cannot read in bounded work; both are PASS, each under
//! a name of its own. The numbered rules are those of `multistack::steer`, tried in the order of their numbers.
mod eth;
mod ipv4;
mod ipv6;
mod plain;

use abi::{counter::XdpCounter, port::PortConfig, rxmeta::flag, steer::SteerKey};

use crate::frame::Frame;

/// Bytes that must follow the IP headers: the smallest transport header, UDP's.
const MIN_TRANSPORT: usize = 8;

/// What steering and the worker need of a frame's headers.
pub struct Parsed {
    /// The tuple.
    pub key: Key,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Offset of the network header.
    pub l3_off: u8,
    /// Offset of the transport header.
    pub l4_off: u16,
}

/// A [`SteerKey`] as five words: five stores, and what the map's hash reads is what was stored.
pub struct Key([u32; 5]);

impl Key {
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

/// Parses `frame`, which arrived on the interface that `port` describes.
#[inline(always)]
pub fn frame(frame: Frame, port: &PortConfig) -> Result<Parsed, XdpCounter> {
    if let Some(parsed) = plain::parse(frame, port) {
        return Ok(parsed);
    }
    let link = eth::parse(frame, port)?;
    let l3 = link.l3_off;
    let network = match link.network {
        eth::Network::V4 => ipv4::parse(frame, l3)?,
        eth::Network::V6 => ipv6::parse(frame, l3)?,
    };
    let ports = ports(frame, &network)?;
    let tagged = if port.tags == 0 { 0 } else { flag::TAGGED };
    let [a, b, c, d] = network.dst;
    Ok(Parsed {
        key: Key([a, b, c, d, ports]),
        flags: network.flags | tagged,
        l3_off: l3 as u8,
        l4_off: network.l4_off as u16,
    })
}

/// What the network layer says, once rules 5 to 12 are done with it.
struct Network {
    /// The destination, as it lies in memory.
    dst: [u32; 4],
    proto: u8,
    /// [`flag::IPV6`] and [`flag::OPTIONS`].
    flags: u8,
    l4_off: usize,
    /// Where the IP packet ends; the frame is at least as long.
    end: usize,
}

/// Rules 13 to 15, and the last word of the key: destination port, protocol, zero.
#[inline(always)]
fn ports(frame: Frame, network: &Network) -> Result<u32, XdpCounter> {
    if network.l4_off + MIN_TRANSPORT > network.end {
        return Err(XdpCounter::PassBadHeader);
    }
    match network.proto {
        6 | 17 | 33 | 132 | 136 => {}
        1 | 58 => return Err(XdpCounter::PassIcmp),
        _ => return Err(XdpCounter::PassProtocol),
    }
    // It is there, for the packet ends in the frame; only the verifier does not know.
    let transport = frame.words::<2>(network.l4_off).ok_or(XdpCounter::PassBadHeader)?;
    Ok(u32::from(transport.raw::<1>()) | u32::from(network.proto) << 16)
}
