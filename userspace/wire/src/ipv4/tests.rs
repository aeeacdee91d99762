//! IPv4 on literal bytes, and for all values.
use std::string::ToString;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// A middle fragment with a router alert option, four bytes of payload, two of padding.
const BYTES: [u8; 30] = [
    0x46, 0xb8, 0x00, 0x1c, 0x12, 0x34, 0x20, 0x02, 0x40, 0x11, 0xc6, 0xa2, 192, 0, 2, 1, 198, 51, 100,
    7, // header
    0x94, 0x04, 0x00, 0x00, // option
    0xaa, 0xbb, 0xcc, 0xdd, 0xff, 0xff,
];

fn repr_of_bytes() -> Repr<'static> {
    Repr {
        src: Ipv4Addr::new(192, 0, 2, 1),
        dst: Ipv4Addr::new(198, 51, 100, 7),
        protocol: Protocol::UDP,
        ttl: 64,
        tos: 0xb8,
        fragment: Fragment {
            ident: 0x1234,
            dont_fragment: false,
            more: true,
            offset: FragmentOffset::from_bytes(16).unwrap(),
        },
        options: Options::new(&[0x94, 4, 0, 0]).unwrap(),
        payload_len: 4,
    }
}

#[test]
fn deconstruct() {
    let packet = Packet::new_checked(&BYTES[..]).unwrap();
    assert_eq!((packet.version(), packet.header_len(), packet.total_len()), (4, 24, 28));
    assert_eq!((packet.tos(), packet.ident(), packet.ttl()), (0xb8, 0x1234, 64));
    assert_eq!((packet.dont_fragment(), packet.more_fragments(), packet.is_fragment()), (false, true, true));
    assert_eq!((packet.fragment_offset().bytes(), packet.protocol()), (16, Protocol::UDP));
    assert_eq!((packet.checksum(), packet.verify_checksum()), (0xc6a2, true));
    assert_eq!((packet.src(), packet.dst()), (repr_of_bytes().src, repr_of_bytes().dst));
    assert_eq!((packet.options(), packet.payload()), (&BYTES[20..24], &BYTES[24..28]));
}

#[test]
fn construct() {
    let mut packet = Packet::new_unchecked(BYTES);
    packet.set_src(Ipv4Addr::new(10, 0, 0, 1));
    packet.set_dst(Ipv4Addr::new(10, 0, 0, 2));
    packet.set_ttl(1);
    assert!(!packet.verify_checksum());
    packet.fill_checksum();
    assert!(packet.verify_checksum());
    packet.payload_mut().fill(0);
    packet.set_checksum(0xbeef);
    let mut want = BYTES;
    want[8] = 1;
    want[10..20].copy_from_slice(&[0xbe, 0xef, 10, 0, 0, 1, 10, 0, 0, 2]);
    want[24..28].fill(0);
    assert_eq!(packet.into_inner(), want);
}

#[test]
fn parse() {
    assert_eq!(Repr::parse(&Packet::new_checked(&BYTES[..]).unwrap()), Ok(repr_of_bytes()));
    let text = "IPv4 192.0.2.1 > 198.51.100.7 UDP ttl=64 len=4 frag=0x1234@16+";
    assert_eq!(repr_of_bytes().to_string(), text);
}

#[test]
fn emit() {
    let mut bytes = [0xff; 28];
    bytes[24..].copy_from_slice(&BYTES[24..28]);
    repr_of_bytes().emit(&mut Packet::new_unchecked(&mut bytes));
    assert_eq!(bytes, BYTES[..28]);
}

#[track_caller]
fn malformed(edit: impl Fn(&mut [u8; 30])) {
    let mut bytes = BYTES;
    edit(&mut bytes);
    assert_eq!(Packet::new_checked(&bytes).map(drop), Err(Malformed));
}

#[test]
fn lengths_that_contradict_each_other_are_malformed() {
    malformed(|b| b[0] = 0x44);
    malformed(|b| b[0] = 0x48);
    malformed(|b| b[3] = 23);
    malformed(|b| b[3] = 31);
    assert_eq!(Packet::new_checked(&BYTES[..19]).map(drop), Err(Malformed));
    assert_eq!(Packet::new_checked(&BYTES[..27]).map(drop), Err(Malformed));
    assert!(Packet::new_checked(&BYTES[..28]).is_ok());
}

#[test]
fn another_version_has_no_value() {
    let mut bytes = BYTES;
    bytes[0] = 0x66;
    assert_eq!(Repr::parse(&Packet::new_checked(&bytes).unwrap()), Err(Malformed));
}

#[test]
fn options_are_padded_and_few() {
    assert!(Options::new(&[0; 40]).is_ok());
    assert_eq!(Options::new(&[0; 44]), Err(Malformed));
    assert_eq!(Options::new(&[0; 3]), Err(Malformed));
}

#[test]
fn neither_dont_fragment_nor_the_reserved_bit_makes_a_fragment() {
    for (high, is_fragment) in [(0x00, false), (0x40, false), (0x80, false), (0x20, true), (0x10, true)] {
        let mut bytes = BYTES;
        bytes[6..8].copy_from_slice(&[high, 0]);
        assert_eq!(Packet::new_unchecked(&bytes).is_fragment(), is_fragment, "{high:#x}");
    }
}

fn fragment() -> impl Strategy<Value = Fragment> {
    (any::<u16>(), any::<bool>(), any::<bool>(), any::<u16>()).prop_map(
        |(ident, dont_fragment, more, units)| Fragment {
            ident,
            dont_fragment,
            more,
            offset: FragmentOffset::from_units(units),
        },
    )
}

proptest! {
    #[test]
    fn round_trip(
        src: [u8; 4], dst: [u8; 4], protocol: u8, ttl: u8, tos: u8, fragment in fragment(),
        options in (0..=10usize).prop_flat_map(|words| prop::collection::vec(any::<u8>(), words * 4)),
        payload_len in 0..64u16,
    ) {
        let repr = Repr {
            src: src.into(), dst: dst.into(), protocol: Protocol(protocol), ttl, tos, fragment,
            options: Options::new(&options).unwrap(), payload_len,
        };
        let mut bytes: Vec<u8> = std::vec![0xff; repr.buffer_len()];
        repr.emit(&mut Packet::new_unchecked(&mut bytes));
        let packet = Packet::new_checked(&bytes).unwrap();
        prop_assert!(packet.verify_checksum());
        prop_assert_eq!(packet.payload().len(), usize::from(payload_len));
        prop_assert_eq!(Repr::parse(&packet), Ok(repr));
    }

    #[test]
    fn b14_no_accessor_panics_on_what_check_len_accepts(
        mut bytes in prop::collection::vec(any::<u8>(), 0..80), ihl in 0x40..=0x4fu8, total in 0..80u8
    ) {
        if 4 <= bytes.len() {
            bytes[0] = ihl;
            bytes[2..4].copy_from_slice(&[0, total]);
        }
        if let Ok(packet) = Packet::new_checked(&bytes) {
            let whole = [packet.options(), packet.payload()].concat();
            prop_assert_eq!(whole, &bytes[20..usize::from(packet.total_len())]);
            packet.verify_checksum();
        }
    }
}
