//! The three checksums of a rewritten packet: of an IPv4 header, and of TCP and UDP, in full or as a change.
//!
//! Sums themselves are [`wire::checksum`]'s; here is what they cover. Nothing here knows plans or labels, writes a byte
//! or trusts one: what a header claims and the packet does not have makes a sum impossible, never a panic.

use std::ops::Range;

use wire::{
    checksum::Sum,
    ip::{Addresses, Protocol},
    ipv4, ipv6, ipv6_walk,
};

/// A protocol whose checksum covers the addresses below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::TCP,
            Self::Udp => Protocol::UDP,
        }
    }

    /// UDP keeps 0 for "there is none"; a sum that comes out so is sent as its other form.
    const fn sent_as(self, checksum: u16) -> u16 {
        match (self, checksum) {
            (Self::Udp, 0) => 0xffff,
            _ => checksum,
        }
    }
}

/// Of bytes that hold 0 where the checksum goes.
pub(super) fn plain(bytes: &[u8]) -> u16 {
    Sum::of(bytes).complement()
}

/// Of a segment that begins with the header at `header`, up to where the IP header at `ip` says that its datagram ends;
/// where the checksum goes there is 0.
///
/// `None`: no such sum can be made, as the packet is a fragment, is still on its way to other nodes, or does not have
/// what its headers claim.
pub(super) fn full(
    transport: Transport,
    packet: &[u8],
    ip: &Range<usize>,
    header: &Range<usize>,
) -> Option<u16> {
    let below = packet.get(ip.start..)?;
    let (addresses, datagram) = match below.first()? >> 4 {
        4 if ipv4::HEADER_LEN <= ip.len() => of_ipv4(below)?,
        6 if ipv6::HEADER_LEN <= ip.len() => of_ipv6(below)?,
        _ => return None,
    };
    let end = ip.start + datagram;
    let segment = packet.get(header.start..end)?;
    let whole = header.len() <= segment.len();
    let len = u32::try_from(segment.len()).ok().filter(|_| whole)?;
    let sum = addresses.pseudo_header(transport.protocol(), len).plus(Sum::of(segment));
    Some(transport.sent_as(sum.complement()))
}

fn of_ipv4(below: &[u8]) -> Option<(Addresses, usize)> {
    let header = ipv4::Packet::new_checked(below).ok().filter(|header| !header.is_fragment())?;
    Some((Addresses::V4(header.src(), header.dst()), usize::from(header.total_len())))
}

fn of_ipv6(below: &[u8]) -> Option<(Addresses, usize)> {
    let header = ipv6::Packet::new_checked(below).ok()?;
    let way = ipv6_walk::walk(header.next_header(), header.payload());
    let arrives = way.fragment.is_none() && way.end.is_ok();
    arrives.then(|| (Addresses::V6(header.src(), header.dst()), header.total_len()))
}

/// What a checksum says of all that it covers but a header and the addresses below it.
///
/// If those change and nothing else does, the new checksum is that of this and what they have become: RFC 1624,
/// equation 3, `HC' = ~(~HC + ~m + m')`, where `m` is header and addresses and `rest` is `~HC + ~m`. No byte behind the
/// header is read, and a checksum that was wrong stays wrong by as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    rest: u16,
    /// 0 if UDP had none.
    checksum: u16,
}

impl Before {
    /// Bytes that it fits in.
    pub(super) const LEN: usize = 4;

    /// Of a header, whose checksum is at `field`, an even offset, and of the IP header below it.
    pub(super) fn of(ip: &[u8], header: &[u8], field: usize) -> Option<Self> {
        let checksum = u16::from_be_bytes(*header.get(field..)?.first_chunk()?);
        // The header has its checksum in it: `m + HC`, whose complement is `~HC + ~m`.
        let rest = addresses(ip).plus(Sum::of(header)).complement();
        Some(Self { rest, checksum })
    }

    /// The checksum of what header and IP header are now; where it goes there is 0.
    pub(super) fn now(self, transport: Transport, ip: &[u8], header: &[u8]) -> u16 {
        if transport == Transport::Udp && self.checksum == 0 {
            return 0;
        }
        let sum = addresses(ip).plus(Sum::of(header)).plus_u16(self.rest);
        transport.sent_as(sum.complement())
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let ([a, b], [c, d]) = (self.rest.to_be_bytes(), self.checksum.to_be_bytes());
        [a, b, c, d]
    }

    pub(super) fn from_bytes([a, b, c, d]: [u8; Self::LEN]) -> Self {
        Self { rest: u16::from_be_bytes([a, b]), checksum: u16::from_be_bytes([c, d]) }
    }
}

/// Source and destination of an IP header of either version; nothing, if it is none.
fn addresses(ip: &[u8]) -> Sum {
    let addresses = match ip.first().map(|byte| byte >> 4) {
        Some(4) => ip.get(12..ipv4::HEADER_LEN),
        Some(6) => ip.get(8..ipv6::HEADER_LEN),
        _ => None,
    };
    addresses.map_or(Sum::ZERO, Sum::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 24 bytes of TCP in IPv4, without a sum, and two of padding.
    fn segment() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7];
        packet.extend((0..24).map(|n| if n == 16 || n == 17 { 0 } else { n * 7 }));
        packet.extend([0xff, 0xff]);
        packet
    }

    /// RFC 1071 over the pseudo header as RFC 9293 draws it, two bytes at a time.
    fn drawn(packet: &[u8], protocol: u8) -> u16 {
        let mut bytes = packet[12..20].to_vec();
        bytes.extend([0, protocol, 0, 24]);
        bytes.extend(&packet[20..44]);
        let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let once = (sum & 0xffff) + (sum >> 16);
        !u16::try_from((once & 0xffff) + (once >> 16)).unwrap()
    }

    #[test]
    fn a_full_sum_ends_where_the_datagram_does() {
        let packet = segment();
        assert_eq!(full(Transport::Tcp, &packet, &(0..20), &(20..40)), Some(drawn(&packet, 6)));
        assert_eq!(full(Transport::Udp, &packet, &(0..20), &(20..40)), Some(drawn(&packet, 17)));
    }

    #[test]
    fn what_has_no_sum_is_not_summed() {
        let none = |change: fn(&mut Vec<u8>)| {
            let mut packet = segment();
            change(&mut packet);
            assert_eq!(full(Transport::Tcp, &packet, &(0..20), &(20..40)), None);
        };
        none(|packet| packet[6] = 0x20); // more fragments
        none(|packet| packet[7] = 1); // a later fragment
        none(|packet| packet[3] = 47); // the datagram is longer than the packet
        none(|packet| packet[3] = 39); // and shorter than its headers
        none(|packet| packet[0] = 0x55);
        none(|packet| packet.truncate(30));
        none(Vec::clear);
        let packet = segment();
        assert_eq!(full(Transport::Tcp, &packet, &(0..0), &(20..40)), None, "no IP header in the output");
        assert_eq!(full(Transport::Tcp, &packet, &(90..110), &(20..40)), None);
    }

    #[test]
    fn an_ipv6_datagram_is_summed_behind_whole_extension_headers_only() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 16, 44, 64];
        packet.extend([0x20; 32]);
        packet.extend([17, 0, 0, 0, 1, 2, 3, 4]); // a fragment header of a whole datagram
        packet.extend([0x12, 0x34, 0, 80, 0, 8, 0, 0]);
        let mut pseudo = [0x20; 32].to_vec();
        pseudo.extend([0, 0, 0, 8, 0, 0, 0, 17, 0x12, 0x34, 0, 80, 0, 8, 0, 0]);
        assert_eq!(full(Transport::Udp, &packet, &(0..40), &(48..56)), Some(plain(&pseudo)));
        packet[43] = 1; // more fragments
        assert_eq!(full(Transport::Udp, &packet, &(0..40), &(48..56)), None);
    }

    #[test]
    fn a_udp_sum_of_zero_is_sent_as_its_other_form_and_none_stays_none() {
        let mut packet = segment();
        packet[42..44].fill(0);
        let word = drawn(&packet, 17);
        packet[42..44].copy_from_slice(&word.to_be_bytes());
        let udp = full(Transport::Udp, &packet, &(0..20), &(20..40));
        assert_eq!((drawn(&packet, 17), udp), (0, Some(0xffff)));
        let before = Before::of(&packet[..20], &packet[20..40], 16).unwrap();
        packet[12] ^= 1;
        assert_eq!(before.now(Transport::Udp, &packet[..20], &packet[20..40]), 0);
        assert_ne!(before.now(Transport::Tcp, &packet[..20], &packet[20..40]), 0);
    }

    #[test]
    fn a_changed_header_has_the_sum_that_it_would_have_anew() {
        let mut packet = segment();
        let sum = drawn(&packet, 6);
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        let before = Before::of(&packet[..20], &packet[20..40], 16).unwrap();
        assert_eq!(Before::from_bytes(before.to_bytes()), before);
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet[20..24].fill(0x5a);
        packet[36..38].fill(0);
        assert_eq!(before.now(Transport::Tcp, &packet[..20], &packet[20..40]), drawn(&packet, 6));
        assert_eq!(Before::of(&packet[..20], &packet[20..40], 19), None);
    }
}
