//! Echo: the reply byte for byte, and everybody who gets none.
use abi::rxmeta::RxMeta;
use multistack::{registry::Builtin, slots::TupleId};
use proptest::prelude::*;
use wire::udp;

use super::*;
use crate::fixture::{ECHO, Packet};

fn meta(packet: &Packet) -> RxMeta {
    packet.meta(Builtin::Echo, TupleId::from_raw(0))
}

/// The reply that a fresh packet from there to here would be.
fn expected(packet: &Packet) -> Vec<u8> {
    let turned = Packet { src: packet.dst, dst: packet.src, ttl: TTL, ..packet.clone() };
    let mut frame = turned.frame();
    let macs = packet.frame();
    frame[..6].copy_from_slice(&macs[6..12]);
    frame[6..12].copy_from_slice(&macs[..6]);
    frame
}

#[track_caller]
fn check(packet: &Packet) {
    let mut frame = packet.frame();
    assert_eq!(reply(&mut frame, &meta(packet)), Ok(()));
    assert_eq!(frame, expected(packet));
}

#[track_caller]
fn refuses(what: &str, packet: &Packet) {
    let mut frame = packet.frame();
    assert_eq!(reply(&mut frame, &meta(packet)), Err(Refused), "{what}");
    assert_eq!(frame, packet.frame(), "{what}: it is as it came");
}

#[test]
fn a_datagram_comes_back_as_a_fresh_one_would() {
    check(&Packet::to(ECHO));
    check(&Packet::to(ECHO).v6());
}

#[test]
fn tags_stay_as_they_are() {
    check(&Packet { tags: vec![0xa064], ..Packet::to(ECHO) });
    check(&Packet { tags: vec![100, 200], ..Packet::to(ECHO) }.v6());
}

#[test]
fn the_time_to_live_starts_anew() {
    for ttl in [1, 63, 128, 255] {
        check(&Packet { ttl, ..Packet::to(ECHO) });
        check(&Packet { ttl, ..Packet::to(ECHO) }.v6());
    }
}

#[test]
fn b09_a_partial_checksum_leaves_complete() {
    for packet in [Packet::to(ECHO), Packet::to(ECHO).v6()] {
        let mut frame = packet.frame();
        let l4 = usize::from(meta(&packet).l4_off);
        let len = frame.len() - l4;
        let sum = partial(&packet.addresses(), len);
        frame[l4 + 6..l4 + 8].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(reply(&mut frame, &meta(&packet)), Ok(()));
        assert_eq!(frame, expected(&packet));
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let packet = Packet::to(ECHO);
    let mut frame = packet.frame();
    let last = frame.len() - 1;
    frame[last] ^= 0x40;
    assert_eq!(reply(&mut frame, &meta(&packet)), Ok(()));
    let datagram = udp::Packet::new_checked(&frame[34..]).expect("whole");
    assert!(!datagram.verify_checksum(&packet.addresses()), "the damage is for the caller to see");
}

#[test]
fn no_checksum_is_none_over_ipv4_and_refused_over_ipv6() {
    let (packet, packet6) = (Packet::to(ECHO), Packet::to(ECHO).v6());
    let mut frame = packet.frame();
    frame[40..42].fill(0);
    assert_eq!(reply(&mut frame, &meta(&packet)), Ok(()));
    assert_eq!(frame[40..42], [0, 0]);
    let mut frame = packet6.frame();
    frame[60..62].fill(0);
    let before = frame.clone();
    assert_eq!(reply(&mut frame, &meta(&packet6)), Err(Refused));
    assert_eq!(frame, before);
}

#[test]
fn who_cannot_be_answered_safely_is_not() {
    let packet = Packet::to(ECHO);
    let from = |addr: &str| (addr.parse().expect("an address"), 4000);
    for addr in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
        refuses(addr, &Packet { src: from(addr), ..packet.clone() });
    }
    for addr in ["::", "::1", "ff02::1"] {
        refuses(addr, &Packet { src: from(addr), ..packet.clone().v6() });
    }
    refuses("a group's MAC", &Packet { src_mac: [1, 0, 0x5e, 0, 0, 1], ..packet.clone() });
    refuses("nobody's MAC", &Packet { src_mac: [0; 6], ..packet.clone() });
    refuses("port 0", &Packet { src: (packet.src.0, 0), ..packet.clone() });
    refuses("another echo", &Packet { src: (packet.src.0, ECHO), ..packet.clone() });
    for proto in [6, 33, 132, 136] {
        refuses("not UDP", &Packet { proto, ..packet.clone() });
        refuses("not UDP", &Packet { proto, ..packet.clone().v6() });
    }
}

#[test]
fn a_source_route_is_not_turned_round() {
    let packet = Packet::to(ECHO);
    let options = RxMeta { flags: flag::OPTIONS, ..meta(&packet) };
    assert_eq!(reply(&mut packet.frame(), &options), Err(Refused));
}

proptest! {
    #[test]
    fn no_frame_and_no_metadata_panics(
        frame in prop::collection::vec(any::<u8>(), 0..120),
        l3_off in any::<u8>(), flags in any::<u8>(),
    ) {
        let mut frame = frame;
        let _ = reply(&mut frame, &RxMeta { l3_off, flags, ..RxMeta::default() });
    }

    #[test]
    fn b04_a_frame_cut_short_never_panics(cut in 0usize..80, v6 in any::<bool>()) {
        let packet = if v6 { Packet::to(ECHO).v6() } else { Packet::to(ECHO) };
        let mut frame = packet.frame();
        frame.truncate(cut);
        prop_assert_eq!(reply(&mut frame, &meta(&packet)).is_ok(), packet.frame().len() <= cut);
    }
}
