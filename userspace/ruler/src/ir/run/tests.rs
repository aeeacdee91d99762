//! Fields as byte sets: compared with the definition, number by number, for fields of every width.

use proptest::prelude::*;

use super::super::{Node, naive};
use super::*;
use crate::resolved::{Allowed, Field, Order, Test};

fn field(bits: u8, all_of: Vec<Allowed>) -> Field {
    Field { bits, all_of, counts: None }
}

fn range(order: Order, first: u64, last: u64) -> Test {
    Test { order, mask: u64::MAX, first, last }
}

/// Whether bytes, as one number, are allowed.
fn allows(fields: &[Field], bytes: &[u8]) -> bool {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u64::from(byte >> bit & 1)));
    fields.iter().all(|field| {
        let number = bits.by_ref().take(usize::from(field.bits)).fold(0, |number, bit| number << 1 | bit);
        field.allows(number)
    })
}

fn lowered(fields: &[Field]) -> Node {
    lower(fields, 1 << 20).unwrap()
}

#[test]
fn a_range_of_two_bytes_is_three_arms() {
    let ports = field(16, vec![Allowed::AnyOf(vec![range(Order::Big, 0x1234, 0x2fff)])]);
    insta::assert_snapshot!(lowered(&[ports]), @r"
    alt (2 bytes)
      seq (2 bytes)
        [12]
        [34..ff]
      seq (2 bytes)
        [13..2f]
        [00..ff]
    ");
}

#[test]
fn a_mask_and_a_list_share_their_tails() {
    let mask = Test { order: Order::Big, mask: 0xf0ff, first: 0x1044, last: 0x1044 };
    insta::assert_snapshot!(lowered(&[field(16, vec![Allowed::AnyOf(vec![mask])])]), @r"
    seq (2 bytes)
      [10..1f]
      [44]
    ");
    let list =
        vec![range(Order::Big, 80, 80), range(Order::Big, 0x3050, 0x3050), range(Order::Big, 443, 443)];
    insta::assert_snapshot!(lowered(&[field(16, vec![Allowed::AnyOf(list)])]), @r"
    alt (2 bytes)
      seq (2 bytes)
        [00 30]
        [50]
      seq (2 bytes)
        [01]
        [bb]
    ");
}

#[test]
fn bits_become_sets_of_the_byte_that_holds_them() {
    let version = field(4, vec![Allowed::AnyOf(vec![range(Order::Big, 4, 4)])]);
    let length = field(4, vec![Allowed::AnyOf(vec![range(Order::Big, 5, 15)])]);
    insta::assert_snapshot!(lowered(&[version, length, field(48, vec![])]), @r"
    seq (7 bytes)
      [45..4f]
      [00..ff]#6
    ");
}

#[test]
fn nothing_left_is_no_match() {
    let none = field(
        8,
        vec![Allowed::AnyOf(vec![range(Order::Big, 4, 4)]), Allowed::NoneOf(vec![range(Order::Big, 0, 9)])],
    );
    assert_eq!(lowered(&[none]), Node::never());
}

#[test]
fn a_range_of_eight_bytes_is_small_in_either_order() {
    for (order, most) in [(Order::Big, 100), (Order::Little, 10_000)] {
        let range = range(order, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        let size = lowered(&[field(64, vec![Allowed::AnyOf(vec![range])])]).count();
        assert!(size <= most, "{order:?}: {size} nodes");
    }
    let little = range(Order::Little, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
    assert_eq!(lower(&[field(64, vec![Allowed::AnyOf(vec![little])])], 50), None);
}

fn any_test(bits: u8) -> impl Strategy<Value = Test> {
    let most = ones(u32::from(bits));
    let mask = prop_oneof![Just(u64::MAX), Just(most), (0..=most), (0..=most)];
    let order = if bits.is_multiple_of(8) { 0..2 } else { 0..1 };
    (order, mask, 0..=most, 0..=most, any::<bool>()).prop_map(|(order, mask, one, other, exact)| {
        let order = if order == 0 { Order::Big } else { Order::Little };
        let (first, last) = if exact { (one & mask, one & mask) } else { (one.min(other), one.max(other)) };
        Test { order, mask, first, last }
    })
}

fn any_field(bits: u8) -> impl Strategy<Value = Field> {
    let tests = || proptest::collection::vec(any_test(bits), 1..4);
    let allowed = prop_oneof![tests().prop_map(Allowed::AnyOf), tests().prop_map(Allowed::NoneOf)];
    proptest::collection::vec(allowed, 0..3).prop_map(move |all_of| field(bits, all_of))
}

/// Widths that fill whole bytes, with cuts anywhere.
fn any_fields() -> impl Strategy<Value = Vec<Field>> {
    (1_u8..5, proptest::collection::btree_set(1_u8..32, 0..4)).prop_flat_map(|(bytes, cuts)| {
        let total = bytes * 8;
        let ends: Vec<u8> = cuts.into_iter().filter(|cut| *cut < total).chain([total]).collect();
        let mut begin = 0;
        ends.into_iter()
            .map(|end| {
                let width = end - begin;
                begin = end;
                any_field(width)
            })
            .collect::<Vec<_>>()
    })
}

/// Bytes near the bounds of the tests, where mistakes are.
fn probes(fields: &[Field], seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let width: u32 = fields.iter().map(|field| u32::from(field.bits)).sum();
    (0..64)
        .map(|_| {
            let mut number: u128 = 0;
            for field in fields {
                let all: Vec<&Test> = field.all_of.iter().flat_map(tests).collect();
                let pick = random();
                let value = match all.get(usize::try_from(pick % 7).unwrap()) {
                    Some(test) => {
                        let value = if pick & 64 == 0 { test.first } else { test.last };
                        let value = value.wrapping_add(random() % 3).wrapping_sub(1);
                        match test.order {
                            Order::Big => value,
                            Order::Little => value.swap_bytes() >> (64 - u32::from(field.bits)),
                        }
                    }
                    None => random(),
                };
                number = number << field.bits | u128::from(value & ones(u32::from(field.bits)));
            }
            let bytes = (number << (128 - width)).to_be_bytes();
            bytes[..usize::try_from(width / 8).unwrap()].to_vec()
        })
        .collect()
}

proptest! {
    #![proptest_config(crate::scale::RT04_PATTERNS.cases())]

    #[test]
    fn rt04_fields_allow_the_same_bytes_as_their_definition(fields in any_fields(), seed in any::<u64>()) {
        let node = lowered(&fields);
        for bytes in probes(&fields, seed) {
            prop_assert_eq!(naive::matches(&node, &bytes), allows(&fields, &bytes), "{:02x?}\n{}", bytes, node);
        }
    }
}
