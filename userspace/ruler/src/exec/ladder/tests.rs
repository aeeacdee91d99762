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
fn only_table(engine: &Engine) -> &Tables {
    match engine.kind() {
        Kind::Table(table) => table,
        other => panic!("{other:?}"),
    }
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
fn rt09_few_states_make_a_small_table() {
    let report = check(&signatures(4, 3), Rung::Small);
    insta::assert_debug_snapshot!(report, @r"
    Report {
        rung: Small,
        pieces: 4,
        tables: [
            Size {
                rules: 4,
                states: 54,
                classes: 4,
                cells: 216,
                bytes: 27648,
            },
        ],
        given_up: None,
    }
    ");
}

#[test]
fn rt09_many_states_make_a_large_table() {
    let long = Node::seq([Node::bytes(ByteSet::ALL, 40_000), Node::Byte(ByteSet::of([0]))]);
    assert!(check(&[long], Rung::Large).tables[0].cells > SMALL_CELLS);
}

#[test]
fn rt09_few_states_with_many_classes_make_a_table_with_a_column_a_byte() {
    let text =
        |first: u8| Node::Seq((first..=first + 15).map(|byte| Node::Byte(ByteSet::of([byte]))).collect());
    let nodes = (0..16).map(|text_index| text(16 * text_index));
    let nodes = [Node::Seq(vec![Node::any(), Node::Alt(nodes.collect()), Node::any()])];
    let (engine, report) = build(&numbered(&nodes), &Limits::default()).unwrap();
    assert!(matches!(only_table(&engine), Tables::Wide(_)));
    let limits = Limits { wide_states: 0, ..Limits::default() };
    let (engine, other) = build(&numbered(&nodes), &limits).unwrap();
    assert!(matches!(only_table(&engine), Tables::Small(_)));
    assert_eq!((report.rung, other.rung), (Rung::Small, Rung::Small));
}

#[test]
fn rt09_many_signatures_are_screened() {
    let mut random = Random::new(17);
    let mut text = || {
        Node::Seq(
            (0..4)
                .map(|_| Node::Byte(ByteSet::of([b'a' + u8::try_from(random.below(4)).unwrap()])))
                .collect(),
        )
    };
    let mut nodes: Vec<Node> = (0..24)
        .map(|index| match index % 8 {
            6 => Node::Seq(vec![Node::any(), text()]),
            7 => Node::Seq(vec![text(), Node::any()]),
            _ => Node::Seq(vec![Node::any(), text(), Node::any()]),
        })
        .collect();
    nodes.push(Node::any());
    // What comes after the rule for all others is never asked for.
    nodes.push(text());
    let limits =
        Limits { direct: dfa::Limits { states: 100, ..Limits::default().direct }, ..Limits::default() };
    let (engine, report) = build(&numbered(&nodes), &limits).unwrap();
    assert_eq!(report.rung, Rung::Screen, "{report:?}");
    assert!(report.tables.iter().all(|table| table.rules == 24 && table.states < 120), "{report:?}");
    assert_eq!(report.given_up.unwrap().states, 100);
    let packets: Vec<Vec<u8>> = (0..400)
        .map(|_| (0..random.below(40)).map(|_| b'a' + u8::try_from(random.below(4)).unwrap()).collect())
        .collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let verdicts = judge(&engine, &packets);
    assert_eq!(verdicts, expected(&nodes, &packets));
    let distinct: std::collections::BTreeSet<_> = verdicts.into_iter().collect();
    assert!(distinct.len() > 12, "{distinct:?}");
}

#[test]
fn rt09_a_thousand_signatures_are_no_explosion() {
    let mut nodes = signatures(1_000, 26);
    nodes.push(Node::any());
    let (_, report) = build(&numbered(&nodes), &Limits::default()).unwrap();
    assert_eq!(report.rung, Rung::Screen);
    assert!(report.tables[1].states < 6_000, "{report:?}");
}

#[test]
fn rt09_rules_that_multiply_are_split_into_groups() {
    let gaps = |byte: u8| {
        let mark = || Node::Byte(ByteSet::of([byte]));
        Node::Seq(vec![Node::any(), mark(), Node::bytes(ByteSet::ALL, 10), mark(), Node::any()])
    };
    let report = check(&[gaps(b'a'), gaps(b'b')], Rung::Groups);
    assert_eq!(report.tables.len(), 2);
    assert!(report.given_up.is_some());
}

#[test]
fn rt09_one_rule_that_explodes_is_made_on_demand() {
    let report = check(&[gap(30)], Rung::Lazy);
    assert_eq!(report.given_up.unwrap().rules, [RuleId(0)]);
    assert!(report.rung.is_degraded() && !Rung::Groups.is_degraded());
}

#[test]
fn rt09_simulation_alone_must_be_allowed() {
    let nodes = [gap(30)];
    let limits = Limits { slow: Slow::Refused, ..only(Rung::Simulation) };
    assert_eq!(build(&numbered(&nodes), &limits).unwrap_err().rules, [RuleId(0)]);
    let limits = Limits { slow: Slow::Allowed, ..limits };
    assert_eq!(build(&numbered(&nodes), &limits).unwrap().1.rung, Rung::Simulation);
    let limits = Limits { simulated_states: 20, ..limits };
    assert!(build(&numbered(&nodes), &limits).is_err());
}

#[test]
fn rt09_groups_keep_the_order_of_rules() {
    let nodes = signatures(9, 2);
    let limits = Limits { large_cells: 510, ..only(Rung::Groups) };
    let limits = Limits { wide_states: 0, small_cells: 300, ..limits };
    let (engine, report) = build(&numbered(&nodes), &limits).unwrap();
    assert_eq!(report.rung, Rung::Groups, "{report:?}");
    let mut random = Random::new(11);
    let packets: Vec<Vec<u8>> =
        (0..200).map(|_| (0..random.below(90)).map(|_| b"ab"[random.below(2)]).collect()).collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    assert_eq!(judge(&engine, &packets), expected(&nodes, &packets));
}
