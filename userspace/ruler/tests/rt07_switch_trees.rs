//! Switch trees lead every value where a search through the cases does, and the default is promoted.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod scale;

use proptest::prelude::*;
use ruler::dag::{
    Case, NodeId, Probe,
    condition::{Place, Reading},
    switch::{self, Profile, Tree},
};

fn place(bytes: u8, mask: u64) -> Place {
    Place { offset: 0, bytes, reading: Reading::Big, mask }
}

fn byte_cases(values: &[u64]) -> Probe {
    let case = |(to, value): (u16, &u64)| Case { first: *value, last: *value, to: NodeId(to) };
    Probe { place: place(1, 0xff), cases: (1..).zip(values).map(case).collect(), default: NodeId(0) }
}

/// Case by case.
fn naive(probe: &Probe, value: u64) -> NodeId {
    let case = probe.cases.iter().find(|case| case.first <= value && value <= case.last);
    case.map_or(probe.default, |case| case.to)
}

#[track_caller]
fn agrees(probe: &Probe, tree: &Tree, values: impl IntoIterator<Item = u64>) {
    for value in values {
        let value = value & probe.place.mask;
        assert_eq!(tree.find(value).0, naive(probe, value), "{value:#x} in {probe:?}: {tree:?}");
    }
}

#[test]
fn rt07_the_protocols_of_the_classic_example_are_told_by_bit_5() {
    let probe = byte_cases(&[47, 110, 112, 115, 117, 119]);
    let tree = switch::cheapest(&probe, &Profile::EQUAL);
    assert!(matches!(tree, Tree::Bit { bit: 0x20, .. }), "{tree:?}");
    for value in (0..256).filter(|value| value & 0x20 == 0) {
        assert_eq!(tree.find(value), (probe.default, 1), "{value}");
    }
    agrees(&probe, &tree, 0..256);
    agrees(&probe, &switch::compare_tree(&probe), 0..256);
}

#[test]
fn rt07_a_profile_can_turn_the_choice() {
    let probe = byte_cases(&[6, 17, 1, 58]);
    let mut sorted = probe.clone();
    sorted.cases.sort_by_key(|case| case.first);
    let equal = switch::cheapest(&sorted, &Profile::EQUAL);
    let mut weights = [0; 256];
    weights[1] = 1_000;
    let ping = switch::cheapest(&sorted, &Profile::new(weights));
    assert_ne!(equal, ping);
    assert_eq!(ping.find(1).1, 1, "whoever always comes is found at once: {ping:?}");
    agrees(&sorted, &equal, 0..256);
    agrees(&sorted, &ping, 0..256);
}

/// Cases of a place, from random borders.
fn probes() -> impl Strategy<Value = Probe> {
    let places = prop_oneof![
        Just(place(1, 0xff)),
        Just(place(1, 0x0f)),
        Just(place(1, 0xf0)),
        Just(place(1, 0xa5)),
        Just(place(2, 0x03f0)),
        Just(place(2, 0xffff)),
        Just(place(4, 0xffff_ffff)),
        Just(place(8, u64::MAX)),
    ];
    let borders = prop::collection::vec((any::<u64>(), 1..6_u16, any::<bool>()), 0..20);
    (places, borders, any::<bool>()).prop_map(|(place, borders, narrow)| {
        let mut first: Vec<u64> = borders.iter().map(|(value, ..)| value & place.mask).collect();
        if narrow {
            first.iter_mut().for_each(|value| *value &= 0x7f);
        }
        first.sort_unstable();
        first.dedup();
        let ends = first.iter().skip(1).map(|next| next - 1).chain([place.mask]);
        let case = |((first, last), (_, to, single)): ((&u64, u64), &(u64, u16, bool))| Case {
            first: *first,
            last: if *single { *first } else { last },
            to: NodeId(*to),
        };
        let cases = first.iter().zip(ends).zip(&borders).map(case).collect();
        Probe { place, cases, default: NodeId(0) }
    })
}

fn profiles() -> impl Strategy<Value = Profile> {
    prop::collection::vec(0..1_000_u32, 256).prop_map(|weights| Profile::new(weights.try_into().unwrap()))
}

/// Values that matter, and some that do not.
fn values(probe: &Probe, more: &[u64]) -> Vec<u64> {
    let borders = probe.cases.iter().flat_map(|case| [case.first, case.last]);
    let near = borders.flat_map(|value| [value.wrapping_sub(1), value, value.wrapping_add(1)]);
    near.chain(more.iter().copied()).chain(0..0x400).collect()
}

proptest! {
    #![proptest_config(scale::RT07_PROBES.cases())]

    #[test]
    fn rt07_every_tree_is_a_linear_search(probe in probes(), profile in profiles(), more in prop::collection::vec(any::<u64>(), 16)) {
        let values = values(&probe, &more);
        let best = switch::cheapest(&probe, &profile);
        agrees(&probe, &best, values.iter().copied());
        let compares = switch::compare_tree(&probe);
        agrees(&probe, &compares, values.iter().copied());
        if probe.place.mask.count_ones() <= switch::BIT_TREE_BITS_MAX {
            let bits = switch::bit_tree(&probe);
            agrees(&probe, &bits, values.iter().copied());
            let cost = |tree: &Tree| (tree.tests(probe.place, &profile), tree.instructions());
            prop_assert!(cost(&best) <= cost(&bits) && cost(&best) <= cost(&compares));
        }
    }
}
