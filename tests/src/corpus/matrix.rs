//! Whole frames: every list of tags, every network layer, every chain of extension headers, every protocol.
//!
//! Not all with all: each list of tags with each network layer, each network layer with each protocol. Two things
//! that are looked at one after the other meet; three that are far apart need not.
use super::{
    Sample,
    layers::{Ext, IPV4, IPV6, Ip4, Ip6, Tag, frame, transport},
};

/// Ports of the corpus: owned, owned by transit only, owned by nobody.
pub const PORTS: [u16; 3] = [7, 9999, 4242];

/// Protocols with ports, ICMP of both versions, and some of each other kind.
pub const PROTOCOLS: [u8; 14] = [6, 17, 33, 132, 136, 1, 58, 2, 4, 41, 47, 89, 112, 255];

/// Lists of tags, by name.
#[must_use]
pub fn tag_lists() -> Vec<(&'static str, Vec<Tag>)> {
    let (customer, service) = ((0x8100, 100), (0x88a8, 200));
    let (priority, service_priority) = ((0x8100, 0xe000), (0x88a8, 0x6000));
    vec![
        ("untagged", vec![]),
        ("priority", vec![priority]),
        ("two priorities", vec![service_priority, priority]),
        ("customer", vec![customer]),
        ("customer with priority", vec![(0x8100, 0xf064)]),
        ("service", vec![service]),
        ("customer announced as service", vec![(0x88a8, 100)]),
        ("service, customer", vec![service, customer]),
        ("customer, service", vec![customer, service]),
        ("both 802.1Q", vec![(0x8100, 200), customer]),
        ("both 802.1ad", vec![service, (0x88a8, 100)]),
        ("priority, customer", vec![priority, customer]),
        ("customer, priority", vec![customer, priority]),
        ("VID 4095", vec![(0x8100, 4095)]),
        ("three", vec![service, customer, customer]),
        ("three, one a priority", vec![service, priority, customer]),
        ("old QinQ EtherType", vec![(0x9100, 200), customer]),
    ]
}

/// IPv4 headers of whole packets and fragments, by name.
fn v4(protocol: u8) -> Vec<(&'static str, Ip4)> {
    let plain = Ip4::new(protocol);
    let options = |len: usize| Ip4 { options: vec![1; len], ..plain.clone() };
    let fragment = |fragment| Ip4 { fragment, ..plain.clone() };
    vec![
        ("v4", plain.clone()),
        ("v4 routed", Ip4 { dst: [203, 0, 113, 9], ..plain.clone() }),
        ("v4 ttl 1", Ip4 { ttl: 1, ..plain.clone() }),
        ("v4 4 option bytes", options(4)),
        ("v4 40 option bytes", options(40)),
        ("v4 do not fragment", fragment(0x4000)),
        ("v4 reserved bit", fragment(0x8000)),
        ("v4 first fragment", fragment(0x2000)),
        ("v4 middle fragment", fragment(0x2001)),
        ("v4 last fragment", fragment(0x0010)),
        ("v4 fragment at the end of the range", fragment(0x1fff)),
        ("v4 first fragment with options", Ip4 { fragment: 0x2000, ..options(8) }),
        ("v4 later fragment with options", Ip4 { fragment: 0x2005, ..options(8) }),
    ]
}

/// Chains of extension headers, by name.
#[must_use]
pub fn chains() -> Vec<(&'static str, Vec<Ext>)> {
    let (hop, dst, done, atomic) = (Ext::new(0, 8), Ext::new(60, 8), Ext::routing(0), Ext::fragment(0));
    let many = |count| vec![dst.clone(); count];
    vec![
        ("v6", vec![]),
        ("v6 hop-by-hop", vec![hop.clone()]),
        ("v6 destination options", vec![dst.clone()]),
        ("v6 routing done", vec![done.clone()]),
        ("v6 routing not done", vec![Ext::routing(1)]),
        ("v6 atomic fragment", vec![atomic.clone()]),
        ("v6 atomic fragment, reserved bits", vec![Ext::fragment(0x0006)]),
        ("v6 atomic fragment, reserved byte", vec![Ext { length: 0xff, ..atomic.clone() }]),
        ("v6 first fragment", vec![Ext::fragment(0x0001)]),
        ("v6 middle fragment", vec![Ext::fragment(0x0009)]),
        ("v6 last fragment", vec![Ext::fragment(0x0100)]),
        ("v6 hop-by-hop, first fragment", vec![hop.clone(), Ext::fragment(1)]),
        ("v6 all four", vec![hop.clone(), dst.clone(), done.clone(), atomic.clone()]),
        ("v6 all four, another order", vec![atomic.clone(), done, dst.clone(), Ext::new(60, 16)]),
        ("v6 four", many(4)),
        ("v6 five", many(5)),
        ("v6 four and a fragment", [many(4), vec![Ext::fragment(1)]].concat()),
        ("v6 first fragment, destination options", vec![Ext::fragment(1), dst.clone()]),
        ("v6 first fragment, atomic fragment", vec![Ext::fragment(1), atomic.clone()]),
        ("v6 first fragment, later fragment", vec![Ext::fragment(1), Ext::fragment(9)]),
        ("v6 first fragment, ESP", vec![Ext::fragment(1), Ext::new(50, 8)]),
        ("v6 first fragment, too long", vec![Ext::fragment(1), Ext::new(60, 256)]),
        ("v6 atomic fragment, later fragment", vec![atomic.clone(), Ext::fragment(9)]),
        ("v6 four and ESP", [many(4), vec![Ext::new(50, 8)]].concat()),
        ("v6 hop-by-hop twice", vec![hop.clone(), hop.clone()]),
        ("v6 hop-by-hop second", vec![dst, hop]),
        ("v6 256 bytes", vec![Ext::new(60, 256)]),
        ("v6 256 bytes in two", vec![Ext::new(60, 128), Ext::new(60, 128)]),
        ("v6 264 bytes", vec![Ext::new(60, 264)]),
        ("v6 264 bytes in two", vec![Ext::new(0, 256), Ext::new(60, 8)]),
        ("v6 2048 bytes", vec![Ext::new(60, 2048)]),
        ("v6 AH", vec![Ext::new(51, 24)]),
        ("v6 ESP", vec![Ext::new(50, 16)]),
        ("v6 no next header", vec![Ext::new(59, 8)]),
        ("v6 mobility", vec![Ext::new(135, 8)]),
        ("v6 HIP", vec![Ext::new(139, 8)]),
        ("v6 shim6", vec![Ext::new(140, 8)]),
        ("v6 experimental", vec![Ext::new(253, 8), Ext::new(254, 8)]),
        ("v6 hop-by-hop, AH", vec![Ext::new(0, 8), Ext::new(51, 24)]),
    ]
}

/// Network layers of one protocol to one port: EtherType and packet, by name.
fn networks(protocol: u8, port: u16) -> Vec<(&'static str, u16, Vec<u8>)> {
    let segment = transport(protocol, port, &[0x55; 32]);
    let v4 = v4(protocol).into_iter().map(|(name, ip)| (name, IPV4, ip.packet(&segment)));
    let v6 = chains()
        .into_iter()
        .map(|(name, chain)| (name, IPV6, Ip6::new(protocol).behind(&chain).packet(&segment)));
    let routed = Ip6 { dst: [0x3f; 16], ..Ip6::new(protocol) };
    v4.chain(v6).chain([("v6 routed", IPV6, routed.packet(&segment))]).collect()
}

/// All of them.
#[must_use]
pub fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for (tags, list) in tag_lists().iter().skip(1) {
        for (network, ethertype, packet) in networks(17, PORTS[0]) {
            samples.push(Sample::new(format!("{network} behind {tags}"), frame(list, ethertype, &packet)));
        }
    }
    for protocol in PROTOCOLS {
        for port in PORTS {
            for (network, ethertype, packet) in networks(protocol, port) {
                samples.push(Sample::new(
                    format!("{network}, {protocol} to {port}"),
                    frame(&[], ethertype, &packet),
                ));
            }
        }
    }
    samples.extend(ETHERTYPES.map(|(name, ethertype)| Sample::new(name, frame(&[], ethertype, &[0; 46]))));
    samples
}

/// What is neither IPv4 nor IPv6, by name.
const ETHERTYPES: [(&str, u16); 8] = [
    ("ARP", 0x0806),
    ("802.3 length", 46),
    ("largest 802.3 length", 0x05dc),
    ("LLDP", 0x88cc),
    ("MPLS", 0x8847),
    ("PPPoE", 0x8864),
    ("PTP", 0x88f7),
    ("EtherType 0xffff", 0xffff),
];
