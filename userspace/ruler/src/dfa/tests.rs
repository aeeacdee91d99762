//! Automata: dumps of small ones, and for random rules the verdicts of the naive matcher from no more states than needed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::ir::{ByteSet, Node, arbitrary, arbitrary::Random, naive};

fn byte(byte: u8) -> Node {
    Node::Byte(ByteSet::of([byte]))
}

fn literal(text: &str) -> Node {
    Node::Seq(text.bytes().map(byte).collect())
}

/// `* text *`.
fn within(text: &str) -> Node {
    Node::Seq(vec![Node::any(), literal(text), Node::any()])
}

fn numbered(nodes: &[Node]) -> Vec<(RuleId, &Node)> {
    (0..).map(RuleId).zip(nodes).collect()
}

fn dfa(nodes: &[Node]) -> Dfa {
    let nfa = Nfa::of_rules(&numbered(nodes), 1 << 16).unwrap();
    Dfa::new(&nfa, &Limits::default()).unwrap()
}

fn first_match(nodes: &[Node], input: &[u8]) -> Option<RuleId> {
    numbered(nodes).into_iter().find(|(_, node)| naive::matches(node, input)).map(|(rule, _)| rule)
}

fn run<T: Table>(table: &T, input: &[u8]) -> Option<RuleId> {
    table.verdict(input.iter().fold(table.start(), |row, byte| table.step(row, *byte)))
}

#[test]
fn rt02_the_seeds_search_is_five_states() {
    // * 42 b:(byte 42) *
    let rule = Node::Seq(vec![Node::any(), byte(42), Node::Byte(ByteSet::ALL), byte(42), Node::any()]);
    insta::assert_snapshot!(dfa(&[rule]), @r"
    class 0 [00..29 2b..ff]
    class 1 [2a]
    0 none: 0→1 1→2
    1 none: 0→3 1→4
    2 none: 0→1 1→4
    3 start none, waits: 0→3 1→0
    4 rule 0, decided
    ");
}

#[test]
fn rt02_an_earlier_rule_that_matches_hides_later_ones() {
    insta::assert_snapshot!(dfa(&[within("ab"), within("b"), Node::any()]), @r"
    class 0 [00..60 63..ff]
    class 1 [61]
    class 2 [62]
    0 start rule 2: 0→0 1→1 2→3
    1 rule 2: 0→0 1→1 2→4
    2 rule 1: 0→3 1→2 2→4
    3 rule 1, waits: 0→3 1→2 2→3
    4 rule 0, decided
    ");
}

#[test]
fn rt02_whole_inputs_of_fixed_length_die_when_longer() {
    insta::assert_snapshot!(dfa(&[literal("ab"), Node::bytes(ByteSet::ALL, 2)]), @r"
    class 0 [00..60 63..ff]
    class 1 [61]
    class 2 [62]
    0 start none: 0→1 1→2 2→1
    1 none: 0..2→3
    2 none: 0..1→3 2→4
    3 rule 1: 0..2→5
    4 rule 0: 0..2→5
    5 none, dead
    ");
}

#[test]
fn rt02_bytes_that_do_not_matter_are_jumped_over() {
    // 1 byte#6 2 *
    let rule = Node::seq([byte(1), Node::bytes(ByteSet::ALL, 6), byte(2), Node::any()]);
    insta::assert_snapshot!(dfa(&[rule]), @r"
    class 0 [00 03..ff]
    class 1 [01]
    class 2 [02]
    0 start none: 0→9 1→5 2→9
    1 none: 0..2→2
    2 none: 0..2→3
    3 none: 0..2→4
    4 none: 0..1→9 2→8
    5 none, jump 6→4
    6 none, jump 5→4
    7 none, jump 4→4
    8 rule 0, decided
    9 none, dead
    ");
}

#[test]
fn rt02_bytes_that_go_round_in_a_circle_are_not() {
    // byte#1 (byte#6)#*
    let six = Node::bytes(ByteSet::ALL, 6);
    let round = Node::Repeat { body: Box::new(six), least: 0, most: None };
    let dfa = dfa(&[Node::seq([Node::Byte(ByteSet::ALL), round])]);
    assert_eq!((dfa.states(), dfa.skips.len()), (6, 0));
    assert_eq!(dfa.settled, 6);
}

#[test]
fn ends_of_counted_lengths_are_shared() {
    // hlen, then byte#(hlen*8+6), as a choice over 256 values.
    let arm = |value: u8| Node::Seq(vec![byte(value), Node::bytes(ByteSet::ALL, u32::from(value) * 8 + 6)]);
    let node = Node::Alt((0..=255).map(arm).collect());
    let nfa = Nfa::of_rules(&[(RuleId(0), &node)], 4_096).unwrap();
    assert_eq!(nfa.len(), 1 + 2_046 + 256 + 1);
    assert_eq!(Dfa::new(&nfa, &Limits::default()).unwrap().states(), 1 + 2_046 + 1 + 1);
}

#[test]
fn limits_are_kept_and_named() {
    let gap = Node::Seq(vec![Node::any(), byte(b'a'), Node::bytes(ByteSet::ALL, 20)]);
    let nfa = Nfa::of_rules(&[(RuleId(3), &gap)], 1_000).unwrap();
    let limits = Limits { states: 5_000, ..Limits::default() };
    let error = Dfa::new(&nfa, &limits).unwrap_err();
    assert_eq!(error, TooMany { states: 5_000, limit: 5_000, rules: vec![RuleId(3)] });
    for limits in [Limits { transitions: 1_000, ..limits }, Limits { work: 1_000, ..limits }] {
        assert!(Dfa::new(&nfa, &limits).unwrap_err().states < 5_000);
    }
    assert_eq!(Nfa::of_rules(&[(RuleId(3), &gap)], 10).unwrap_err().rules, [RuleId(3)]);
}

#[test]
fn a_table_that_does_not_fit_is_refused() {
    let long = dfa(&[Node::bytes(ByteSet::ALL, 65_534)]);
    assert_eq!((long.states(), long.cells()), (65_536, 65_536));
    let small = Small::new(&long).unwrap();
    let packet = vec![0; 65_535];
    assert_eq!(run(&small, &packet), None);
    assert_eq!(run(&small, &packet[1..]), Some(RuleId(0)));
    assert!(Small::new(&dfa(&[Node::seq([Node::bytes(ByteSet::ALL, 40_000), byte(0)])])).is_none());

    let full = dfa(&[Node::bytes(ByteSet::ALL, 2_046)]);
    assert_eq!(full.states(), WIDE_STATES);
    let wide = Wide::new(&full).unwrap();
    assert_eq!(run(&wide, &packet[..2_047]), None);
    assert_eq!(run(&wide, &packet[..2_046]), Some(RuleId(0)));
    assert!(Wide::new(&dfa(&[Node::bytes(ByteSet::ALL, 2_047)])).is_none());
}

/// How many states the smallest automaton has: those that the reachable states of another fall into, by Moore's rounds.
fn fewest_states(dfa: &Dfa) -> usize {
    let mut group: Vec<usize> =
        dfa.accepts.iter().map(|rule| rule.map_or(0, |rule| 1 + usize::from(rule.0))).collect();
    loop {
        let keys: Vec<(usize, Vec<usize>)> = (0..dfa.states())
            .map(|state| (group[state], dfa.row(state).iter().map(|next| group[*next as usize]).collect()))
            .collect();
        let distinct: BTreeSet<_> = keys.iter().collect();
        let count = distinct.len();
        let before = group.iter().collect::<BTreeSet<_>>().len();
        if count == before {
            return count;
        }
        let numbers: Vec<_> = distinct.into_iter().collect();
        group = keys.iter().map(|key| numbers.binary_search(&key).unwrap()).collect();
    }
}

#[track_caller]
fn check_shape(dfa: &Dfa) {
    assert_eq!(fewest_states(dfa), dfa.states(), "not minimal:\n{dfa}");
    for state in 0..dfa.states() {
        let stays = dfa.row(state).iter().all(|next| *next as usize == state);
        assert_eq!(stays, state >= dfa.settled as usize, "state {state} of\n{dfa}");
    }
    assert_eq!(dfa.skips.len(), (dfa.settled - dfa.special) as usize);
    for state in 0..dfa.settled as usize {
        let leads = |byte: &u8| dfa.row(state)[usize::from(dfa.classes.of(*byte))] as usize;
        let out: Vec<u8> = (0..=255).filter(|byte| leads(byte) != state).collect();
        let skip = state.checked_sub(dfa.special as usize).map(|special| dfa.skips[special]);
        let (bytes, to) = match skip {
            Some(Skip::Over { bytes, to }) => (bytes, to),
            waits => {
                let only = (out.len() == 1).then(|| Skip::Until(out[0]));
                assert_eq!(waits, only, "state {state} of\n{dfa}");
                continue;
            }
        };
        assert!(bytes >= 4);
        let ways: BTreeSet<usize> = dfa.row(state).iter().map(|next| *next as usize).collect();
        let end = (1..bytes).fold(ways, |from, _| {
            assert_eq!(from.len(), 1, "state {state} of\n{dfa}");
            from.iter().flat_map(|state| dfa.row(*state)).map(|next| *next as usize).collect()
        });
        assert_eq!(end, BTreeSet::from([to as usize]), "state {state} of\n{dfa}");
    }
    let columns: BTreeSet<Vec<u32>> = (0..dfa.classes.count())
        .map(|class| (0..dfa.states()).map(|state| dfa.row(state)[class]).collect())
        .collect();
    assert_eq!(columns.len(), dfa.classes.count(), "classes that nothing tells apart:\n{dfa}");
}

proptest! {
    #![proptest_config(crate::scale::RT04_PATTERNS.cases())]

    #[test]
    fn rt04_tables_give_the_verdicts_of_the_naive_matcher(
        nodes in proptest::collection::vec(arbitrary::node(), 1..4),
        seed in any::<u64>(),
    ) {
        let dfa = dfa(&nodes);
        check_shape(&dfa);
        let (wide, small, large) = (Wide::new(&dfa).unwrap(), Small::new(&dfa).unwrap(), Large::new(&dfa));
        let mut random = Random::new(seed);
        for node in &nodes {
            for input in arbitrary::inputs(node, 8, &mut random) {
                let expected = first_match(&nodes, &input);
                prop_assert_eq!(run(&wide, &input), expected, "{:?} by\n{}", input, dfa);
                prop_assert_eq!(run(&small, &input), expected, "{:?} by\n{}", input, dfa);
                prop_assert_eq!(run(&large, &input), expected, "{:?} by\n{}", input, dfa);
            }
        }
    }
}
