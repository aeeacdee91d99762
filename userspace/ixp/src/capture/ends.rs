//! The tuple of either end of a packet: protocol, address and port, read from its bytes and from nothing else.
//!
//! It judges nothing: a packet whose tuple cannot be told (a later fragment, a protocol without ports, a header that is
//! cut off) has none here, and is shown only to those who want every packet.
use abi::{port::MAX_TAGS, steer::SteerKey};
use wire::{
    ethernet::{self, EtherType},
    ip::{FragmentOffset, Protocol},
    ipv4, ipv6,
    ipv6_walk::walk,
    udp, vlan,
};

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// The tuple of one end of a frame.
#[inline]
pub(super) fn of_frame(frame: &[u8], side: Side) -> Option<SteerKey> {
    let link = ethernet::Frame::new_checked(frame).ok()?;
    let (mut ethertype, mut rest) = (link.ethertype(), frame.get(ethernet::HEADER_LEN..)?);
    for _ in 0..MAX_TAGS {
        if !ethertype.is_tag() {
            break;
        }
        ethertype = vlan::Packet::new_checked(rest).ok()?.ethertype();
        rest = rest.get(vlan::TAG_LEN..)?;
    }
    match ethertype {
        EtherType::IPV4 | EtherType::IPV6 => of_packet(rest, side),
        _ => None,
    }
}

/// The tuple of one end of an IP packet.
#[inline]
pub(super) fn of_packet(packet: &[u8], side: Side) -> Option<SteerKey> {
    match packet.first()? >> 4 {
        4 => of_ipv4(packet, side),
        6 => of_ipv6(packet, side),
        _ => None,
    }
}

fn of_ipv4(packet: &[u8], side: Side) -> Option<SteerKey> {
    let ip = ipv4::Packet::new_checked(packet).ok()?;
    if ip.fragment_offset() != FragmentOffset::ZERO {
        return None;
    }
    let port = port(ip.protocol(), ip.payload(), side)?;
    let addr = match side {
        Side::Source => ip.src(),
        Side::Destination => ip.dst(),
    };
    Some(SteerKey::v4(ip.protocol().0, addr.octets(), port))
}

fn of_ipv6(packet: &[u8], side: Side) -> Option<SteerKey> {
    let ip = ipv6::Packet::new_checked(packet).ok()?;
    // A later fragment has no end of its chain.
    let upper = walk(ip.next_header(), ip.payload()).end.ok()?;
    let port = port(upper.protocol, ip.payload().get(upper.offset..)?, side)?;
    let addr = match side {
        Side::Source => ip.src(),
        Side::Destination => ip.dst(),
    };
    Some(SteerKey::v6(upper.protocol.0, addr.octets(), port))
}

/// All protocols with ports have them where UDP has.
fn port(protocol: Protocol, segment: &[u8], side: Side) -> Option<u16> {
    if !protocol.has_ports() || segment.len() < udp::HEADER_LEN {
        return None;
    }
    let ports = udp::Packet::new_unchecked(segment);
    Some(match side {
        Side::Source => ports.src_port(),
        Side::Destination => ports.dst_port(),
    })
}

#[cfg(test)]
mod tests {
    use multistack::steer::{Subject, parse};
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{Packet, config};

    #[test]
    fn both_ends_of_what_there_is() {
        for packet in [Packet::to(7), Packet::to(7).v6()] {
            for tags in [vec![], vec![5], vec![6, 5]] {
                let frame = Packet { tags, ..packet.clone() }.frame();
                let (src, dst) = (of_frame(&frame, Side::Source), of_frame(&frame, Side::Destination));
                let ports = [src, dst].map(|key| key.map(|key| (key.proto, u16::from_be_bytes(key.port))));
                assert_eq!(ports, [Some((17, 4000)), Some((17, 7))]);
            }
        }
    }

    #[test]
    fn what_has_no_tuple_has_none() {
        let mut later = Packet::to(7).frame();
        later[21] = 8;
        let three_tags = Packet { tags: vec![1, 2, 3], ..Packet::to(7) }.frame();
        let icmp = Packet { proto: 1, ..Packet::to(7) }.frame();
        let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
        for frame in [&later, &three_tags, &icmp, &arp, &later[..20]] {
            assert_eq!(of_frame(frame, Side::Destination), None);
        }
    }

    proptest! {
        /// The twin is steering itself, for what it says of a frame that may have an owner.
        #[test]
        fn the_destination_is_what_steering_looks_up(
            v6 in any::<bool>(), port in 1_u16.., at in 14_usize..80, byte in any::<u8>(), cut in 0_usize..90,
        ) {
            let packet = if v6 { Packet::to(port).v6() } else { Packet::to(port) };
            let mut frame = packet.frame();
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
            frame.truncate(frame.len().min(cut.max(40)));
            if let Ok(parsed) = parse(&frame, &config(&[])) {
                let expected = match parsed.subject {
                    Subject::Whole(key) | Subject::First(key, _) => Some(key),
                    Subject::Later(_) | Subject::Error(_) => None,
                };
                prop_assert_eq!(of_frame(&frame, Side::Destination), expected);
            }
        }
    }
}
