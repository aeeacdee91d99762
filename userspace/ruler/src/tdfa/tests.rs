//! Labels where the naive matcher finds them, by every method; and those of the published examples.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::bundle::Bundle;
use crate::dag::{Dag, Limits as DagLimits, PathId, paths::Rest};
use crate::diagnostic::Severity;
use crate::ir::{self, ByteSet, arbitrary, arbitrary::Random, naive};
use crate::resolved::{Filter, LabelId};

/// Limits that leave nothing but simulation.
const SIMULATED: Limits = Limits { states: 0, registers: 0, work: 0, nfa_states: 1 << 16 };

const S5: &str = "filter byte42 * 42 b:(byte 42) * => b;";
const HTTP_ONLY: &str = "include \"layouts.rli\"\nfilter http_only
  e:Ethernet_IPv4 i:IPv4_TCP t:TCP with [dest=80~2] req:((\"GET \" | \"POST \" | \"HEAD \") * hex\"0d 0a\") *
    => e i with [len=len(i, t, req), csum=ipv4_csum()] t with [csum=tcp_csum(i)] req class 80;";

fn resolved(source: &str) -> Filter {
    let (mut filters, found) = crate::resolve(&Bundle::new("a.rl", source));
    assert!(found.iter().all(|found| found.code.severity() == Severity::Warning), "{found:?}");
    filters.remove(0)
}

fn lowered(source: &str) -> Node {
    ir::lower(&resolved(source).rules[0].pattern).unwrap()
}

/// What the first header path of the first rule leaves.
fn rest(filter: &Filter) -> Node {
    let dag = Dag::build(filter, &DagLimits::default());
    let Rest::Pattern(rest) = &dag.path(PathId(0)).rest else { panic!("{}", dag.paths_text()) };
    ir::lower(rest).unwrap()
}

fn tags(node: &Node) -> BTreeSet<Tag> {
    match node {
        Node::Byte(_) => BTreeSet::new(),
        Node::Tag(tag) => BTreeSet::from([*tag]),
        Node::Seq(parts) | Node::Alt(parts) => parts.iter().flat_map(tags).collect(),
        Node::Repeat { body, .. } => tags(body),
    }
}

/// A pattern with each method that can find its labels.
struct Pair {
    labels: [Labels; 2],
    candidates: [Candidate; 2],
    scratch: Scratch,
}

impl Pair {
    fn new(node: &Node) -> Self {
        let limits = [Limits::default(), SIMULATED];
        let pair = Self {
            labels: limits.map(|limits| Labels::new(node, &limits).unwrap()),
            candidates: limits.map(|limits| Candidate::new(node, &limits).unwrap()),
            scratch: Scratch::default(),
        };
        assert!(
            matches!(pair.candidates[0].method(), Method::Tdfa { .. }),
            "{:?}",
            pair.candidates[0].method()
        );
        assert!(matches!(pair.candidates[1].method(), Method::Simulation(_)));
        pair
    }

    /// Marks of a packet of which the pattern has all but the first bytes, by each method.
    fn find(&mut self, packet: &[u8], from: usize) -> Option<Marks> {
        let unset = || {
            let mut marks = Marks::new(32);
            // What stood there before must not matter.
            (0..24).for_each(|label| marks.set(Tag::Begin(LabelId(label)), Some(77)));
            marks
        };
        let [first, second] = &self.candidates;
        let mut marks = unset();
        let matches = first.try_find(&mut self.scratch, packet, from, &mut marks);
        if !matches {
            assert_eq!(marks, unset());
        }
        let mut others = unset();
        assert_eq!(second.try_find(&mut self.scratch, packet, from, &mut others), matches);
        assert_eq!(others, marks, "simulated");
        for labels in self.labels.iter().filter(|_| matches) {
            let mut found = unset();
            labels.find(&mut self.scratch, packet, from, &mut found);
            assert_eq!(found, marks, "{:?}", labels.method());
        }
        matches.then_some(marks)
    }
}

/// Whether all methods find what the naive matcher finds.
#[track_caller]
fn check(node: &Node, pair: &mut Pair, input: &[u8]) -> bool {
    let expected = naive::find(node, input);
    let packet = [b"abc", input].concat();
    let found = pair.find(&packet, 3);
    assert_eq!(found.is_some(), expected.is_some(), "{input:?} by\n{node}");
    if let Some((found, expected)) = found.as_ref().zip(expected) {
        for tag in tags(node) {
            let expected = expected.get(&tag).map(|at| at + 3);
            assert_eq!(found.get(tag), expected, "{tag} in {input:?} by\n{node}");
        }
    }
    found.is_some()
}

#[test]
fn rt01_s5_takes_the_leftmost_shortest_match() {
    let node = lowered(S5);
    let mut pair = Pair::new(&node);
    assert_eq!(pair.labels[0].method(), Method::Tdfa { states: 6, registers: 1 });
    for (packet, label) in [
        (&[0x01, 0x2a, 0x07, 0x2a, 0x09][..], Some(2..4)),
        (&[0x2a, 0x2a, 0x2a], Some(1..3)),
        (&[0x2a, 0x01, 0x02, 0x2a, 0x05, 0x2a], Some(4..6)),
        (&[0x2a, 0x2a], None),
    ] {
        check(&node, &mut pair, packet);
        let found = pair.find(packet, 0).and_then(|marks| marks.range(LabelId(0)));
        assert_eq!(found, label, "{packet:02x?}");
    }
}

/// An HTTP request in TCP in IPv4, with so many words of options in both headers.
fn request(ip_options: u8, tcp_options: u8, text: &[u8]) -> Vec<u8> {
    let mut packet = vec![2; 12];
    packet.extend([8, 0, 0x45 + ip_options, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.resize(packet.len() + 4 * usize::from(ip_options), 0x0d);
    packet.extend([0x80, 1, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, (5 + tcp_options) << 4, 0, 0, 0, 0, 0, 0, 0]);
    packet.resize(packet.len() + 4 * usize::from(tcp_options), 0x0a);
    packet.extend(text);
    packet
}

#[test]
fn rt01_the_request_line_ends_at_the_first_line_end() {
    let filter = resolved(HTTP_ONLY);
    let [e, i, t, req] = ["e", "i", "t", "req"]
        .map(|name| filter.rules[0].labels.iter().position(|label| label.name == name).unwrap())
        .map(|label| LabelId(u16::try_from(label).unwrap()));
    let node = lowered(HTTP_ONLY);
    let mut pair = Pair::new(&node);
    for (ip, tcp) in [(0, 0), (3, 10), (10, 1)] {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let packet = request(ip, tcp, text);
        assert!(check(&node, &mut pair, &packet));
        let marks = pair.find(&packet, 0).unwrap();
        let headers = packet.len() - text.len();
        assert_eq!(marks.range(e), Some(0..14));
        assert_eq!(marks.range(i), Some(14..34 + 4 * usize::from(ip)));
        assert_eq!(marks.range(t), Some(34 + 4 * usize::from(ip)..headers));
        assert_eq!(marks.range(req), Some(headers..headers + 16));
        assert!(!check(&node, &mut pair, &request(ip, tcp, b"GET / HTTP/1.1\r")));
        assert!(!check(&node, &mut pair, &request(ip, tcp, b"PUT / HTTP/1.1\r\n")));
    }
}

#[test]
fn rt02_labels_as_text_and_graph() {
    let labels = Labels::new(&lowered(S5), &Limits::default()).unwrap();
    insta::assert_snapshot!(labels, @r"
    <0 @0-2
    0> @0
    class 0 [00..29 2b..ff]
    class 1 [2a]
    0 start none: 0→0 1→1
    1 none: 0→2 1→3
    2 none: 0→0 1→4
    3 none: 0→2 1→4
    4 match @0=here: 0..1→5 [r0=here]
    5 match @0=r0, settled
    ");
    insta::assert_snapshot!(labels.dot("s").unwrap(), @r#"
    s0 [label="0 start none:"];
    s0 -> s0 [label="0"];
    s0 -> s1 [label="1"];
    s1 [label="1 none:"];
    s1 -> s2 [label="0"];
    s1 -> s3 [label="1"];
    s2 [label="2 none:"];
    s2 -> s0 [label="0"];
    s2 -> s4 [label="1"];
    s3 [label="3 none:"];
    s3 -> s2 [label="0"];
    s3 -> s4 [label="1"];
    s4 [label="4 match @0=here:", peripheries=2];
    s4 -> s5 [label="0..1 [r0=here]"];
    s5 [label="5 match @0=r0, settled", peripheries=2];
    "#);
    let labels = Labels::new(&rest(&resolved(HTTP_ONLY)), &Limits::default()).unwrap();
    insta::assert_snapshot!(labels, @r"
    <3 start+0
    3> @0
    class 0 [00..09 0b..0c 0e..ff]
    class 1 [0a]
    class 2 [0d]
    0 start none: 0..1→0 2→1
    1 none: 0→0 1→2 2→1
    2 match @0=here: 0..2→3 [r0=here]
    3 match @0=r0, settled
    ");
    // 0:byte (1:a | b #*) c: what is not on the way taken is unset, and no label moves another.
    let byte = |byte: u8| Node::Byte(ByteSet::of([byte]));
    let tag = Node::Tag;
    let arm = [tag(Tag::Begin(LabelId(1))), byte(b'a'), tag(Tag::End(LabelId(1)))];
    let others = Node::Repeat { body: Box::new(byte(b'b')), least: 0, most: None };
    let node = Node::seq([
        tag(Tag::Begin(LabelId(0))),
        Node::Byte(ByteSet::ALL),
        tag(Tag::End(LabelId(0))),
        Node::alt([Node::seq(arm), others]),
        byte(b'c'),
    ]);
    insta::assert_snapshot!(Labels::new(&node, &Limits::default()).unwrap(), @r"
    <0 start+0
    <1 @0-1
    0> start+1
    1> @0
    class 0 [00..60 64..ff]
    class 1 [61]
    class 2 [62]
    class 3 [63]
    0 start none: 0..3→1
    1 none: 0→6 1→2 2→3 3→4
    2 none: 0..2→6 3→5 [r0=here]
    3 none: 0..1→6 2→3 3→4
    4 match @0 unset: 0..3→6
    5 match @0=r0: 0..3→6
    6 none, settled
    ");
    insta::assert_snapshot!(Labels::new(&node, &SIMULATED).unwrap(), @r"
    <0 start+0
    <1 @0-1
    0> start+1
    1> @0
    simulated: 1 states or more (limit 0)
    rule 0 starts at 7
    0 rule 0
    1 [63] → 0
    2 <0 → 1
    3 [61] → 2
    4 → 1 | 5
    5 [62] → 4
    6 → 3 | 4
    7 [00..ff] → 6
    ");
    assert_eq!(Labels::new(&node, &SIMULATED).unwrap().dot("s"), None);
}

#[test]
fn a_rest_has_the_end_of_a_label_that_began_before_it() {
    let filter = resolved(HTTP_ONLY);
    let labels = Labels::new(&rest(&filter), &Limits::default()).unwrap();
    assert_eq!(labels.method(), Method::Tdfa { states: 4, registers: 1 });
    let req = filter.rules[0].labels.iter().position(|label| label.name == "req").unwrap();
    let req = LabelId(u16::try_from(req).unwrap());
    let mut marks = Marks::new(filter.rules[0].labels.len());
    let request = b"----POST /x\r\nab\r\n";
    labels.find(&mut Scratch::default(), request, 9, &mut marks);
    marks.set(Tag::Begin(req), Some(4));
    assert_eq!(marks.range(req), Some(4..13));
}

#[test]
fn limits_decide_the_method() {
    // * 0:(a byte#8) *
    let a = Node::Byte(ByteSet::of([b'a']));
    let label = |body: Vec<Node>| {
        let tags = [Node::Tag(Tag::Begin(LabelId(0))), Node::Tag(Tag::End(LabelId(0)))];
        let [begin, end] = tags;
        Node::seq(
            [
                vec![Node::any(), begin],
                body,
                vec![end, Node::any(), a.clone(), Node::bytes(ByteSet::ALL, 12)],
            ]
            .concat(),
        )
    };
    let node = label(vec![a.clone(), Node::any(), Node::Byte(ByteSet::of([b'b']))]);
    let method = |limits: &Limits| Labels::new(&node, limits).unwrap().method();
    let limits = Limits { states: 1_000, ..Limits::default() };
    assert_eq!(method(&limits), Method::Simulation(Excess::States { states: 1_001, limit: 1_000 }));
    let limits = Limits { work: 1_000, ..Limits::default() };
    assert!(matches!(method(&limits), Method::Simulation(Excess::Work { limit: 1_000, .. })));
    let limits = Limits { registers: 0, ..Limits::default() };
    assert_eq!(method(&limits), Method::Simulation(Excess::Registers { registers: 1, limit: 0 }));
    let limits = Limits { nfa_states: 10, ..Limits::default() };
    assert_eq!(Labels::new(&node, &limits).unwrap_err(), TooBig { limit: 10 });
    let fixed = Node::seq([a.clone(), Node::Tag(Tag::End(LabelId(0))), Node::any()]);
    assert_eq!(Labels::new(&fixed, &SIMULATED).unwrap().method(), Method::Fixed);
}

#[test]
fn positions_that_move_from_way_to_way_are_copied() {
    let set = |bytes: &[u8]| ByteSet::of(bytes.iter().copied());
    let times = |bytes: &[u8], most: u32| Node::Repeat {
        body: Box::new(Node::Byte(set(bytes))),
        least: 1,
        most: Some(most),
    };
    let label = |label: u16, body: Node| {
        Node::seq([Node::Tag(Tag::Begin(LabelId(label))), body, Node::Tag(Tag::End(LabelId(label)))])
    };
    let b = || Node::Byte(set(b"b"));
    // * 0:(a#1..3) b *
    let one = Node::seq([Node::any(), label(0, times(b"a", 3)), b(), Node::any()]);
    // * 0:(byte#1..3) 1:(a#1..2) b 2:* b
    let several = Node::seq([
        Node::any(),
        label(0, times(b"ab", 3)),
        label(1, times(b"a", 2)),
        b(),
        label(2, Node::any()),
        b(),
    ]);
    for node in [one, several] {
        let mut pair = Pair::new(&node);
        let text = pair.labels[0].to_string();
        assert!(text.contains("r0=r1"), "{text}");
        for length in 0..10_u32 {
            for bits in 0..1_u32 << length {
                let input: Vec<u8> = (0..length).map(|bit| b'a' + u8::from(bits >> bit & 1 == 1)).collect();
                check(&node, &mut pair, &input);
            }
        }
    }
}

#[test]
fn packets_that_should_have_matched_do_no_harm() {
    let node = lowered(HTTP_ONLY);
    for limits in [Limits::default(), SIMULATED] {
        let labels = Labels::new(&node, &limits).unwrap();
        let mut scratch = Scratch::default();
        let packet = request(2, 2, b"GET / HTTP/1.1\r\n");
        for (end, from) in (0..packet.len()).map(|end| (end, 0)).chain([(3, 3), (3, 4), (3, usize::MAX)]) {
            let mut marks = Marks::new(4);
            labels.find(&mut scratch, &packet[..end], from, &mut marks);
            for label in (0..4).map(LabelId) {
                assert!(marks.range(label).is_none_or(|range| range.end <= end), "{marks:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::scale::RT04_PATTERNS.cases())]

    #[test]
    fn rt04_all_methods_find_labels_where_the_naive_matcher_does(
        node in prop_oneof![1 => arbitrary::node().boxed(), 4 => arbitrary::labels().boxed()],
        seed in any::<u64>(),
    ) {
        let mut pair = Pair::new(&node);
        let mut random = Random::new(seed);
        for input in arbitrary::inputs(&node, 100, &mut random) {
            check(&node, &mut pair, &input);
        }
    }
}
