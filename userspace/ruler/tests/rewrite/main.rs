//! Rewriting against its slow twin, on random packets and outputs; what plans rules get; what hostile labels do.
//!
//! Nothing is matched here: rules and the places of their labels are written by hand.
#![allow(clippy::unwrap_used, reason = "a test")]

mod agree;
#[path = "../made/dice.rs"]
mod dice;
mod draft;
mod filters;
mod naive;
mod rule;
#[path = "../scale/mod.rs"]
mod scale;
mod shape;
mod traffic;

use std::{fmt::Debug, ops::Range};

use proptest::prelude::*;
use ruler::{
    resolved::{Part, Rule, Value},
    rewrite::{Bounds, KeyMissing, Kind, Plan, Refusal, Scratch, apply},
};

use agree::{ANONYMISER, OFFLINE, mode, rewritten, scratch};
use dice::Dice;
use naive::Mode;
use rule::{With as _, constant, id, item, label};
use traffic::{Ip, Shape, Transport};

/// What dice make: proptest chooses what they say.
pub(crate) fn by_dice<T: Debug>(make: fn(&mut Dice) -> T) -> impl Strategy<Value = T> {
    prop::collection::vec(any::<u8>(), 0..150).prop_map(move |input| make(&mut Dice::of_input(&input)))
}

/// Everything that a sum covers changes but what is behind the header.
fn changing_headers(version: u8, transport: Transport, last: Part) -> Rule {
    let (src, dst, len) = if version == 4 { (12, 16, 4) } else { (8, 24, 16) };
    let sum = match transport {
        Transport::Tcp => Value::TcpCsum(id(rule::I)),
        Transport::Udp => Value::UdpCsum(id(rule::I)),
    };
    let ip = label(rule::I).with(src, len, Value::PrefixAnon(id(rule::I_SRC))).with(
        dst,
        len,
        Value::Constant(vec![0x11; len]),
    );
    let header = label(rule::T).with(0, 4, Value::Constant(vec![9, 8, 7, 6])).with(transport.field(), 2, sum);
    let behind = [label(rule::X), header, label(rule::HEAD), item(last)];
    rule::rule(version, [vec![label(rule::E), ip], behind.into()].concat())
}

fn version(shape: &Shape) -> u8 {
    if matches!(shape.ip, Ip::V4 { .. }) { 4 } else { 6 }
}

proptest! {
    #![proptest_config(scale::RT08_REWRITES.cases())]

    #[test]
    fn rt08_patch_cut_and_rebuild_are_the_twin(trial in by_dice(agree::trial)) {
        agree::holds(&trial)?;
    }

    #[test]
    fn rt08_incremental_is_full_where_the_input_was_right(shape in by_dice(shape::whole), unpadded: bool) {
        let last = match unpadded {
            true => Part::Unpad(id(rule::TAIL), id(rule::I)),
            false => Part::Label(id(rule::TAIL)),
        };
        let rule = changing_headers(version(&shape), shape.transport, last);
        let packet = traffic::packet(&shape);
        let plan = Plan::of(&rule).unwrap();
        prop_assert_eq!(mode(&plan), Mode::Incremental);
        let want = naive::rewrite(&rule, &packet.bytes, &packet.labels, OFFLINE, &ANONYMISER, Mode::Full);
        prop_assert_eq!(rewritten(&plan, &packet.bytes, &packet.labels, (0, 0), OFFLINE), want);
    }

    #[test]
    fn rt08_a_wrong_sum_stays_wrong_by_as_much(shape in by_dice(shape::whole), error in 1..u16::MAX) {
        let rule = changing_headers(version(&shape), shape.transport, Part::Label(id(rule::TAIL)));
        let mut packet = traffic::packet(&shape);
        let (ip, header) = (packet.labels[rule::I].clone(), packet.labels[rule::T].start);
        let field = header + shape.transport.field();
        let sum = u16::from_be_bytes([packet.bytes[field], packet.bytes[field + 1]]);
        let wrong = sum.checked_add(error).unwrap_or_else(|| sum.wrapping_add(error) + 1);
        prop_assume!(wrong != 0);
        packet.bytes[field..field + 2].copy_from_slice(&wrong.to_be_bytes());
        let end = packet.bytes.len() - shape.padding.len();
        // Of a packet with its sum in it this is 0, or what the sum is wrong by.
        let residue = |bytes: &[u8]| naive::transport_sum(6, &bytes[ip.clone()], &bytes[header..end]);
        let protocol = u16::from(shape.transport.number()) - 6;
        let plan = Plan::of(&rule).unwrap();
        let (output, _) = rewritten(&plan, &packet.bytes, &packet.labels, (0, 0), OFFLINE).unwrap();
        prop_assert_eq!(residue(&output), residue(&packet.bytes));
        prop_assert_ne!(residue(&output), protocol);
    }

    #[test]
    fn rt08_no_packet_and_no_labels_break_it(
        shape in by_dice(shape::shape), draft in by_dice(draft::draft), bytes in prop::collection::vec(any::<u8>(), 0..120),
        places in prop::collection::vec((0..140_usize, 0..140_usize), 0..12), packet in (0..140_usize, 0..140_usize),
    ) {
        let rule = draft.rule(&shape);
        let plan = Plan::of(&rule).unwrap();
        let labels: Vec<Range<usize>> = places.into_iter().map(|(start, end)| start..end).collect();
        for plan in [Kind::Patch, Kind::Cut, Kind::Rebuild].into_iter().filter_map(|kind| plan.as_kind(kind)) {
            let mut frame = bytes.clone();
            let new = apply(&plan, &mut frame, packet.0..packet.1, &labels, &mut scratch(&plan, OFFLINE));
            if let Ok(new) = new {
                prop_assert!(new.packet.start <= new.packet.end && new.packet.end <= frame.len());
            }
        }
    }
}

#[test]
fn an_output_may_be_as_long_as_the_bound_and_no_longer() {
    let packet = traffic::packet(&plain());
    let rule = rule::rule(4, vec![label(rule::E), constant(&[7; 46]), constant(&[8; 1])]);
    let plan = Plan::of(&rule).unwrap().as_kind(Kind::Rebuild).unwrap();
    let len =
        |bounds| rewritten(&plan, &packet.bytes, &packet.labels, (9, 9), bounds).map(|(it, _)| it.len());
    assert_eq!(len(Bounds { least: 0, most: 61 }), Ok(61));
    assert_eq!(len(Bounds { least: 0, most: 60 }), Err(Refusal::TooLong));
    assert_eq!(len(Bounds { least: 61, most: 61 }), Ok(61));
    assert_eq!(len(Bounds { least: 62, most: 61 }), Err(Refusal::TooShort));
    assert_eq!(Bounds::of_mtu(1500), Bounds { least: 14, most: 1522 });
    let names = [Refusal::TooLong, Refusal::TooShort, Refusal::Field].map(|it| it.to_string());
    assert_eq!(names, ["ruler_too_long", "ruler_too_short", "ruler_field"]);
}

#[test]
fn a_longer_packet_takes_the_room_behind_it_and_then_before_it() {
    let packet = traffic::packet(&plain());
    let rule = rule::rule(4, vec![constant(&[1; 8]), label(rule::E), label(rule::E), label(rule::I)]);
    let plan = Plan::of(&rule).unwrap();
    let begin = |before: usize, behind: usize| {
        let mut frame = [vec![0; before], packet.bytes.clone(), vec![0; behind]].concat();
        let at = before..before + packet.bytes.len();
        let scratch = &mut scratch(&plan, OFFLINE);
        apply(&plan, &mut frame, at, &packet.labels, scratch).map(|new| (new.packet.start, new.packet.len()))
    };
    assert_eq!(packet.bytes.len(), 14 + 20 + 8 + 3);
    assert_eq!(begin(5, 20), Ok((5, 56)));
    assert_eq!(begin(5, 8), Ok((2, 56)));
    assert_eq!(begin(5, 6), Ok((0, 56)));
    assert_eq!(begin(5, 5), Err(Refusal::TooLong));
}

#[test]
fn a_label_ends_where_the_packet_does() {
    let packet = traffic::packet(&plain());
    let rule = rule::rule(4, vec![label(rule::HEAD), label(rule::E_DST), label(rule::TAIL)]);
    let plan = Plan::of(&rule).unwrap();
    let len = packet.bytes.len();
    let mut labels = packet.labels.clone();
    labels[rule::HEAD] = len - 2..len + 7;
    labels[rule::TAIL] = len + 1..len + 3;
    let (output, _) = rewritten(&plan, &packet.bytes, &labels, (0, 9), OFFLINE).unwrap();
    assert_eq!(output, [2, 3, 2, 0, 0, 0, 0, 1]);
    let (output, _) = rewritten(&plan, &packet.bytes, &labels[..rule::E_SRC], (0, 9), OFFLINE).unwrap();
    assert_eq!(output, [2, 0, 0, 0, 0, 1]);
}

#[test]
fn who_anonymises_needs_a_key() {
    let anonymous = item(Part::PrefixAnon(id(rule::I_SRC)));
    let plan = Plan::of(&rule::rule(4, vec![label(rule::E), anonymous])).unwrap();
    assert_eq!(Scratch::new([&plan], OFFLINE, None).map(drop), Err(KeyMissing));
    let plan = Plan::of(&rule::rule(4, vec![label(rule::E)])).unwrap();
    assert!(Scratch::new([&plan], OFFLINE, None).is_ok());
}

#[test]
fn an_inner_sum_is_made_before_the_outer_one_that_covers_it() {
    let shape = Shape { payload: vec![0x55; 43], ..plain() };
    let mut packet = traffic::packet(&shape);
    let (inner, tcp) = (packet.bytes.len() - 40, packet.bytes.len() - 20);
    packet.bytes[inner..inner + 4].copy_from_slice(&[0x45, 0, 0, 40]);
    packet.bytes[inner + 6..inner + 8].fill(0);
    packet.labels[rule::HEAD] = inner..tcp;
    packet.labels[rule::TAIL] = tcp..tcp + 20;
    packet.labels[rule::X] = packet.labels[rule::T].end..inner;
    let rule = rule::rule(
        4,
        vec![
            label(rule::E),
            label(rule::I),
            label(rule::T).with(6, 2, Value::UdpCsum(id(rule::I))),
            label(rule::X),
            label(rule::HEAD).with(12, 4, Value::Constant(vec![10, 1, 2, 3])),
            item(Part::Zero(id(rule::TAIL))).with(16, 2, Value::TcpCsum(id(rule::HEAD))),
        ],
    );
    let plan = Plan::of(&rule).unwrap();
    let (output, skipped) = rewritten(&plan, &packet.bytes, &packet.labels, (0, 0), OFFLINE).unwrap();
    assert_eq!(skipped, 0);
    let right = |protocol, ip: usize, header: usize| {
        let sum = naive::transport_sum(protocol, &output[ip..ip + 20], &output[header..]);
        assert_eq!(sum, if protocol == 17 { 0xffff } else { 0 });
    };
    right(17, 14, 34);
    right(6, inner, tcp);
}

/// UDP in IPv4 with three bytes of payload.
fn plain() -> Shape {
    Shape {
        ip: Ip::V4 { words: 0, fragment: 0 },
        transport: Transport::Udp,
        tcp_words: 0,
        has_maybe: false,
        payload: vec![1, 2, 3],
        padding: Vec::new(),
        addresses: std::array::from_fn(|at| u8::try_from(at).unwrap() + 1),
        unsummed: false,
    }
}
