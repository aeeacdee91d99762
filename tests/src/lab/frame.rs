//! Frames written out byte by byte, each carrying a flow, a sequence number and a check of its own contents.
//!
//! Written with etherparse, not with Octroi's own `wire`: what builds a test's input must not share a mistake with
//! what reads it. Checksums are complete.
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, bail, ensure};
use etherparse::{PacketBuilder, SingleVlanHeader, VlanId};

use super::veth::{End, Mac};

/// First bytes of every payload.
pub const MAGIC: u32 = 0x4F63_7472;

/// Bytes of a payload that say what it is: magic, flow, sequence number, check.
pub const STAMP: usize = 20;

/// Ethernet, IPv4 and UDP headers.
pub const V4_HEADERS: usize = 14 + 20 + 8;

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    /// The flow it belongs to.
    pub flow: u32,
    /// Its number in the flow.
    pub sequence: u64,
}

impl Stamp {
    /// A payload of `len` bytes, at least [`STAMP`]: the stamp, then bytes that follow from it.
    #[must_use]
    pub fn payload(self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.max(STAMP));
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&self.flow.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        let seed = self.check(len.max(STAMP));
        bytes.extend_from_slice(&seed.to_be_bytes());
        bytes.extend((STAMP..len).map(|i| filler(seed, i)));
        bytes
    }

    /// Reads a payload back: the stamp, if every byte is as [`Stamp::payload`] wrote it.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (magic, rest) = payload.split_first_chunk()?;
        let (flow, rest) = rest.split_first_chunk()?;
        let (sequence, _) = rest.split_first_chunk()?;
        let stamp = Self { flow: u32::from_be_bytes(*flow), sequence: u64::from_be_bytes(*sequence) };
        let intact = u32::from_be_bytes(*magic) == MAGIC && payload == stamp.payload(payload.len());
        intact.then_some(stamp)
    }

    /// A number that depends on all there is to know (Fibonacci hashing, no secret).
    fn check(self, len: usize) -> u32 {
        let mixed =
            (self.sequence ^ (u64::from(self.flow) << 32) ^ len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as u32
    }
}

fn filler(seed: u32, at: usize) -> u8 {
    seed.rotate_left(at as u32 % 32).wrapping_add(at as u32) as u8
}

/// The addresses of one UDP flow, from the link up.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Sender's MAC address.
    pub from_mac: Mac,
    /// Receiver's MAC address.
    pub to_mac: Mac,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
}

impl Flow {
    /// IPv4 from a port of one end's tap to a port of the other end.
    #[must_use]
    pub fn v4(from: &End, from_port: u16, to: &End, to_port: u16) -> Self {
        let (from_ip, to_ip) = (from.tap_v4, to.v4);
        Self {
            from_mac: from.mac,
            to_mac: to.mac,
            from: (from_ip, from_port).into(),
            to: (to_ip, to_port).into(),
        }
    }

    /// IPv6 from a port of one end's tap to a port of the other end.
    #[must_use]
    pub fn v6(from: &End, from_port: u16, to: &End, to_port: u16) -> Self {
        let (from_ip, to_ip) = (from.tap_v6, to.v6);
        Self {
            from_mac: from.mac,
            to_mac: to.mac,
            from: (from_ip, from_port).into(),
            to: (to_ip, to_port).into(),
        }
    }

    /// The way back.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { from_mac: self.to_mac, to_mac: self.from_mac, from: self.to, to: self.from }
    }

    /// A UDP frame of this flow behind the VLAN tags `vlan`, outermost first (at most two).
    ///
    /// # Errors
    /// The addresses are of two families, a tag is no VLAN id, or the payload is too long.
    pub fn udp(&self, vlan: &[u16], payload: &[u8]) -> Result<Vec<u8>> {
        let link = PacketBuilder::ethernet2(self.from_mac.0, self.to_mac.0);
        let builder = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => link.ipv6(from.octets(), to.octets(), 64),
            _ => bail!("a flow has one address family"),
        };
        let builder = builder.udp(self.from.port(), self.to.port());
        let mut frame = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut frame, payload)?;
        tag(&mut frame, vlan)?;
        Ok(frame)
    }
}

/// Inserts tags after the addresses: 802.1Q innermost, 802.1ad before it.
fn tag(frame: &mut Vec<u8>, vlan: &[u16]) -> Result<()> {
    ensure!(vlan.len() <= abi::port::MAX_TAGS, "at most {} tags", abi::port::MAX_TAGS);
    for (depth, &id) in vlan.iter().rev().enumerate() {
        let ether_type = u16::from_be_bytes([frame[12], frame[13]]).into();
        let header = SingleVlanHeader { vlan_id: VlanId::try_new(id)?, ether_type, ..Default::default() };
        let protocol: u16 = if depth == 0 { 0x8100 } else { 0x88A8 };
        frame.splice(12..14, protocol.to_be_bytes().into_iter().chain(header.to_bytes()));
    }
    Ok(())
}

/// Exchanges both ends of an IP packet whose ports are at `l4`, which leaves every checksum as it is.
///
/// `None` if it is shorter than that; half of it may be exchanged then.
pub fn turn_around(packet: &mut [u8], l4: usize) -> Option<()> {
    let (at, len) = if packet.first()? >> 4 == 4 { (12, 4) } else { (8, 16) };
    for (at, len) in [(at, len), (l4, 2)] {
        let (first, second) = packet.get_mut(at..at + 2 * len)?.split_at_mut(len);
        first.swap_with_slice(second);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_and_any_changed_byte_is_seen() {
        let stamp = Stamp { flow: 7, sequence: 1 << 40 };
        for len in [STAMP, STAMP + 1, 100, 1472] {
            let mut payload = stamp.payload(len);
            assert_eq!((payload.len(), Stamp::read(&payload)), (len, Some(stamp)));
            for i in 0..len {
                payload[i] ^= 1;
                assert_eq!(Stamp::read(&payload), None, "byte {i} of {len}");
                payload[i] ^= 1;
            }
        }
        assert_eq!(Stamp::read(&stamp.payload(40)[..39]), None, "a cut payload");
    }

    #[test]
    fn a_frame_has_its_tags_in_order() {
        let flow = Flow {
            from_mac: Mac([2, 0, 0, 0, 0, 1]),
            to_mac: Mac([2, 0, 0, 0, 0, 2]),
            from: "10.0.0.1:1".parse().unwrap(),
            to: "10.0.0.2:2".parse().unwrap(),
        };
        let plain = flow.udp(&[], b"x").unwrap();
        let tagged = flow.udp(&[100, 7], b"x").unwrap();
        assert_eq!(tagged[12..22], [0x88, 0xA8, 0, 100, 0x81, 0, 0, 7, 8, 0]);
        assert_eq!((&tagged[..12], &tagged[22..]), (&plain[..12], &plain[14..]));
        assert!(flow.udp(&[4096], b"x").is_err());
    }
}
