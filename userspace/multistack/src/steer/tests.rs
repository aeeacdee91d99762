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
    for offset_more in [[0, 8], [0xff, 0xf9]] {
        passes(&v6(44, &fragment(50, offset_more), same), &UNTAGGED, XdpCounter::PassFragment);
    }
    passes(&v6(44, &fragment(50, [0, 1]), same), &UNTAGGED, XdpCounter::PassExtHeader);
    let nested = [fragment(44, [0, 1]), fragment(17, [0, 0]), UDP.to_vec()].concat();
    passes(&v6(44, &nested, same), &UNTAGGED, XdpCounter::PassExtHeader);
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

/// An IPv6 fragment header.
fn fragment(next: u8, offset_more: [u8; 2]) -> Vec<u8> {
    [&[next, 0xff][..], &offset_more, &[0, 0, 0, 9]].concat()
}

#[test]
fn rule_12_ipv4_fragments_may_hold_one_byte() {
    for flags_offset in [[0x20, 1], [0, 1], [0x1f, 0xff]] {
        passes(&v4(|ip| ip[6..8].copy_from_slice(&flags_offset)), &UNTAGGED, XdpCounter::PassFragment);
        let tiny = v4(|ip| (ip[3], ip[6], ip[7]) = (21, flags_offset[0], flags_offset[1]));
        passes(&tiny, &UNTAGGED, XdpCounter::PassFragment);
    }
    for harmless in [0x40, 0x80, 0xc0] {
        redirects(&v4(|ip| ip[6] = harmless), &UNTAGGED, 14, 34, 0);
        redirects(&v4(|ip| ip[6] = 0x20 | harmless), &UNTAGGED, 14, 34, flag::FRAG_FIRST);
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
    // Read as an extension header: cut short; as a routing header: 7 segments left; as a first fragment of
    // something experimental.
    let payload = [253, 1, 0, 7, 0, 0, 0, 0];
    for protocol in 0..=255 {
        let (over_v4, over_v6) = match protocol {
            1 | 58 => (XdpCounter::PassIcmp, XdpCounter::PassIcmp),
            6 | 17 | 33 | 132 | 136 => continue,
            0 | 60 => (XdpCounter::PassProtocol, XdpCounter::PassBadHeader),
            44 => (XdpCounter::PassProtocol, XdpCounter::PassExtHeader),
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

/// What a frame of a datagram of this identification comes to, and what it changes.
fn among(
    frame: &[u8],
    known: &[FragEntry],
    now: Duration,
) -> (Result<(Target, u8, u16), XdpCounter>, Change) {
    let known: BTreeMap<_, _> = known.iter().map(|entry| (entry.key, *entry)).collect();
    let (outcome, change) = steer_among(frame, &UNTAGGED, &table(), &known, now);
    let outcome = match outcome {
        Outcome::Redirect { target, meta } => Ok((target, meta.flags, meta.l4_off)),
        Outcome::Pass(reason) => Err(reason),
    };
    (outcome, change)
}

const NOW: Duration = Duration::from_secs(5);
const SRC6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const DATAGRAM: FragKey = FragKey::v4([198, 51, 100, 7], [192, 0, 2, 1], 0x0102, 17);
const DATAGRAM6: FragKey = FragKey::v6(SRC6, DST6, 9, 17);

/// A fragment of [`DATAGRAM`].
fn part(offset_more: u16, edit: impl Fn(&mut [u8; 20])) -> Vec<u8> {
    v4(|ip| {
        ip[4..6].copy_from_slice(&[1, 2]);
        ip[6..8].copy_from_slice(&offset_more.to_be_bytes());
        edit(ip);
    })
}

fn entry(key: FragKey) -> FragEntry {
    FragEntry { key, target: TARGET, until_ns: 35_000_000_000 }
}

#[test]
fn rule_20_a_later_fragment_follows_its_first_while_that_is_remembered() {
    let later = part(1, same);
    let to_owner = (Ok((TARGET, flag::FRAG_LATER, 0)), Change::None);
    assert_eq!(among(&later, &[entry(DATAGRAM)], NOW), to_owner);
    let tiny = part(185, |ip| ip[3] = 21);
    assert_eq!(among(&tiny, &[entry(DATAGRAM)], NOW), to_owner);
    let last_moment = Duration::from_nanos(34_999_999_999);
    assert_eq!(among(&later, &[entry(DATAGRAM)], last_moment), to_owner);
    let expired = (Err(XdpCounter::PassFragExpired), Change::None);
    assert_eq!(among(&later, &[entry(DATAGRAM)], Duration::from_secs(35)), expired);
    assert_eq!(among(&later, &[], NOW), (Err(XdpCounter::PassFragment), Change::None));
}

#[test]
fn rule_20_every_part_of_the_identity_counts() {
    let unknown = (Err(XdpCounter::PassFragment), Change::None);
    for (at, to) in [(5, 3), (9, 6), (15, 8), (19, 2)] {
        let other = part(1, |ip| ip[at] = to);
        assert_eq!(among(&other, &[entry(DATAGRAM)], NOW), unknown, "byte {at}");
    }
}

#[test]
fn rule_21_a_first_fragment_after_a_hit_is_remembered_for_thirty_seconds() {
    let hit = (Ok((TARGET, flag::FRAG_FIRST, 34)), Change::Enter(entry(DATAGRAM)));
    assert_eq!(among(&part(0x2000, same), &[], NOW), hit);
    let payload = [fragment(17, [0, 1]), UDP.to_vec()].concat();
    let flags = flag::IPV6 | flag::OPTIONS | flag::FRAG_FIRST;
    let hit6 = (Ok((TARGET, flags, 62)), Change::Enter(entry(DATAGRAM6)));
    assert_eq!(among(&v6(44, &payload, same), &[], NOW), hit6);
    // The identity has the number that all its fragments name: the next header, not the transport.
    let behind = [fragment(60, [0, 1]), ext(17, 8), UDP.to_vec()].concat();
    let (_, change) = among(&v6(44, &behind, same), &[], NOW);
    assert_eq!(change, Change::Enter(entry(FragKey { proto: 60, ..DATAGRAM6 })));
    let later6 = [fragment(17, [0, 8]), vec![0]].concat();
    let flags = flag::IPV6 | flag::OPTIONS | flag::FRAG_LATER;
    assert_eq!(
        among(&v6(44, &later6, same), &[entry(DATAGRAM6)], NOW),
        (Ok((TARGET, flags, 0)), Change::None)
    );
}

#[test]
fn rule_21_a_first_fragment_that_passes_makes_its_identity_forgotten() {
    let forgets = |frame: &[u8], reason, datagram| {
        assert_eq!(among(frame, &[], NOW), (Err(reason), Change::Forget(datagram)), "{frame:02x?}");
    };
    let mut other_port = part(0x2000, same);
    other_port[37] = 8;
    forgets(&other_port, XdpCounter::PassMiss, DATAGRAM);
    forgets(&part(0x2000, |ip| ip[3] = 27), XdpCounter::PassBadHeader, DATAGRAM);
    forgets(&part(0x2000, |ip| ip[9] = 1), XdpCounter::PassIcmp, FragKey { proto: 1, ..DATAGRAM });
    forgets(&part(0x2000, |ip| ip[9] = 47), XdpCounter::PassProtocol, FragKey { proto: 47, ..DATAGRAM });
    let cut = [fragment(17, [0, 1]), UDP[..7].to_vec()].concat();
    forgets(&v6(44, &cut, same), XdpCounter::PassBadHeader, DATAGRAM6);
    let esp = [fragment(50, [0, 1]), ext(17, 8)].concat();
    forgets(&v6(44, &esp, same), XdpCounter::PassExtHeader, FragKey { proto: 50, ..DATAGRAM6 });
    let nested = [fragment(44, [0, 1]), fragment(17, [0, 8])].concat();
    forgets(&v6(44, &nested, same), XdpCounter::PassExtHeader, FragKey { proto: 44, ..DATAGRAM6 });
    // No first fragment, nothing forgotten.
    let (_, change) = among(&v4(|ip| ip[19] = 2), &[], NOW);
    assert_eq!(change, Change::None);
}

/// An owner who wants errors, and one who does not.
fn wanted() -> BTreeMap<SteerKey, Target> {
    let wants = Target { flags: target_flag::ICMP, ..TARGET };
    let keys = [SteerKey::v4(17, [192, 0, 2, 1], 7), SteerKey::v6(6, DST6, 7)];
    keys.map(|key| (key, wants)).into_iter().chain([(SteerKey::v4(6, [192, 0, 2, 1], 7), TARGET)]).collect()
}

/// An ICMP error about UDP from port 7, the quoted header and the quoting ICMP header edited.
fn error4(edit: impl Fn(&mut [u8; 8], &mut [u8; 20])) -> Vec<u8> {
    let (mut icmp, mut quoted) = ([3, 3, 0, 0, 0, 0, 0, 0], V4);
    (quoted[3], quoted[8]) = (0xff, 0);
    quoted[12..16].copy_from_slice(&[192, 0, 2, 1]);
    quoted[16..].copy_from_slice(&[198, 51, 100, 7]);
    edit(&mut icmp, &mut quoted);
    let mut header = V4;
    (header[3], header[9]) = (56, 1);
    frame(&[8, 0], &[&header, &icmp, &quoted, &[0, 7, 0xc0, 1, 0, 8, 0, 0]])
}

#[track_caller]
fn error_is(frame: &[u8], wanted_outcome: Result<(u8, u16), XdpCounter>) {
    let outcome = match steer(frame, &UNTAGGED, &wanted()) {
        Outcome::Redirect { meta, .. } => Ok((meta.flags, meta.l4_off)),
        Outcome::Pass(reason) => Err(reason),
    };
    assert_eq!(outcome, wanted_outcome);
}

#[test]
fn rule_22_an_error_goes_to_whoever_sent_what_it_quotes() {
    let (delivered, refused) = (Ok((flag::ICMP_ERROR, 34)), Err(XdpCounter::PassIcmp));
    for kind in 0..=255 {
        let is_error = matches!(kind, 3 | 11 | 12);
        error_is(&error4(|icmp, _| icmp[0] = kind), if is_error { delivered } else { refused });
    }
    error_is(&error4(|_, quoted| quoted[6] = 0x20), delivered);
    for (at, to) in [(0, 0x44), (0, 0x55), (0, 0x46), (7, 1), (9, 6), (9, 1), (15, 2), (12, 10)] {
        error_is(&error4(|_, quoted| quoted[at] = to), refused);
    }
    let whole = error4(|_, _| ());
    for total in 28..56 {
        let mut cut = whole.clone();
        cut[17] = total;
        error_is(&cut, refused);
    }
    let mut elsewhere = whole.clone();
    elsewhere[33] = 2;
    error_is(&elsewhere, refused);
    let mut part = whole;
    part[20] = 0x20;
    error_is(&part, refused);
}

#[test]
fn rule_22_options_before_and_in_the_quote_are_stepped_over() {
    let mut header = V4;
    (header[0], header[3], header[9]) = (0x46, 64, 1);
    let mut quoted = V4;
    quoted[0] = 0x46;
    quoted[12..16].copy_from_slice(&[192, 0, 2, 1]);
    let error = [11, 0, 0, 0, 0, 0, 0, 0];
    let parts: [&[u8]; 6] =
        [&header, &[1, 1, 1, 0], &error, &quoted, &[1, 1, 1, 0], &[0, 7, 0xc0, 1, 0, 8, 0, 0]];
    error_is(&frame(&[8, 0], &parts), Ok((flag::ICMP_ERROR | flag::OPTIONS, 38)));
}

#[test]
fn rule_22_of_icmpv6_is_every_type_below_128() {
    let error6 = |kind: u8, edit: &dyn Fn(&mut Vec<u8>)| {
        let mut quoted = vec![0x60, 0, 0, 0, 0xff, 0xff, 6, 0];
        quoted.extend(DST6);
        quoted.extend(SRC6);
        quoted.extend([0, 7, 0xc0, 1, 0, 0, 0, 0]);
        edit(&mut quoted);
        v6(58, &[vec![kind, 0, 0, 0, 0, 0, 5, 0], quoted].concat(), same)
    };
    let (delivered, refused) = (Ok((flag::ICMP_ERROR | flag::IPV6, 54)), Err(XdpCounter::PassIcmp));
    for kind in 0..=255 {
        error_is(&error6(kind, &|_| ()), if kind < 128 { delivered } else { refused });
    }
    let edits: [(usize, u8); 6] = [(0, 0x40), (6, 17), (6, 60), (23, 2), (41, 8), (40, 1)];
    for (at, to) in edits {
        error_is(&error6(1, &|quoted| quoted[at] = to), refused);
    }
    for len in 0..48 {
        error_is(&error6(1, &|quoted| quoted.truncate(len)), refused);
    }
    // Each kind of error over its own version of IP only.
    let mut over_v4 = error4(|_, _| ());
    over_v4[23] = 58;
    error_is(&over_v4, refused);
    error_is(&v6(1, &[&[3, 0, 0, 0, 0, 0, 0, 0][..], &[0; 48]].concat(), same), refused);
}
