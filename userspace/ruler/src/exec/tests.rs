//! Every engine gives the verdicts of the naive matcher, for random rules and batches of packets that nearly match.

use proptest::prelude::*;

use super::engine::Engine;
use super::ladder::{self, Limits, Rung, Screens, Slow};
use super::{lanes, one};
use crate::dfa::{Dfa, Large, Nfa, Small, Table, Wide};
use crate::ir::{Node, arbitrary, arbitrary::Random, naive};
use crate::resolved::RuleId;

pub(super) fn numbered(nodes: &[Node]) -> Vec<(RuleId, &Node)> {
    (0..).map(RuleId).zip(nodes).collect()
}

pub(super) fn expected(nodes: &[Node], packets: &[&[u8]]) -> Vec<Option<RuleId>> {
    let first = |packet: &&[u8]| numbered(nodes).into_iter().find(|(_, node)| naive::matches(node, packet));
    packets.iter().map(|packet| first(packet).map(|(rule, _)| rule)).collect()
}

/// Limits that leave but one kind of engine, without a search before it.
pub(super) fn only(rung: Rung) -> Limits {
    let at_most = |last: Rung, limit: usize| if rung <= last { limit } else { 0 };
    let limits = Limits::default();
    let nothing = crate::dfa::Limits { states: 0, transitions: 0, work: 0 };
    Limits {
        wide_states: if rung == Rung::Large { 0 } else { limits.wide_states },
        small_cells: if rung == Rung::Large { 0 } else { limits.small_cells },
        dfa: crate::dfa::Limits { states: at_most(Rung::Groups, limits.dfa.states), ..limits.dfa },
        direct: if rung == Rung::Screen { nothing } else { limits.direct },
        screens: if rung == Rung::Screen { Screens::Allowed } else { Screens::Refused },
        pieces: 0,
        groups: at_most(Rung::Groups, limits.groups),
        arena_bytes: at_most(Rung::Lazy, limits.arena_bytes),
        slow: Slow::Allowed,
        ..limits
    }
}

pub(super) fn judge(engine: &Engine, packets: &[&[u8]]) -> Vec<Option<RuleId>> {
    // What stands there before must not matter.
    let mut verdicts = vec![Some(RuleId(999)); packets.len()];
    engine.judge(&mut engine.scratch(), packets, &mut verdicts);
    verdicts
}

fn in_lanes<T: Table>(table: &T, packets: &[&[u8]]) -> Vec<Option<RuleId>> {
    let mut verdicts = vec![Some(RuleId(999)); packets.len()];
    lanes::judge(table, packets, &mut verdicts);
    verdicts
}

fn one_by_one<T: Table>(table: &T, packets: &[&[u8]]) -> Vec<Option<RuleId>> {
    packets.iter().map(|packet| one::verdict(table, packet)).collect()
}

proptest! {
    #![proptest_config(crate::scale::RT04_PATTERNS.cases())]

    #[test]
    fn rt04_all_engines_give_the_verdicts_of_the_naive_matcher(
        nodes in proptest::collection::vec(arbitrary::node(), 1..5),
        seed in any::<u64>(),
        each in 1_usize..24,
    ) {
        let mut random = Random::new(seed);
        let packets: Vec<Vec<u8>> =
            nodes.iter().flat_map(|node| arbitrary::inputs(node, each, &mut random)).collect();
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let expected = expected(&nodes, &packets);
        let nfa = Nfa::of_rules(&numbered(&nodes), 1 << 16).unwrap();
        let dfa = Dfa::new(&nfa, &crate::dfa::Limits::default()).unwrap();
        let (wide, small, large) = (Wide::new(&dfa).unwrap(), Small::new(&dfa).unwrap(), Large::new(&dfa));
        prop_assert_eq!(&one_by_one(&wide, &packets), &expected);
        prop_assert_eq!(&in_lanes(&wide, &packets), &expected);
        prop_assert_eq!(&one_by_one(&small, &packets), &expected);
        prop_assert_eq!(&one_by_one(&large, &packets), &expected);
        prop_assert_eq!(&in_lanes(&small, &packets), &expected);
        prop_assert_eq!(&in_lanes(&large, &packets), &expected);
        for rung in [Rung::Small, Rung::Large, Rung::Lazy, Rung::Simulation] {
            let (engine, report) = ladder::build(&numbered(&nodes), &only(rung)).unwrap();
            prop_assert_eq!(report.rung, rung);
            prop_assert_eq!(&judge(&engine, &packets), &expected, "{:?}", rung);
        }
        let (engine, report) = ladder::build(&numbered(&nodes), &only(Rung::Screen)).unwrap();
        let asked = nodes.iter().take_while(|node| !node.matches_all()).count();
        prop_assert_eq!(report.rung == Rung::Screen, asked > 1);
        prop_assert_eq!(&judge(&engine, &packets), &expected, "screened");
    }

    #[test]
    fn rt04_lanes_agree_with_one_lane_whatever_the_lengths(
        node in arbitrary::node(),
        lengths in proptest::collection::vec(prop_oneof![0_usize..9, 0_usize..200, 1_000_usize..4_000], 0..150),
        seed in any::<u64>(),
    ) {
        let nfa = Nfa::of_rules(&[(RuleId(0), &node)], 1 << 16).unwrap();
        let dfa = Dfa::new(&nfa, &crate::dfa::Limits::default()).unwrap();
        let (wide, small) = (Wide::new(&dfa).unwrap(), Small::new(&dfa).unwrap());
        let mut random = Random::new(seed);
        let packets: Vec<Vec<u8>> =
            lengths.iter().map(|length| (0..*length).map(|_| b"abcd"[random.below(4)]).collect()).collect();
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let expected = one_by_one(&small, &packets);
        prop_assert_eq!(&in_lanes(&small, &packets), &expected);
        prop_assert_eq!(&in_lanes(&wide, &packets), &expected);
    }

    #[test]
    fn rt04_a_search_before_the_engine_changes_no_verdict(
        nodes in proptest::collection::vec(
            (arbitrary::node(), "[abc]{3,6}").prop_map(|(node, text)| {
                let text = text.bytes().map(|byte| Node::Byte(crate::ir::ByteSet::of([byte])));
                Node::seq([Node::any()].into_iter().chain(text).chain([node]))
            }),
            1..5,
        ),
        otherwise in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let nodes: Vec<Node> = nodes.into_iter().chain(otherwise.then(Node::any)).collect();
        let mut random = Random::new(seed);
        let packets: Vec<Vec<u8>> =
            nodes.iter().flat_map(|node| arbitrary::inputs(node, 30, &mut random)).collect();
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let (engine, report) = ladder::build(&numbered(&nodes), &Limits::default()).unwrap();
        prop_assert!(report.pieces > 0);
        prop_assert_eq!(judge(&engine, &packets), expected(&nodes, &packets));
    }

    #[test]
    fn rt04_waiting_changes_no_verdict(
        texts in proptest::collection::vec("[ab]{1,2}", 1..3),
        open in any::<bool>(),
        lengths in proptest::collection::vec((0_usize..120, 1_usize..60), 1..20),
        seed in any::<u64>(),
    ) {
        let text = |text: String| {
            let text = text.into_bytes().into_iter().map(|byte| Node::Byte(crate::ir::ByteSet::of([byte])));
            Node::seq([Node::any()].into_iter().chain(text))
        };
        let node = Node::seq(texts.into_iter().map(text).chain(open.then(Node::any)));
        let mut random = Random::new(seed);
        let mut packet = |(length, rare): (usize, usize)| -> Vec<u8> {
            (0..length).map(|_| if random.below(rare) == 0 { b"ab"[random.below(2)] } else { b'c' }).collect()
        };
        let packets: Vec<Vec<u8>> = lengths.into_iter().map(&mut packet).collect();
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let nfa = Nfa::of_rules(&[(RuleId(0), &node)], 1 << 16).unwrap();
        let wide = crate::dfa::Wide::new(&Dfa::new(&nfa, &crate::dfa::Limits::default()).unwrap()).unwrap();
        let expected = expected(std::slice::from_ref(&node), &packets);
        prop_assert_eq!(&one_by_one(&wide, &packets), &expected);
        prop_assert_eq!(&in_lanes(&wide, &packets), &expected);
    }

    #[test]
    fn rt04_jumps_change_no_verdict(
        parts in proptest::collection::vec((0_u32..40, "[abc]{1,2}"), 1..4),
        open in any::<bool>(),
        lengths in proptest::collection::vec(0_usize..140, 1..40),
        seed in any::<u64>(),
    ) {
        let part = |(skip, text): (u32, String)| {
            let text = text.into_bytes().into_iter().map(|byte| Node::Byte(crate::ir::ByteSet::of([byte, b'a'])));
            Node::seq([Node::bytes(crate::ir::ByteSet::ALL, skip)].into_iter().chain(text))
        };
        let node = Node::seq(parts.into_iter().map(part).chain(open.then(Node::any)));
        let mut random = Random::new(seed);
        let packets: Vec<Vec<u8>> =
            lengths.iter().map(|length| (0..*length).map(|_| b"aaab"[random.below(4)]).collect()).collect();
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        let nfa = Nfa::of_rules(&[(RuleId(0), &node)], 1 << 16).unwrap();
        let small = Small::new(&Dfa::new(&nfa, &crate::dfa::Limits::default()).unwrap()).unwrap();
        let expected = expected(std::slice::from_ref(&node), &packets);
        prop_assert_eq!(&one_by_one(&small, &packets), &expected);
        prop_assert_eq!(&in_lanes(&small, &packets), &expected);
    }
}
