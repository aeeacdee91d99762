//! One frame for every rule, by the rule's number: what applies, and the rule before it that does not.
//!
//! Corpora, cuts and random frames, compared with the oracle and with XDP, are in `tests/`.
use std::collections::BTreeMap;

use abi::steer::{kind, target_flag};

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const UDP: [u8; 8] = [0xc0, 0x01, 0x00, 0x07, 0x00, 0x08, 0, 0];
const V4: [u8; 20] = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 7, 192, 0, 2, 1];
const DST6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

const UNTAGGED: PortConfig = PortConfig { mac: MAC, tags: 0, flags: 0, vlan: [0; 2] };
const TARGET: Target =
    Target { kind: kind::BUILTIN, flags: target_flag::ON_CRASH_PASS, id: 1, generation: 0x1234, aux: 0x234 };

fn table() -> BTreeMap<SteerKey, Target> {
    [SteerKey::v4(17, [192, 0, 2, 1], 7), SteerKey::v6(17, DST6, 7)].map(|key| (key, TARGET)).into()
}

fn frame(ethertype: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    [&MAC, &[2, 0, 0, 0, 0, 2], ethertype, &parts.concat()].concat()
}

/// An IPv4 frame to the echo port, its header edited.
fn v4(edit: impl Fn(&mut [u8; 20])) -> Vec<u8> {
    let mut header = V4;
    edit(&mut header);
    frame(&[8, 0], &[&header, &UDP])
}

/// An IPv6 frame whose payload, beginning with `next`, is this, its header edited.
fn v6(next: u8, payload: &[u8], edit: impl Fn(&mut [u8; 40])) -> Vec<u8> {
    let mut header = [0; 40];
    (header[0], header[5], header[6], header[7]) = (0x60, payload.len() as u8, next, 64);
    header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    header[8..24].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    header[24..].copy_from_slice(&DST6);
    edit(&mut header);
    frame(&[0x86, 0xdd], &[&header, payload])
}

fn same<const N: usize>(_: &mut [u8; N]) {}

#[track_caller]
fn passes(frame: &[u8], port: &PortConfig, why: XdpCounter) {
    assert_eq!(steer(frame, port, &table()), Outcome::Pass(why));
}

#[track_caller]
fn redirects(frame: &[u8], port: &PortConfig, l3_off: u8, l4_off: u16, flags: u8) {
    let meta = RxMeta {
        magic: 0x4f01,
        kind: kind::BUILTIN,
        flags,
        id: 1,
        generation: 0x1234,
        class: 0xffff,
        class_gen: 0,
        l3_off,
        l4_off,
        frame_len: frame.len() as u16,
    };
    assert_eq!(steer(frame, port, &table()), Outcome::Redirect { target: TARGET, meta });
}

#[test]
fn rule_01_a_frame_has_14_to_65535_bytes() {
    let whole = v4(same);
    passes(&whole[..13], &UNTAGGED, XdpCounter::PassBadHeader);
    passes(&[], &UNTAGGED, XdpCounter::PassBadHeader);
    let longest = [whole, vec![0; 65_535 - 42]].concat();
    redirects(&longest, &UNTAGGED, 14, 34, 0);
    passes(&[longest, vec![0]].concat(), &UNTAGGED, XdpCounter::PassBadHeader);
}

#[test]
fn rule_02_other_hosts_come_before_everything_but_length() {
    let mut other = frame(&[0x12, 0x34], &[]);
    passes(&other, &UNTAGGED, XdpCounter::PassEthertype);
    other[5] = 2;
    passes(&other, &UNTAGGED, XdpCounter::PassOtherHost);
    other[..6].fill(0xff);
    passes(&other, &UNTAGGED, XdpCounter::PassOtherHost);
}

const TAG_7: [u8; 4] = [0x81, 0, 0, 7];
const TAG_8: [u8; 4] = [0x88, 0xa8, 0xf0, 8];
const PRIORITY: [u8; 4] = [0x81, 0, 0xe0, 0];

fn tagged(tags: &[[u8; 4]]) -> Vec<u8> {
    frame(&tags.concat(), &[&[8, 0], &V4, &UDP])
}

fn vlans(vids: &[u16]) -> PortConfig {
    let mut port = PortConfig { tags: vids.len() as u8, ..UNTAGGED };
    port.vlan[..vids.len()].copy_from_slice(vids);
    port
}

#[test]
fn rule_03_tags_are_exactly_the_list_and_priority_tags_are_none() {
    redirects(&tagged(&[PRIORITY]), &UNTAGGED, 18, 38, 0);
    redirects(&tagged(&[PRIORITY, PRIORITY]), &UNTAGGED, 22, 42, 0);
    redirects(&tagged(&[TAG_7]), &vlans(&[7]), 18, 38, flag::TAGGED);
    redirects(&tagged(&[PRIORITY, TAG_7]), &vlans(&[7]), 22, 42, flag::TAGGED);
    redirects(&tagged(&[TAG_8, TAG_7]), &vlans(&[8, 7]), 22, 42, flag::TAGGED);
    for (tags, vids) in [
        (&[TAG_7][..], &[][..]),
        (&[], &[7]),
        (&[PRIORITY], &[7]),
        (&[TAG_7], &[8]),
        (&[TAG_7, TAG_8], &[8, 7]),
        (&[TAG_7], &[7, 8]),
        (&[TAG_7, TAG_8], &[7]),
        (&[TAG_7, TAG_7], &[7]),
    ] {
        passes(&tagged(tags), &vlans(vids), XdpCounter::PassVlan);
    }
}

#[test]
fn rule_03a_a_third_tag_is_too_many_even_if_cut() {
    passes(&tagged(&[TAG_8, PRIORITY, TAG_7]), &vlans(&[8, 7]), XdpCounter::PassVlan);
    passes(&tagged(&[PRIORITY, PRIORITY, PRIORITY])[..22], &UNTAGGED, XdpCounter::PassVlan);
}

#[test]
fn rule_03b_a_tag_cut_in_half_is_a_bad_header() {
    for len in 14..18 {
        passes(&tagged(&[TAG_7])[..len], &vlans(&[7]), XdpCounter::PassBadHeader);
        passes(&tagged(&[TAG_8, TAG_7])[..len + 4], &vlans(&[8, 7]), XdpCounter::PassBadHeader);
    }
    passes(&tagged(&[TAG_7])[..18], &UNTAGGED, XdpCounter::PassVlan);
}

#[test]
fn rule_04_only_ip_goes_on() {
    for ethertype in [[8, 6], [0x88, 0xcc], [0x91, 0], [0, 46]] {
        passes(&frame(&ethertype, &[&V4, &UDP]), &UNTAGGED, XdpCounter::PassEthertype);
    }
    passes(&frame(&[0x81, 0, 0, 7, 8, 6], &[]), &UNTAGGED, XdpCounter::PassVlan);
}

#[test]
fn rule_05_ipv4_headers() {
    let bad = |edit: fn(&mut [u8; 20])| passes(&v4(edit), &UNTAGGED, XdpCounter::PassBadHeader);
    bad(|ip| ip[0] = 0x65);
    bad(|ip| ip[0] = 0x44);
    bad(|ip| ip[3] = 19);
    bad(|ip| ip[3] = 29);
    bad(|ip| ip[8] = 0);
    passes(&v4(same)[..33], &UNTAGGED, XdpCounter::PassBadHeader);
    let padded = [v4(same), vec![0; 18]].concat();
    redirects(&padded, &UNTAGGED, 14, 34, 0);
}

#[test]
fn rule_06_ipv6_headers() {
    let bad = |edit: fn(&mut [u8; 40])| passes(&v6(17, &UDP, edit), &UNTAGGED, XdpCounter::PassBadHeader);
    bad(|ip| ip[0] = 0x40);
    bad(|ip| ip[5] = 0);
    bad(|ip| ip[5] = 9);
    bad(|ip| ip[7] = 0);
    passes(&v6(17, &UDP, same)[..53], &UNTAGGED, XdpCounter::PassBadHeader);
    redirects(&[v6(17, &UDP, same), vec![0; 6]].concat(), &UNTAGGED, 14, 54, flag::IPV6);
}

#[test]
fn rule_07_ipv4_martians_come_before_fragments() {
    for first in [0, 127, 224, 239, 240, 255] {
        passes(&v4(|ip| (ip[12], ip[6]) = (first, 0x20)), &UNTAGGED, XdpCounter::PassMartian);
    }
    for first in [1, 10, 126, 128, 169, 223] {
        redirects(&v4(|ip| ip[12] = first), &UNTAGGED, 14, 34, 0);
    }
}

#[test]
fn rule_08_ipv6_martians_come_before_extension_headers() {
    let mapped = mapped([192, 0, 2, 1]);
    let loopback = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for src in [[0; 16], loopback, [0xff; 16], mapped] {
        passes(&v6(50, &UDP, |ip| ip[8..24].copy_from_slice(&src)), &UNTAGGED, XdpCounter::PassMartian);
    }
    // Both spell keys that another packet owns; the table has the first, a transit interface's the second.
    for dst in [mapped, [0; 16]] {
        passes(&v6(17, &UDP, |ip| ip[24..].copy_from_slice(&dst)), &UNTAGGED, XdpCounter::PassMartian);
    }
    passes(&v6(17, &UDP, |ip| ip[24..].copy_from_slice(&loopback)), &UNTAGGED, XdpCounter::PassMiss);
}

#[test]
fn rule_09_ipv4_options_move_the_ports() {
    let mut header = V4;
    (header[0], header[3]) = (0x46, 32);
    redirects(&frame(&[8, 0], &[&header, &[1, 1, 1, 0], &UDP]), &UNTAGGED, 14, 38, flag::OPTIONS);
}

/// An extension header of `len` bytes.
fn ext(next: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[..2].copy_from_slice(&[next, (len / 8 - 1) as u8]);
    bytes
}

#[test]
fn rule_10_four_headers_and_256_bytes_are_stepped_over() {
    let options = flag::IPV6 | flag::OPTIONS;
    let four = [ext(60, 8), ext(43, 8), ext(44, 8), ext(17, 8), UDP.to_vec()].concat();
    redirects(&v6(0, &four, same), &UNTAGGED, 14, 14 + 40 + 32, options);
    let long = [ext(17, 256), UDP.to_vec()].concat();
    redirects(&v6(60, &long, same), &UNTAGGED, 14, 14 + 40 + 256, options);
    let five = [ext(60, 8), four].concat();
    passes(&v6(0, &five, same), &UNTAGGED, XdpCounter::PassExtHeader);
    passes(&v6(60, &[ext(17, 264), UDP.to_vec()].concat(), same), &UNTAGGED, XdpCounter::PassExtHeader);
    passes(
        &v6(60, &[ext(0, 8), ext(17, 8), UDP.to_vec()].concat(), same),
        &UNTAGGED,
        XdpCounter::PassExtHeader,
    );
}

#[test]
fn rule_10b_to_10f_within_one_header() {
    passes(&v6(60, &ext(17, 8)[..7], same), &UNTAGGED, XdpCounter::PassBadHeader);
    let mut routing = ext(17, 8);
    routing[3] = 1;
    passes(&v6(43, &routing, same), &UNTAGGED, XdpCounter::PassExtHeader);
    for offset_more in [[0, 1], [0, 8], [0xff, 0xf9]] {
        let mut fragment = ext(50, 8);
        fragment[2..4].copy_from_slice(&offset_more);
        passes(&v6(44, &fragment, same), &UNTAGGED, XdpCounter::PassFragment);
    }
    // A header that says 264 bytes is too long before it is cut short, one that says 256 is cut short.
    passes(&v6(60, &[17, 32, 0, 0, 0, 0, 0, 0], same), &UNTAGGED, XdpCounter::PassExtHeader);
    passes(&v6(60, &[17, 31, 0, 0, 0, 0, 0, 0], same), &UNTAGGED, XdpCounter::PassBadHeader);
}

#[test]
fn rule_11_opaque_headers_come_before_length() {
    for opaque in [50, 51, 59, 135, 139, 140, 253, 254] {
        passes(&v6(opaque, &[0], same), &UNTAGGED, XdpCounter::PassExtHeader);
        passes(&v6(60, &ext(opaque, 8), same), &UNTAGGED, XdpCounter::PassExtHeader);
    }
}

#[test]
fn rule_12_ipv4_fragments_may_hold_one_byte() {
    for flags_offset in [[0x20, 0], [0x20, 1], [0, 1], [0x1f, 0xff]] {
        passes(&v4(|ip| ip[6..8].copy_from_slice(&flags_offset)), &UNTAGGED, XdpCounter::PassFragment);
        let tiny = v4(|ip| (ip[3], ip[6], ip[7]) = (21, flags_offset[0], flags_offset[1]));
        passes(&tiny, &UNTAGGED, XdpCounter::PassFragment);
    }
    for harmless in [0x40, 0x80, 0xc0] {
        redirects(&v4(|ip| ip[6] = harmless), &UNTAGGED, 14, 34, 0);
    }
}

#[test]
fn rule_13_eight_bytes_of_transport_come_before_the_protocol() {
    for protocol in [1, 6, 17, 47] {
        passes(&v4(|ip| (ip[3], ip[9]) = (27, protocol)), &UNTAGGED, XdpCounter::PassBadHeader);
        passes(&v6(protocol, &UDP[..7], same), &UNTAGGED, XdpCounter::PassBadHeader);
    }
}

#[test]
fn rule_14_and_15_protocols_without_ports() {
    // Read as an extension header: cut short; as a routing header: 7 segments left; as a fragment: more to come.
    let payload = [253, 1, 0, 7, 0, 0, 0, 0];
    for protocol in 0..=255 {
        let (over_v4, over_v6) = match protocol {
            1 | 58 => (XdpCounter::PassIcmp, XdpCounter::PassIcmp),
            6 | 17 | 33 | 132 | 136 => continue,
            0 | 60 => (XdpCounter::PassProtocol, XdpCounter::PassBadHeader),
            44 => (XdpCounter::PassProtocol, XdpCounter::PassFragment),
            43 | 50 | 51 | 59 | 135 | 139 | 140 | 253 | 254 => {
                (XdpCounter::PassProtocol, XdpCounter::PassExtHeader)
            }
            _ => (XdpCounter::PassProtocol, XdpCounter::PassProtocol),
        };
        passes(&v4(|ip| ip[9] = protocol), &UNTAGGED, over_v4);
        passes(&v6(protocol, &payload, same), &UNTAGGED, over_v6);
    }
}

#[test]
fn rule_16_every_part_of_the_tuple_counts() {
    for protocol in [6, 33, 132, 136] {
        passes(&v4(|ip| ip[9] = protocol), &UNTAGGED, XdpCounter::PassMiss);
    }
    passes(&v4(|ip| ip[19] = 2), &UNTAGGED, XdpCounter::PassMiss);
    let other_port = frame(&[8, 0], &[&V4, &[0, 7, 0, 8, 0, 8, 0, 0]]);
    passes(&other_port, &UNTAGGED, XdpCounter::PassMiss);
    redirects(&v6(17, &UDP, same), &UNTAGGED, 14, 54, flag::IPV6);
}

#[test]
fn rule_17_transit_looks_once_more_and_only_there() {
    let transit = PortConfig { flags: TRANSIT, ..UNTAGGED };
    let any = SteerKey::v4(17, [0; 4], 7).any();
    let of_any = Target { kind: kind::ACTIVE, ..TARGET };
    let table: BTreeMap<_, _> = table().into_iter().chain([(any, of_any)]).collect();
    let to = |frame: &[u8], port: &PortConfig| match steer(frame, port, &table) {
        Outcome::Redirect { target, .. } => Ok(target.kind),
        Outcome::Pass(why) => Err(why),
    };
    let routed = v4(|ip| ip[16] = 203);
    assert_eq!(to(&routed, &transit), Ok(kind::ACTIVE));
    assert_eq!(to(&routed, &UNTAGGED), Err(XdpCounter::PassMiss));
    assert_eq!(to(&v4(same), &transit), Ok(kind::BUILTIN), "the exact address first");
    let routed6 = v6(17, &UDP, |ip| ip[39] = 9);
    assert_eq!(to(&routed6, &transit), Ok(kind::ACTIVE));
    let mut options = V4;
    (options[0], options[3], options[16]) = (0x46, 32, 203);
    let options = frame(&[8, 0], &[&options, &[1, 1, 1, 0], &UDP]);
    assert_eq!(to(&options, &transit), Err(XdpCounter::PassMiss));
    let chain = v6(60, &[ext(17, 8), UDP.to_vec()].concat(), |ip| ip[39] = 9);
    assert_eq!(to(&chain, &transit), Err(XdpCounter::PassMiss));
}
