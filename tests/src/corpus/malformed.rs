//! Frames with one thing wrong each: a length, a version, an address, a cut.
use super::{
    Sample,
    layers::{Ext, IPV4, IPV6, Ip4, Ip6, MAC, frame, transport},
};

/// What stands in a field: an offset in the packet, and the bytes put there.
type Edit = (&'static str, usize, &'static [u8]);

const V4_EDITS: [Edit; 20] = [
    ("version 0", 0, &[0x05]),
    ("version 6", 0, &[0x65]),
    ("IHL 0", 0, &[0x40]),
    ("IHL 4", 0, &[0x44]),
    ("IHL 6 over the ports", 0, &[0x46]),
    ("IHL 15 beyond the packet", 0, &[0x4f]),
    ("total length 0", 2, &[0, 0]),
    ("total length 19", 2, &[0, 19]),
    ("total length 20", 2, &[0, 20]),
    ("total length 27", 2, &[0, 27]),
    ("total length 28", 2, &[0, 28]),
    ("total length one too many", 2, &[0, 37]),
    ("total length 65535", 2, &[0xff, 0xff]),
    ("ttl 0", 8, &[0]),
    ("source 0.0.0.0", 12, &[0, 0, 0, 0]),
    ("source 127.0.0.1", 12, &[127, 0, 0, 1]),
    ("source multicast", 12, &[224, 0, 0, 1]),
    ("source broadcast", 12, &[255, 255, 255, 255]),
    ("destination 127.0.0.1", 16, &[127, 0, 0, 1]),
    ("wrong checksum", 10, &[0xba, 0xad]),
];

const V6_EDITS: [Edit; 14] = [
    ("version 4", 0, &[0x40]),
    ("version 15", 0, &[0xf0]),
    ("payload length 0", 4, &[0, 0]),
    ("payload length 7", 4, &[0, 7]),
    ("payload length 8", 4, &[0, 8]),
    ("payload length one too many", 4, &[0, 17]),
    ("payload length 65535", 4, &[0xff, 0xff]),
    ("hop limit 0", 7, &[0]),
    ("source ::", 8, &[0; 16]),
    ("source ::1", 8, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("source multicast", 8, &[0xff]),
    ("source mapped", 8, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 7]),
    ("destination ::", 24, &[0; 16]),
    ("destination mapped", 24, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]),
];

/// Bytes of the second extension header of a chain of two, 8 and 16 bytes long.
const CHAIN_EDITS: [Edit; 6] = [
    ("second header to the end", 49, &[2]),
    ("second header beyond the end", 49, &[3]),
    ("second header of 2048 bytes", 49, &[255]),
    ("first header swallows the second", 41, &[2]),
    ("first header of 256 bytes", 41, &[31]),
    ("next header hop-by-hop", 40, &[0]),
];

fn edited(packet: &[u8], (_, at, bytes): Edit) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

/// All of them.
#[must_use]
pub fn samples() -> Vec<Sample> {
    let segment = transport(17, 7, &[0x55; 8]);
    let v4 = Ip4::new(17).packet(&segment);
    let v6 = Ip6::new(17).packet(&segment);
    let chain = Ip6::new(17).behind(&[Ext::new(60, 8), Ext::new(60, 16)]).packet(&segment);
    let mut samples = Vec::new();
    for (packet, ethertype, edits, what) in [
        (&v4, IPV4, &V4_EDITS[..], "v4"),
        (&v6, IPV6, &V6_EDITS[..], "v6"),
        (&chain, IPV6, &CHAIN_EDITS[..], "chain"),
    ] {
        for &edit in edits {
            let packet = edited(packet, edit);
            samples.push(Sample::new(format!("{what}: {}", edit.0), frame(&[], ethertype, &packet)));
            let padded = [packet, vec![0xee; 18]].concat();
            samples.push(Sample::new(format!("{what}, padded: {}", edit.0), frame(&[], ethertype, &padded)));
        }
    }
    samples.extend(ending_early("chain", IPV6, &chain, 4));
    samples.extend(ending_early("v6", IPV6, &v6, 4));
    samples.extend(ending_early("v4", IPV4, &v4, 2));
    samples.extend(tiny_fragments());
    samples.extend(addressed_elsewhere(&frame(&[], IPV4, &v4)));
    samples.push(Sample::new("IPv6 said to be IPv4", frame(&[], IPV4, &v6)));
    samples.push(Sample::new("IPv4 said to be IPv6", frame(&[], IPV6, &v4)));
    samples
}

/// The packet in a whole frame, its length field counting down to nothing: what a cut of the frame cannot show.
fn ending_early(what: &str, ethertype: u16, packet: &[u8], length_at: usize) -> Vec<Sample> {
    let whole = u16::from_be_bytes([packet[length_at], packet[length_at + 1]]);
    let sample = |len: u16| {
        let mut packet = packet.to_vec();
        packet[length_at..length_at + 2].copy_from_slice(&len.to_be_bytes());
        Sample::new(format!("{what} that says it has {len} bytes"), frame(&[], ethertype, &packet))
    };
    (1..whole).map(sample).collect()
}

/// Fragments that hold less than a transport header.
fn tiny_fragments() -> impl Iterator<Item = Sample> {
    let v4 = [0x2000u16, 0x0001].into_iter().flat_map(|fragment| {
        (0..8).map(move |len| {
            let packet = Ip4 { fragment, ..Ip4::new(17) }.packet(&vec![0x55; len]);
            Sample::new(format!("v4 fragment {fragment:#06x} of {len} bytes"), frame(&[], IPV4, &packet))
        })
    });
    let v6 = [0x0001u16, 0x0008].into_iter().flat_map(|fragment| {
        (0..8).map(move |len| {
            let packet = Ip6::new(17).behind(&[Ext::fragment(fragment)]).packet(&vec![0x55; len]);
            Sample::new(format!("v6 fragment {fragment:#06x} of {len} bytes"), frame(&[], IPV6, &packet))
        })
    });
    v4.chain(v6)
}

/// The same frame to others.
fn addressed_elsewhere(frame: &[u8]) -> impl Iterator<Item = Sample> {
    let last = MAC[5] ^ 0x80;
    [
        ("broadcast", [0xff; 6]),
        ("IPv4 multicast", [0x01, 0x00, 0x5e, 0, 0, 1]),
        ("IPv6 multicast", [0x33, 0x33, 0, 0, 0, 1]),
        ("a neighbour", [MAC[0], MAC[1], MAC[2], MAC[3], MAC[4], last]),
        ("a stranger", [MAC[0] ^ 4, MAC[1], MAC[2], MAC[3], MAC[4], MAC[5]]),
    ]
    .map(|(name, mac)| Sample::new(format!("to {name}"), [&mac, &frame[6..]].concat()))
    .into_iter()
}
