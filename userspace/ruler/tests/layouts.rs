//! The built-in layouts say of every header what two parsers say: `wire`, and one that is not ours.
//!
//! Each field is asked for under each of its names, with the value that the parsers found and with another. No field and
//! no template can be added without an entry here.
#![allow(clippy::unwrap_used, reason = "a test")]

mod made;

use std::collections::BTreeSet;

use etherparse::{
    ArpPacketSlice, Ethernet2HeaderSlice, Icmpv4Slice, Icmpv6Slice, Ipv4HeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
};
use ruler::{
    bundle::{Bundle, LAYOUTS, LAYOUTS_NAME},
    diagnostic,
    oracle::{self, Match},
    syntax::tree::{Atom, Definition, Item},
};

use made::Dice;

/// How many random headers of each kind.
const ROUNDS: usize = 20;

/// What a parser says of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    /// A number of so many bits.
    Bits(u8, u64),
    /// Bytes, always as many.
    Bytes(Vec<u8>),
    /// Bytes, as many as another field says.
    Rest(Vec<u8>),
}

use Says::{Bits, Bytes, Rest};

/// The fields of a header, under all their names, in wire order.
type Fields = Vec<(&'static str, Says)>;

fn word(number: u16) -> Says {
    Bytes(number.to_be_bytes().into())
}

fn long(number: u32) -> Says {
    Bytes(number.to_be_bytes().into())
}

fn byte(number: u8) -> Says {
    Bytes(vec![number])
}

fn flag(is_set: bool) -> Says {
    Bits(1, u64::from(is_set))
}

fn by_bytes(bytes: impl AsRef<[u8]>) -> Says {
    Bytes(bytes.as_ref().into())
}

/// The verdict of each filter in the source.
fn judged(source: &str, packet: &[u8]) -> Vec<Option<Match>> {
    let bundle = Bundle::new("a.rl", format!("include \"layouts.rli\"\n{source}"));
    let (filters, found) = ruler::resolve(&bundle);
    assert!(!filters.is_empty(), "{}", diagnostic::text(&bundle, &found));
    filters.iter().map(|filter| oracle::judge(filter, packet).unwrap()).collect()
}

/// A template on a header that both parsers read, with bytes behind it.
#[track_caller]
fn check(template: &str, header: &[u8], ours: &Fields, theirs: &Fields) {
    assert_eq!(ours, theirs, "{template}: the parsers disagree");
    let packet = [header, b"behind"].concat();
    let (mut source, mut expected) = (String::new(), Vec::new());
    for (names, says) in ours {
        for name in names.split(' ') {
            let mut filter = |rule: String, is_match: bool, bytes: Option<&Vec<u8>>| {
                source.push_str(&format!("filter f{} {rule};\n", expected.len()));
                expected.push((rule, is_match, bytes.cloned()));
            };
            match says {
                Bits(bits, number) => {
                    filter(format!("{template} with [{name}={number}~{bits}b] * => accept"), true, None);
                    // A version has one value, and nothing would be left.
                    if *name != *"version" {
                        filter(format!("{template} with [{name}=!{number}] * => accept"), false, None);
                    }
                }
                Bytes(bytes) => {
                    let literal =
                        |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                    let mut other = bytes.clone();
                    *other.last_mut().unwrap() ^= 1;
                    let right = literal(bytes);
                    filter(format!("{template} with [{name}=hex\"{right}\"] * => accept"), true, None);
                    let wrong = literal(&other);
                    filter(format!("{template} with [{name}=hex\"{wrong}\"] * => accept"), false, None);
                    filter(format!("h:{template} * => h.{name}"), true, Some(bytes));
                }
                Rest(bytes) => filter(format!("h:{template} * => h.{name}"), true, Some(bytes)),
            }
        }
    }
    for (found, (rule, is_match, bytes)) in judged(&source, &packet).into_iter().zip(expected) {
        assert_eq!(found.is_some(), is_match, "{rule}: {header:02x?}");
        if let (Some(found), Some(bytes)) = (found, bytes) {
            assert_eq!(packet[found.labels[0].clone().unwrap()], bytes, "{rule}: {header:02x?}");
        }
    }
    // It is all of the header and no more.
    let whole = judged(&format!("filter f h:{template} * => h;"), &packet);
    assert_eq!(whole[0].as_ref().unwrap().labels, [Some(0..header.len())], "{template}: {header:02x?}");
    assert_eq!(judged(&format!("filter f {template} * => accept;"), &header[..header.len() - 1]), [None]);
}

/// A header of random bytes, some of them set.
fn header(dice: &mut Dice, len: usize, set: &[(usize, u8)]) -> Vec<u8> {
    let mut header: Vec<u8> = (0..len).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
    set.iter().for_each(|(at, byte)| header[*at] = *byte);
    header
}

type Read = fn(&[u8]) -> Fields;

/// A template without restrictions, how its headers are made, and what either parser says of them.
type Layout = (&'static str, fn(&mut Dice) -> Vec<u8>, Read, Read);

const LAYOUT_OF: [Layout; 10] = [
    (
        "Ethernet",
        |dice| header(dice, 14, &[]),
        |header| {
            let it = wire::ethernet::Frame::new_checked(header).unwrap();
            vec![
                ("dst dest e_dest", by_bytes(it.dst().0)),
                ("src e_src", by_bytes(it.src().0)),
                ("proto e_type", word(it.ethertype().0)),
            ]
        },
        |header| {
            let it = Ethernet2HeaderSlice::from_slice(header).unwrap();
            vec![
                ("dst dest e_dest", by_bytes(it.destination())),
                ("src e_src", by_bytes(it.source())),
                ("proto e_type", word(it.ether_type().0)),
            ]
        },
    ),
    (
        "VLAN",
        |dice| header(dice, 4, &[]),
        |header| {
            let it = wire::vlan::Packet::new_checked(header).unwrap();
            let tci = it.tci();
            vec![
                ("pcp", Bits(3, tci.pcp().into())),
                ("dei", flag(tci.is_drop_eligible())),
                ("vid", Bits(12, tci.vid().get().into())),
                ("proto", word(it.ethertype().0)),
            ]
        },
        |header| {
            let it = SingleVlanHeaderSlice::from_slice(header).unwrap();
            vec![
                ("pcp", Bits(3, it.priority_code_point().value().into())),
                ("dei", flag(it.drop_eligible_indicator())),
                ("vid", Bits(12, it.vlan_identifier().value().into())),
                ("proto", word(it.ether_type().0)),
            ]
        },
    ),
    (
        "ARP",
        |dice| header(dice, 28, &[(0, 0), (1, 1), (2, 8), (3, 0), (4, 6), (5, 4)]),
        |header| {
            let it = wire::arp::Packet::new_checked(header).unwrap();
            vec![
                ("op", word(it.operation())),
                ("sha", by_bytes(it.sender_mac().0)),
                ("spa", by_bytes(it.sender_ip().octets())),
                ("tha", by_bytes(it.target_mac().0)),
                ("tpa", by_bytes(it.target_ip().octets())),
            ]
        },
        |header| {
            let it = ArpPacketSlice::from_slice(header).unwrap().to_packet();
            vec![
                ("op", word(it.operation.0)),
                ("sha", by_bytes(it.sender_hw_addr())),
                ("spa", by_bytes(it.sender_protocol_addr())),
                ("tha", by_bytes(it.target_hw_addr())),
                ("tpa", by_bytes(it.target_protocol_addr())),
            ]
        },
    ),
    (
        "IPv4",
        |dice| {
            let words = u8::try_from(5 + dice.below(11)).unwrap();
            let mut header = header(dice, usize::from(words) * 4, &[(0, 0x40 | words)]);
            // Neither parser shows the reserved bit of the flags.
            header[6] &= 0x7f;
            header
        },
        |header| {
            let it = wire::ipv4::Packet::new_unchecked(header);
            let flags = u64::from(it.dont_fragment()) << 1 | u64::from(it.more_fragments());
            vec![
                ("version", Bits(4, it.version().into())),
                ("ihl", Bits(4, u64::try_from(it.header_len() / 4).unwrap())),
                ("tos", byte(it.tos())),
                ("len", word(it.total_len())),
                ("id", word(it.ident())),
                ("flags", Bits(3, flags)),
                ("frag", Bits(13, (it.fragment_offset().bytes() / 8).into())),
                ("ttl", byte(it.ttl())),
                ("proto", byte(it.protocol().0)),
                ("csum", word(it.checksum())),
                ("src", by_bytes(it.src().octets())),
                ("dst dest", by_bytes(it.dst().octets())),
                ("options", Rest(it.options().into())),
            ]
        },
        |header| {
            let it = Ipv4HeaderSlice::from_slice(header).unwrap();
            let flags = u64::from(it.dont_fragment()) << 1 | u64::from(it.more_fragments());
            vec![
                ("version", Bits(4, it.version().into())),
                ("ihl", Bits(4, it.ihl().into())),
                ("tos", byte(it.dcp().value() << 2 | it.ecn().value())),
                ("len", word(it.total_len())),
                ("id", word(it.identification())),
                ("flags", Bits(3, flags)),
                ("frag", Bits(13, it.fragments_offset().value().into())),
                ("ttl", byte(it.ttl())),
                ("proto", byte(it.protocol().0)),
                ("csum", word(it.header_checksum())),
                ("src", by_bytes(it.source())),
                ("dst dest", by_bytes(it.destination())),
                ("options", Rest(it.options().into())),
            ]
        },
    ),
    (
        "IPv6",
        |dice| {
            let mut header = header(dice, 40, &[]);
            header[0] = 0x60 | header[0] & 0xf;
            header
        },
        |header| {
            let it = wire::ipv6::Packet::new_unchecked(header);
            vec![
                ("version", Bits(4, it.version().into())),
                ("tclass", Bits(8, it.traffic_class().into())),
                ("flow", Bits(20, it.flow_label().get().into())),
                ("len", word(it.payload_len())),
                ("next", byte(it.next_header().0)),
                ("hops", byte(it.hop_limit())),
                ("src", by_bytes(it.src().octets())),
                ("dst dest", by_bytes(it.dst().octets())),
            ]
        },
        |header| {
            let it = Ipv6HeaderSlice::from_slice(header).unwrap();
            vec![
                ("version", Bits(4, it.version().into())),
                ("tclass", Bits(8, it.traffic_class().into())),
                ("flow", Bits(20, it.flow_label().value().into())),
                ("len", word(it.payload_length())),
                ("next", byte(it.next_header().0)),
                ("hops", byte(it.hop_limit())),
                ("src", by_bytes(it.source())),
                ("dst dest", by_bytes(it.destination())),
            ]
        },
    ),
    (
        "IPv6_Ext",
        |dice| {
            let units = [0, 1, 2, 255][dice.index(4)];
            header(dice, 8 + 8 * usize::from(units), &[(1, units)])
        },
        |header| {
            let it = wire::ipv6_ext::Packet::new_checked(header).unwrap();
            let units = u8::try_from(it.header_len() / 8 - 1).unwrap();
            vec![("next", byte(it.next_header().0)), ("hlen", byte(units)), ("data", Rest(it.data().into()))]
        },
        |header| {
            let it = Ipv6RawExtHeaderSlice::from_slice(header).unwrap();
            let units = u8::try_from(it.slice().len() / 8 - 1).unwrap();
            vec![
                ("next", byte(it.next_header().0)),
                ("hlen", byte(units)),
                ("data", Rest(it.payload().into())),
            ]
        },
    ),
    (
        "TCP",
        |dice| {
            let words = u8::try_from(5 + dice.below(11)).unwrap();
            let nonce = u8::try_from(dice.below(2)).unwrap();
            // Of the reserved bits the other parser shows the last, ours none.
            header(dice, usize::from(words) * 4, &[(12, words << 4 | nonce)])
        },
        |header| {
            let it = wire::tcp::Packet::new_checked(header).unwrap();
            let flags = it.flags();
            let bit = |bit: u8| flag(flags.0 >> bit & 1 == 1);
            vec![
                ("sport src", word(it.src_port())),
                ("dport dst dest", word(it.dst_port())),
                ("seq", long(it.seq())),
                ("ack", long(it.ack())),
                ("doff", Bits(4, u64::try_from(it.header_len() / 4).unwrap())),
                ("rsv", Bits(4, u64::from(header[12] & 1))),
                ("cwr", bit(7)),
                ("ece", bit(6)),
                ("urg", flag(flags.contains(wire::tcp::Flags::URG))),
                ("ackf", flag(flags.contains(wire::tcp::Flags::ACK))),
                ("psh", flag(flags.contains(wire::tcp::Flags::PSH))),
                ("rst", flag(flags.contains(wire::tcp::Flags::RST))),
                ("syn", flag(flags.contains(wire::tcp::Flags::SYN))),
                ("fin", flag(flags.contains(wire::tcp::Flags::FIN))),
                ("flags", Bits(8, flags.0.into())),
                ("win", word(it.window())),
                ("csum", word(it.checksum())),
                ("urgp", word(it.urgent())),
                ("options", Rest(it.options().into())),
            ]
        },
        |header| {
            let it = TcpHeaderSlice::from_slice(header).unwrap();
            let flags = [it.cwr(), it.ece(), it.urg(), it.ack(), it.psh(), it.rst(), it.syn(), it.fin()];
            vec![
                ("sport src", word(it.source_port())),
                ("dport dst dest", word(it.destination_port())),
                ("seq", long(it.sequence_number())),
                ("ack", long(it.acknowledgment_number())),
                ("doff", Bits(4, it.data_offset().into())),
                ("rsv", Bits(4, it.ns().into())),
                ("cwr", flag(it.cwr())),
                ("ece", flag(it.ece())),
                ("urg", flag(it.urg())),
                ("ackf", flag(it.ack())),
                ("psh", flag(it.psh())),
                ("rst", flag(it.rst())),
                ("syn", flag(it.syn())),
                ("fin", flag(it.fin())),
                ("flags", Bits(8, flags.iter().fold(0, |all, flag| all << 1 | u64::from(*flag)))),
                ("win", word(it.window_size())),
                ("csum", word(it.checksum())),
                ("urgp", word(it.urgent_pointer())),
                ("options", Rest(it.options().into())),
            ]
        },
    ),
    (
        "UDP",
        |dice| header(dice, 8, &[]),
        |header| {
            let it = wire::udp::Packet::new_unchecked(header);
            let len = u16::try_from(it.len()).unwrap();
            vec![
                ("sport src", word(it.src_port())),
                ("dport dst dest", word(it.dst_port())),
                ("len", word(len)),
                ("csum", word(it.checksum())),
            ]
        },
        |header| {
            let it = UdpHeaderSlice::from_slice(header).unwrap();
            vec![
                ("sport src", word(it.source_port())),
                ("dport dst dest", word(it.destination_port())),
                ("len", word(it.length())),
                ("csum", word(it.checksum())),
            ]
        },
    ),
    (
        "ICMP",
        |dice| header(dice, 8, &[(0, 8)]),
        |header| {
            let it = wire::icmp::Packet::new_checked(header).unwrap();
            let rest = u32::from(it.ident()) << 16 | u32::from(it.seq());
            vec![
                ("type", byte(it.message_type())),
                ("code", byte(it.code())),
                ("csum", word(it.checksum())),
                ("rest", long(rest)),
            ]
        },
        |header| {
            let it = Icmpv4Slice::from_slice(header).unwrap();
            vec![
                ("type", byte(it.type_u8())),
                ("code", byte(it.code_u8())),
                ("csum", word(it.checksum())),
                ("rest", by_bytes(it.bytes5to8())),
            ]
        },
    ),
    (
        "ICMPv6",
        |dice| header(dice, 8, &[]),
        |header| {
            let it = wire::icmpv6::Packet::new_checked(header).unwrap();
            vec![
                ("type", byte(it.message_type())),
                ("code", byte(it.code())),
                ("csum", word(it.checksum())),
                ("rest", long(it.word())),
            ]
        },
        |header| {
            let it = Icmpv6Slice::from_slice(header).unwrap();
            vec![
                ("type", byte(it.type_u8())),
                ("code", byte(it.code_u8())),
                ("csum", word(it.checksum())),
                ("rest", by_bytes(it.bytes5to8())),
            ]
        },
    ),
];

#[test]
fn rt01_every_field_is_where_two_parsers_find_it() {
    let mut dice = Dice::of(1);
    for (template, make, ours, theirs) in LAYOUT_OF {
        for _ in 0..ROUNDS {
            let header = make(&mut dice);
            check(template, &header, &ours(&header), &theirs(&header));
        }
    }
}

/// A template that is a header restricted to what it carries, and who may say so.
type Carrier = (&'static str, &'static str, fn(&[u8]) -> bool);

const CARRIERS: [Carrier; 14] = [
    ("Ethernet_IPv4", "Ethernet", |it| ether_type(it) == 0x0800),
    ("Ethernet_IPv6", "Ethernet", |it| ether_type(it) == 0x86dd),
    ("Ethernet_ARP", "Ethernet", |it| ether_type(it) == 0x0806),
    ("Ethernet_VLAN", "Ethernet", |it| wire::ethernet::EtherType(ether_type(it)).is_tag()),
    ("VLAN_IPv4", "VLAN", |it| tagged_type(it) == 0x0800),
    ("VLAN_IPv6", "VLAN", |it| tagged_type(it) == 0x86dd),
    ("VLAN_ARP", "VLAN", |it| tagged_type(it) == 0x0806),
    ("IPv4_TCP", "IPv4", |it| first_of(it, 6)),
    ("IPv4_UDP", "IPv4", |it| first_of(it, 17)),
    ("IPv4_ICMP", "IPv4", |it| first_of(it, 1)),
    ("IPv4_Fragment", "IPv4", |it| Ipv4HeaderSlice::from_slice(it).unwrap().fragments_offset().value() != 0),
    ("IPv6_TCP", "IPv6", |it| next_header(it) == 6),
    ("IPv6_UDP", "IPv6", |it| next_header(it) == 17),
    ("IPv6_ICMPv6", "IPv6", |it| next_header(it) == 58),
];

fn ether_type(header: &[u8]) -> u16 {
    Ethernet2HeaderSlice::from_slice(header).unwrap().ether_type().0
}

fn tagged_type(header: &[u8]) -> u16 {
    SingleVlanHeaderSlice::from_slice(header).unwrap().ether_type().0
}

/// Of this protocol, and not a later fragment.
fn first_of(header: &[u8], protocol: u8) -> bool {
    let it = Ipv4HeaderSlice::from_slice(header).unwrap();
    it.protocol().0 == protocol && it.fragments_offset().value() == 0
}

fn next_header(header: &[u8]) -> u8 {
    Ipv6HeaderSlice::from_slice(header).unwrap().next_header().0
}

/// A header that says, of what it may carry, one thing or another.
fn variant(dice: &mut Dice, base: &str, header: &mut [u8]) {
    const TYPES: [u16; 8] = [0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x9100, 0x0801, 0x0008];
    const PROTOCOLS: [u8; 6] = [1, 6, 17, 58, 0, 44];
    const FRAGMENTS: [u16; 6] = [0, 0x2000, 0x4000, 1, 0x1fff, 0x1000];
    match base {
        "Ethernet" => header[12..].copy_from_slice(&TYPES[dice.index(8)].to_be_bytes()),
        "VLAN" => header[2..].copy_from_slice(&TYPES[dice.index(8)].to_be_bytes()),
        "IPv4" => {
            header[9] = PROTOCOLS[dice.index(6)];
            header[6..8].copy_from_slice(&FRAGMENTS[dice.index(6)].to_be_bytes());
        }
        _ => header[6] = PROTOCOLS[dice.index(6)],
    }
}

#[test]
fn rt01_a_header_that_carries_something_says_so() {
    let mut dice = Dice::of(2);
    for (template, base, carries) in CARRIERS {
        let (_, make, ..) = LAYOUT_OF.into_iter().find(|(name, ..)| *name == base).unwrap();
        let source = format!("filter f h:{template} * => h;");
        let (mut yes, mut no) = (0, 0);
        while yes < ROUNDS || no < ROUNDS {
            let mut header = make(&mut dice);
            variant(&mut dice, base, &mut header);
            let packet = [&header[..], b"behind"].concat();
            let found = &judged(&source, &packet)[0];
            let labels = found.as_ref().map(|found| found.labels.clone());
            let expected = carries(&header).then(|| vec![Some(0..header.len())]);
            assert_eq!(labels, expected, "{template}: {header:02x?}");
            *(if found.is_some() { &mut yes } else { &mut no }) += 1;
        }
    }
}

#[test]
fn every_template_and_every_field_is_tested() {
    let (tree, _) = ruler::read(LAYOUTS_NAME, LAYOUTS.as_bytes());
    let mut carriers: BTreeSet<&str> = CARRIERS.iter().map(|(name, ..)| *name).collect();
    let mut layouts: BTreeSet<&str> = LAYOUT_OF.iter().map(|(name, ..)| *name).collect();
    for definition in &tree.definitions {
        let Definition::Template(name, pattern) = definition else { panic!("{definition:?}") };
        if carriers.remove(name.text.as_str()) {
            continue;
        }
        assert!(layouts.remove(name.text.as_str()), "`{}` is not tested", name.text);
        let mut fields = BTreeSet::new();
        pattern.arms.iter().for_each(|arm| names(arm, &mut fields));
        let (_, make, ours, _) = LAYOUT_OF.into_iter().find(|(layout, ..)| *layout == name.text).unwrap();
        let tested: Vec<&str> =
            ours(&make(&mut Dice::of(3))).iter().flat_map(|(names, _)| names.split(' ')).collect();
        assert_eq!(tested.len(), fields.len(), "{}", name.text);
        assert_eq!(tested.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), fields, "{}", name.text);
    }
    assert_eq!((carriers, layouts), (BTreeSet::new(), BTreeSet::new()));
}

fn names(items: &[Item], all: &mut BTreeSet<String>) {
    for item in items {
        all.extend(item.label.as_ref().map(|label| label.text.clone()));
        if let Atom::Group(pattern, _) = &item.atom {
            pattern.arms.iter().for_each(|arm| names(arm, all));
        }
    }
}
