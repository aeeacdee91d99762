//! The ladder: rules made to land on each rung, and what happens when none is left.

use super::super::tests::{expected, judge, numbered, only};
use super::*;
use crate::ir::{ByteSet, arbitrary::Random};

fn literal(random: &mut Random, letters: usize) -> Node {
    let mut byte = || Node::Byte(ByteSet::of([b'a' + u8::try_from(random.below(letters)).unwrap()]));
    Node::Seq((0..6).map(|_| byte()).collect())
}

fn signatures(count: usize, letters: usize) -> Vec<Node> {
    let mut random = Random::new(3);
    (0..count).map(|_| Node::Seq(vec![Node::any(), literal(&mut random, letters), Node::any()])).collect()
}

fn gap(bytes: u32) -> Node {
    Node::Seq(vec![Node::any(), Node::Byte(ByteSet::of([b'a'])), Node::bytes(ByteSet::ALL, bytes)])
}

#[track_caller]
fn check(nodes: &[Node], rung: Rung) -> Report {
    let (engine, report) = build(&numbered(nodes), &Limits::default()).unwrap();
    assert_eq!(report.rung, rung, "{report:?}");
    let mut random = Random::new(5);
    let packets: Vec<Vec<u8>> = (0..40)
        .map(|_| (0..random.below(60)).map(|_| b'a' + u8::try_from(random.below(3)).unwrap()).collect())
        .collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    assert_eq!(judge(&engine, &packets), expected(nodes, &packets));
    report
}

#[test]
fn rt9_few_states_make_a_small_table() {
    let report = check(&signatures(4, 3), Rung::Small);
    insta::assert_debug_snapshot!(report, @r"
    Report {
        rung: Small,
        tables: [
            Size {
                rules: 4,
                states: 54,
                classes: 4,
                cells: 216,
                bytes: 131072,
            },
        ],
        given_up: None,
    }
    ");
}

#[test]
fn rt9_many_states_make_a_large_table() {
    assert!(check(&signatures(60, 26), Rung::Large).tables[0].cells > SMALL_CELLS);
}

#[test]
fn rt9_rules_that_multiply_are_split_into_groups() {
    let gaps = |byte: u8| {
        let mark = || Node::Byte(ByteSet::of([byte]));
        Node::Seq(vec![Node::any(), mark(), Node::bytes(ByteSet::ALL, 10), mark(), Node::any()])
    };
    let report = check(&[gaps(b'a'), gaps(b'b')], Rung::Groups);
    assert_eq!(report.tables.len(), 2);
    assert!(report.given_up.is_some());
}

#[test]
fn rt9_one_rule_that_explodes_is_made_on_demand() {
    let report = check(&[gap(30)], Rung::Lazy);
    assert_eq!(report.given_up.unwrap().rules, [RuleId(0)]);
    assert!(report.rung.is_degraded() && !Rung::Groups.is_degraded());
}

#[test]
fn rt9_simulation_alone_must_be_allowed() {
    let nodes = [gap(30)];
    let limits = Limits { slow: Slow::Refused, ..only(Rung::Simulation) };
    assert_eq!(build(&numbered(&nodes), &limits).unwrap_err().rules, [RuleId(0)]);
    let limits = Limits { slow: Slow::Allowed, ..limits };
    assert_eq!(build(&numbered(&nodes), &limits).unwrap().1.rung, Rung::Simulation);
    let limits = Limits { simulated_states: 20, ..limits };
    assert!(build(&numbered(&nodes), &limits).is_err());
}

#[test]
fn rt9_groups_keep_the_order_of_rules() {
    let nodes = signatures(9, 2);
    let limits = Limits { large_cells: 510, ..only(Rung::Groups) };
    let limits = Limits { small_cells: 300, ..limits };
    let (engine, report) = build(&numbered(&nodes), &limits).unwrap();
    assert_eq!(report.rung, Rung::Groups, "{report:?}");
    let mut random = Random::new(11);
    let packets: Vec<Vec<u8>> =
        (0..200).map(|_| (0..random.below(90)).map(|_| b"ab"[random.below(2)]).collect()).collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    assert_eq!(judge(&engine, &packets), expected(&nodes, &packets));
}
