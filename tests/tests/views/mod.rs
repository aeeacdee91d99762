//! Any bytes, read as a header of every protocol: whatever a view accepts, each of its accessors is called.
//!
//! Nothing is checked but that nothing panics, and that a value that was read can be written and shown.
use std::{
    fmt::{self, Write as _},
    hint::black_box,
    net::{Ipv4Addr, Ipv6Addr},
};

use wire::{
    Malformed, arp, ethernet, icmp, icmpv6,
    ip::{Addresses, Protocol},
    ipv4, ipv6, ipv6_ext, ipv6_frag, ipv6_walk, tcp, udp, vlan,
};

/// How many values could be read.
pub(crate) fn read_as_everything(bytes: &[u8]) -> usize {
    [link(bytes), network(bytes), extension(bytes), transport(bytes), control(bytes)].into_iter().sum()
}

/// Shows a value to nobody; counts it.
fn shown<T: fmt::Display>(value: Result<T, Malformed>) -> usize {
    struct Nobody;
    impl fmt::Write for Nobody {
        fn write_str(&mut self, _: &str) -> fmt::Result {
            Ok(())
        }
    }
    value.map_or(0, |value| usize::from(write!(Nobody, "{value}").is_ok()))
}

fn link(bytes: &[u8]) -> usize {
    let frame = ethernet::Frame::new_checked(bytes).map(|frame| {
        black_box(frame.payload());
        shown(ethernet::Repr::parse(&frame))
    });
    let tag = vlan::Packet::new_checked(bytes).map(|tag| {
        black_box(tag.payload());
        shown(vlan::Repr::parse(&tag))
    });
    let arp = arp::Packet::new_checked(bytes).map(|packet| shown(arp::Repr::parse(&packet)));
    [frame, tag, arp].into_iter().flatten().sum()
}

fn network(bytes: &[u8]) -> usize {
    let v4 = ipv4::Packet::new_checked(bytes).map(|packet| {
        let (options, payload) = (packet.options(), packet.payload());
        assert!(options.len() + payload.len() + ipv4::HEADER_LEN <= bytes.len());
        black_box((packet.checksum(), packet.verify_checksum(), packet.is_fragment()));
        shown(ipv4::Repr::parse(&packet))
    });
    let v6 = ipv6::Packet::new_checked(bytes).map(|packet| {
        if let Ok(upper) = ipv6_walk::walk(packet.next_header(), packet.payload()).end {
            assert!(upper.offset <= packet.payload().len());
        }
        shown(ipv6::Repr::parse(&packet))
    });
    [v4, v6].into_iter().flatten().sum()
}

fn extension(bytes: &[u8]) -> usize {
    for first in [Protocol::HOP_BY_HOP, Protocol::ROUTING, Protocol::FRAGMENT, Protocol::DST_OPTIONS] {
        if let Ok(upper) = ipv6_walk::walk(first, bytes).end {
            assert!(upper.offset <= bytes.len());
        }
    }
    let counted = ipv6_ext::Packet::new_checked(bytes).map(|header| {
        black_box((header.routing_type(), header.segments_left(), header.data(), header.payload()));
        shown(ipv6_ext::Repr::parse(&header))
    });
    let fragment = ipv6_frag::Packet::new_checked(bytes).map(|header| {
        black_box((header.is_atomic(), header.payload()));
        shown(ipv6_frag::Repr::parse(&header))
    });
    [counted, fragment].into_iter().flatten().sum()
}

const ADDRESSES: Addresses = Addresses::V4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);

fn transport(bytes: &[u8]) -> usize {
    let udp = udp::Packet::new_checked(bytes).map(|packet| {
        black_box((packet.payload(), packet.verify_checksum(&ADDRESSES)));
        shown(udp::Repr::parse(&packet))
    });
    let tcp = tcp::Packet::new_checked(bytes).map(|packet| {
        black_box((packet.options(), packet.payload(), packet.verify_checksum(&ADDRESSES)));
        shown(tcp::Repr::parse(&packet))
    });
    [udp, tcp].into_iter().flatten().sum()
}

fn control(bytes: &[u8]) -> usize {
    let v4 = icmp::Packet::new_checked(bytes).map(|packet| {
        black_box((
            packet.mtu(),
            packet.pointer(),
            packet.is_error(),
            packet.payload(),
            packet.verify_checksum(),
        ));
        shown(icmp::Repr::parse(&packet))
    });
    let v6 = icmpv6::Packet::new_checked(bytes).map(|packet| {
        let intact = packet.verify_checksum(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        black_box((packet.word(), packet.is_error(), packet.payload(), intact));
        shown(icmpv6::Repr::parse(&packet))
    });
    [v4, v6].into_iter().flatten().sum()
}
