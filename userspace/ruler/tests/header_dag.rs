//! Header paths and the header DAG say of every packet what the rules say, whatever the budget.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod made;
mod scale;

use made::{
    Dice, exactly, free,
    matcher::{self, Bound},
};
use ruler::{
    dag::{
        Bases, Dag, Decision, Leaf, Limits, Node, NodeId, Start,
        paths::{Mark, PATHS_MAX, Path, Rest},
        split::split,
    },
    resolved::{Action, Allowed, Counter, Field, Filter, LabelId, Order, Pattern, Rule, RuleId, Test},
    source::Span,
};

/// How many filters a property looks at.
fn cases() -> u64 {
    u64::from(scale::RT05_FILTERS.count())
}

const PACKETS: usize = 12;

/// The first rule that matches, and its labels, by trying everything.
fn slowly(filter: &Filter, packet: &[u8]) -> Option<(RuleId, Bound)> {
    let rules = (0..).map(RuleId).zip(&filter.rules);
    rules.into_iter().find_map(|(id, rule)| Some((id, matcher::matches(&rule.pattern, packet, 0)?)))
}

/// Where every segment of a path begins, if it holds.
fn bases(path: &Path, packet: &[u8]) -> Option<Vec<usize>> {
    let mut bases = vec![0];
    for segment in &path.segments {
        let base = *bases.last()?;
        let long = base + usize::try_from(segment.bytes).ok()? <= packet.len();
        if !long || !segment.conditions.iter().all(|condition| condition.holds(packet, base)) {
            return None;
        }
        if let Some(advance) = segment.then {
            bases.push(base + advance.distance(packet, base)?);
        }
    }
    Some(bases)
}

/// What the rest of a path says where all of the path holds.
fn rest(path: &Path, packet: &[u8], base: impl Fn(u8) -> usize) -> Option<Bound> {
    let at = |mark: Mark| match mark {
        Mark::Behind { base: number, offset } => base(number) + usize::try_from(offset).unwrap(),
        Mark::End => packet.len(),
    };
    let mut bound = match &path.rest {
        Rest::End if at(path.end()) != packet.len() => return None,
        Rest::End | Rest::Any => Bound::new(),
        Rest::Pattern(pattern) => matcher::matches(pattern, packet, at(path.end()))?,
    };
    for (label, begin) in &path.begins {
        let end = path.ends.iter().find(|(other, _)| other == label);
        let end = end.map_or_else(|| bound[label].1, |(_, mark)| at(*mark));
        bound.insert(*label, (at(*begin), end));
    }
    Some(bound)
}

/// What a leaf says, its rests tried one after the other.
fn by_leaf(filter: &Filter, dag: &Dag, leaf: &Leaf, bases: &Bases, packet: &[u8]) -> Option<(RuleId, Bound)> {
    leaf.survivors.iter().find_map(|survivor| {
        let bound = match survivor.start {
            Start::Whole => matcher::matches(&filter.rules[survivor.rule.index()].pattern, packet, 0),
            Start::Rest(path) => rest(dag.path(path), packet, |base| bases.get(base).unwrap()),
        };
        Some((survivor.rule, bound?))
    })
}

/// Random rules share few tests, so that their DAGs are as large as they may be.
const SMALL: Limits = Limits { nodes: 4_000, entries: 1 << 16 };

fn leaf(dag: &Dag, id: NodeId) -> &Leaf {
    match dag.node(id) {
        Node::Leaf(leaf) => leaf,
        other => panic!("a walk ended at {other:?}"),
    }
}

#[track_caller]
fn agrees(filter: &Filter, dag: &Dag, packet: &[u8]) {
    let want = slowly(filter, packet);
    let reached = dag.eval(packet);
    let leaf = leaf(dag, reached.leaf);
    let got = by_leaf(filter, dag, leaf, &reached.bases, packet);
    let context = || format!("packet {packet:x?}\n{filter:#?}\n{}{}", dag.paths_text(), dag.text());
    assert_eq!(got, want, "at {}: {}", reached.leaf.0, context());
    match dag.decision(leaf) {
        Decision::Open => {}
        Decision::NoRule => assert!(want.is_none(), "{}", context()),
        Decision::Rule(rule, _) => assert_eq!(want.map(|(rule, _)| rule), Some(rule), "{}", context()),
    }
    assert_eq!(dag.eval_from(reached.leaf, packet), Some(reached), "{}", context());
}

#[test]
fn paths_together_are_the_rule_and_the_first_that_holds_has_its_labels() {
    let (mut matched, mut straight) = (0, 0);
    for seed in 0..cases() {
        let mut dice = Dice::of(seed);
        let filter = made::filter(&mut dice);
        for rule in &filter.rules {
            let paths = split(RuleId(0), &rule.pattern);
            assert!(paths.len() <= PATHS_MAX);
            straight += paths.iter().filter(|path| path.is_final()).count();
            for _ in 0..PACKETS / 2 {
                let packet = made::packet(&mut dice, &filter);
                let want = matcher::matches(&rule.pattern, &packet, 0);
                let got = paths.iter().find_map(|path| {
                    let bases = bases(path, &packet)?;
                    rest(path, &packet, |base| bases[usize::from(base)])
                });
                assert_eq!(got, want, "seed {seed}: {packet:x?}\n{rule:#?}\n{paths:#?}");
                matched += u32::from(want.is_some());
            }
        }
    }
    assert!(matched > 200 && straight > 200, "{matched} matches, {straight} final paths");
}

#[test]
fn ways_that_end_nowhere_are_not_all_tried() {
    // Each part doubles the ways, and no packet has the last: a field that must be two values at once.
    let byte =
        |value| Allowed::AnyOf(vec![Test { order: Order::Big, mask: u64::MAX, first: value, last: value }]);
    let literal = |bytes: &[u64]| Pattern::Run(bytes.iter().map(|value| exactly(8, *value)).collect());
    let choice = Pattern::Alt(vec![literal(&[1]), literal(&[2, 3])]);
    let never = Pattern::Run(vec![Field { bits: 8, all_of: vec![byte(4), byte(5)], counts: None }]);
    let pattern = Pattern::Seq([vec![choice; 40], vec![never]].concat());
    let paths = split(RuleId(0), &pattern);
    assert!(!paths.is_empty() && paths.len() <= PATHS_MAX, "{} paths", paths.len());
}

#[test]
fn rt05_the_dag_says_what_the_rules_say() {
    let (mut decided, mut open) = (0_u32, 0_u32);
    for seed in 0..cases() {
        let mut dice = Dice::of(seed);
        let filter = made::filter(&mut dice);
        let dag = Dag::build(&filter, &SMALL);
        for _ in 0..PACKETS {
            let packet = made::packet(&mut dice, &filter);
            agrees(&filter, &dag, &packet);
            match dag.decision(leaf(&dag, dag.eval(&packet).leaf)) {
                Decision::Open => open += 1,
                Decision::NoRule | Decision::Rule(..) => decided += 1,
            }
        }
    }
    assert!(decided > 500 && open > 500, "{decided} decided, {open} open");
}

#[test]
fn rt05_every_length_of_a_packet_is_judged() {
    for seed in 0..cases() / 20 {
        let mut dice = Dice::of(seed);
        let filter = made::filter(&mut dice);
        let dag = Dag::build(&filter, &SMALL);
        let mut packet = made::packet(&mut dice, &filter);
        packet.resize(129, 0x45);
        for length in 0..=128 {
            agrees(&filter, &dag, &packet[..length]);
        }
    }
}

#[test]
fn rt06_a_budget_changes_no_verdict() {
    for seed in 0..cases() / 4 {
        let mut dice = Dice::of(seed);
        let filter = made::filter(&mut dice);
        for nodes in [1, 2, 5, 12, 30] {
            for entries in [4, 1 << 22] {
                let dag = Dag::build(&filter, &Limits { nodes, entries });
                assert!(dag.nodes().count() <= nodes);
                for _ in 0..3 {
                    agrees(&filter, &dag, &made::packet(&mut dice, &filter));
                }
            }
        }
    }
}

#[test]
fn the_same_filter_is_the_same_dag() {
    for seed in 0..8 {
        let filter = made::filter(&mut Dice::of(seed));
        let [one, two] = [(); 2].map(|()| Dag::build(&filter, &SMALL));
        assert_eq!((one.text(), one.dot(), one.paths_text()), (two.text(), two.dot(), two.paths_text()));
    }
}

fn rule(items: Vec<Pattern>, action: Action) -> Rule {
    Rule { pattern: Pattern::Seq(items), action, labels: vec![], span: Span::new(0, 0) }
}

/// Ethernet, IPv4 with a protocol and any options.
fn ipv4(protocol: u64) -> Vec<Pattern> {
    let ihl = Field {
        counts: Some(Counter(0)),
        all_of: vec![Allowed::AnyOf(vec![Test { order: Order::Big, mask: u64::MAX, first: 5, last: 15 }])],
        ..free(4)
    };
    let (ethernet, mut ip) = (vec![free(48), free(48), exactly(16, 0x0800)], vec![exactly(4, 4), ihl]);
    ip.extend([free(64), exactly(8, protocol), free(16), free(32), free(32)]);
    vec![
        Pattern::Run(ethernet),
        Pattern::Label(
            LabelId(0),
            Box::new(Pattern::Seq(vec![
                Pattern::Run(ip),
                Pattern::Counted { field: Counter(0), times: 4, plus: -20 },
            ])),
        ),
    ]
}

/// UDP to one of these ports.
fn udp(port: u64) -> Pattern {
    Pattern::Run(vec![free(16), exactly(16, port), free(32)])
}

fn example() -> Filter {
    let with = |protocol, more: Vec<Pattern>, action| rule([ipv4(protocol), more].concat(), action);
    let text = Pattern::Run(b"GET ".iter().map(|byte| exactly(8, u64::from(*byte))).collect());
    let rules = vec![
        with(17, vec![udp(53), Pattern::Any], Action::Accept(53)),
        with(17, vec![udp(31_337), Pattern::Any, text.clone(), Pattern::Any], Action::Reject(1)),
        with(6, vec![Pattern::Label(LabelId(1), Box::new(Pattern::Any))], Action::Accept(6)),
        with(1, vec![text], Action::Accept(1)),
        rule(vec![Pattern::Any], Action::Reject(9)),
    ];
    Filter { name: "example".to_owned(), rules }
}

#[test]
fn the_dag_of_an_example_is_what_one_would_draw() {
    let dag = Dag::build(&example(), &Limits::default());
    insta::assert_snapshot!("paths_of_an_example", dag.paths_text());
    insta::assert_snapshot!("dag_of_an_example", dag.text());
    insta::assert_snapshot!("dot_of_an_example", dag.dot());
}

#[test]
fn a_node_number_that_means_nothing_is_refused() {
    let dag = Dag::build(&example(), &Limits::default());
    let beyond = NodeId(u16::try_from(dag.nodes().count()).unwrap());
    assert_eq!(dag.eval_from(beyond, &[0; 64]), None);
    let behind = dag.nodes().find(|(id, _)| 0 < dag.base(*id)).unwrap().0;
    assert_eq!(dag.eval_from(behind, &[0; 14]), None, "its base is not in the packet");
}
