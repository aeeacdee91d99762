//! UDP in IP, read from a received packet and written into a slot: for those who use channels without a stack.
//!
//! Headers are smoltcp's wire module, which needs none of its sockets. It refuses options, extension headers and
//! fragments: what is read is one whole datagram, or nothing.
use std::net::{IpAddr, SocketAddr};

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{IpProtocol, IpRepr, IpVersion, Ipv4Packet, Ipv6Packet, UDP_HEADER_LEN, UdpPacket, UdpRepr},
};

/// Hops that a datagram may make.
const HOP_LIMIT: u8 = 64;

/// One datagram and its two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'p> {
    /// Who sends it.
    pub from: SocketAddr,
    /// Whom it is for.
    pub to: SocketAddr,
    /// What it says.
    pub payload: &'p [u8],
}

impl<'p> Datagram<'p> {
    /// Reads the datagram that an IP packet carries. `checksums` says whether UDP's is to be verified: behind a veth it
    /// may be unfinished (`Channel::has_partial_checksums`).
    #[must_use]
    pub fn parse(packet: &'p [u8], checksums: &ChecksumCapabilities) -> Option<Self> {
        packet.first()?;
        let (from, to, transport): (IpAddr, IpAddr, &[u8]) = match IpVersion::of_packet(packet).ok()? {
            IpVersion::Ipv4 => {
                let ip = Ipv4Packet::new_checked(packet).ok()?;
                let whole = !ip.more_frags() && ip.frag_offset() == 0 && ip.header_len() == 20;
                let udp = whole && ip.next_header() == IpProtocol::Udp;
                udp.then(|| (ip.src_addr().into(), ip.dst_addr().into(), ip.payload()))?
            }
            IpVersion::Ipv6 => {
                let ip = Ipv6Packet::new_checked(packet).ok()?;
                let udp = ip.next_header() == IpProtocol::Udp;
                udp.then(|| (ip.src_addr().into(), ip.dst_addr().into(), ip.payload()))?
            }
        };
        let udp = UdpPacket::new_checked(transport).ok()?;
        let ports = UdpRepr::parse(&udp, &from.into(), &to.into(), checksums).ok()?;
        let end = usize::from(udp.len());
        let payload = transport.get(UDP_HEADER_LEN..end)?;
        Some(Self { from: (from, ports.src_port).into(), to: (to, ports.dst_port).into(), payload })
    }

    /// The datagram that carries the same back.
    #[must_use]
    pub const fn back(self) -> Self {
        Self { from: self.to, to: self.from, payload: self.payload }
    }

    /// Writes the IP packet that carries this datagram, checksums included, and returns its length. `None` if it does not
    /// fit `room`, or its ends are not of one family.
    #[must_use]
    pub fn write(&self, room: &mut [u8]) -> Option<usize> {
        if self.from.is_ipv4() != self.to.is_ipv4() {
            return None;
        }
        let (from, to) = (self.from.ip().into(), self.to.ip().into());
        let udp = UdpRepr { src_port: self.from.port(), dst_port: self.to.port() };
        let transport_len = UDP_HEADER_LEN + self.payload.len();
        u16::try_from(transport_len).ok()?;
        let ip = IpRepr::new(from, to, IpProtocol::Udp, transport_len, HOP_LIMIT);
        let len = ip.buffer_len();
        let room = room.get_mut(..len)?;
        let checksums = ChecksumCapabilities::default();
        ip.emit(&mut *room, &checksums);
        let transport = room.get_mut(ip.header_len()..)?;
        let mut packet = UdpPacket::new_unchecked(transport);
        let payload = |to: &mut [u8]| to.copy_from_slice(self.payload);
        udp.emit(&mut packet, &from, &to, self.payload.len(), payload, &checksums);
        Some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked() -> ChecksumCapabilities {
        ChecksumCapabilities::default()
    }

    fn sample(v6: &str) -> Datagram<'static> {
        let [from, to] = if v6.is_empty() {
            ["192.0.2.1:7", "198.51.100.2:2000"]
        } else {
            ["[2001:db8::1]:7", "[2001:db8::2]:2000"]
        };
        Datagram { from: from.parse().unwrap(), to: to.parse().unwrap(), payload: b"toll" }
    }

    #[test]
    fn what_is_written_is_read_by_both_families() {
        for datagram in [sample(""), sample("v6")] {
            let mut room = [0xAA; 100];
            let len = datagram.write(&mut room).unwrap();
            assert_eq!(Datagram::parse(&room[..len], &checked()), Some(datagram));
            assert_eq!(Datagram::parse(&room, &checked()), Some(datagram), "padding is no part of it");
            for short in 0..len {
                assert_eq!(Datagram::parse(&room[..short], &checked()), None);
                assert_eq!(datagram.write(&mut [0; 100][..short]), None);
            }
        }
    }

    #[test]
    fn a_reply_exchanges_both_ends() {
        let back = sample("").back();
        assert_eq!((back.from, back.to), (sample("").to, sample("").from));
    }

    #[test]
    fn a_wrong_checksum_is_refused_where_checksums_are_complete() {
        let mut room = [0; 100];
        let len = sample("").write(&mut room).unwrap();
        room[len - 1] ^= 1;
        assert_eq!(Datagram::parse(&room[..len], &checked()), None);
        assert!(Datagram::parse(&room[..len], &ChecksumCapabilities::ignored()).is_some());
    }

    #[test]
    fn fragments_options_and_other_protocols_are_nobodys_datagram() {
        let mut room = [0; 100];
        let len = sample("").write(&mut room).unwrap();
        for (at, value) in [(6, 0x20), (7, 1), (0, 0x46), (9, 6)] {
            let mut changed = room;
            changed[at] = value;
            assert_eq!(Datagram::parse(&changed[..len], &ChecksumCapabilities::ignored()), None, "byte {at}");
        }
        let mixed = Datagram { to: sample("v6").to, ..sample("") };
        assert_eq!(mixed.write(&mut room), None);
    }
}
