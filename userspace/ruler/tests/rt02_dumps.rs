//! What every stage makes of the published programs and the shipped filters: the same at each run, and on record.
//!
//! A dump that nobody would read is on record by its length and a hash of it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;

use ruler::{
    bundle::Bundle,
    dag::Dag,
    dfa::{Dfa, Nfa},
    ebpf::{Scope, Settings},
    filter::{Limits, dump::Stages},
    ir,
    resolved::{Filter, RuleId},
    rewrite::Plan,
    shipped,
};
use serde::Serialize;

/// The most lines that are on record as they are.
const LINES_MAX: usize = 80;

const PUBLISHED: [(&str, &str); 4] = [
    (
        "s1",
        "filter udp header:(byte#12 0x800~2 byte#9 17 byte#2) address:(192 168 1 byte) tail:* => header 0#4 tail;",
    ),
    (
        "s2_s3_s4",
        "pattern Ethernet : (dst:byte#6 src:byte#6 proto:byte#2)\n\
         pattern Ethernet_IPv4 : Ethernet with [proto=0x0800~2] filter ether e:Ethernet_IPv4 t:* => e with [src=0#6] t;\n\
         include \"layouts.rli\"",
    ),
    ("s5", "filter byte42 * 42 b:(byte 42) * => b;"),
    (
        "s6",
        "include \"layouts.rli\"\nfilter www\n  eh:Ethernet_IPv4 ih:IPv4_TCP th:TCP with [dest=80~2] p:*\n  \
         => eh with [e_dest=0#6,e_src=0#6] ih with [src=0~4,dest=0~4] th p;",
    ),
];

type Stage = (&'static str, fn(&Filter) -> String);

/// The header program of an interface whose filter judges what steering claims.
const SETTINGS: Settings<'_> = Settings { scope: Scope::Steered, pass: &[], class_gen: 0 };

const STAGES: [Stage; 8] = [
    ("ir", |filter| each(filter, |number, node| format!("rule {number}\n{node}\n"))),
    ("paths", |filter| Dag::build(filter, &Limits::default().dag).paths_text()),
    ("dag", |filter| Dag::build(filter, &Limits::default().dag).text()),
    ("dfa", |filter| {
        let nodes: Vec<ir::Node> =
            filter.rules.iter().map(|rule| ir::lower(&rule.pattern).unwrap()).collect();
        let rules: Vec<(RuleId, &ir::Node)> = (0..).map(RuleId).zip(&nodes).collect();
        let nfa = Nfa::of_rules(&rules, Limits::default().engines.nfa_states).unwrap();
        Dfa::new(&nfa, &Limits::default().engines.dfa).unwrap().to_string()
    }),
    ("plan", |filter| {
        let plans = filter.rules.iter().filter_map(|rule| Some((Plan::of(rule)?, &rule.labels)));
        plans.map(|(plan, labels)| format!("{}\n", plan.dump(labels))).collect()
    }),
    ("tdfa", |filter| staged(filter, |stages| stages.tdfa(None))),
    ("ebpf", |filter| {
        staged(filter, |stages| stages.filter().untried_program(&SETTINGS).unwrap().to_string())
    }),
    ("structures", |filter| {
        staged(filter, |stages| {
            let ebpf = stages.filter().untried_program(&SETTINGS).unwrap();
            let front = [json(&stages.regexes()), json(&stages.paths()), json(&stages.graph())];
            let back = [json(&stages.automata(None)), json(&stages.label_automata(None))];
            [&front[..], &back, &[json(&stages.plans()), json(&ebpf)]].concat().concat()
        })
    }),
];

fn staged(filter: &Filter, dump: impl FnOnce(&Stages<'_>) -> String) -> String {
    let limits = Limits::default();
    let (stages, found) = Stages::new(filter, "a.rl", &limits);
    dump(&stages.unwrap_or_else(|| panic!("{found:?}")))
}

/// By line, so that a long one is on record by its hash.
fn json(structure: &impl Serialize) -> String {
    serde_json::to_string_pretty(structure).unwrap() + "\n"
}

fn each(filter: &Filter, dump: fn(usize, &ir::Node) -> String) -> String {
    let nodes = filter.rules.iter().map(|rule| ir::lower(&rule.pattern).unwrap());
    nodes.enumerate().map(|(index, node)| dump(index, &node)).collect()
}

/// What stands on record of one filter.
fn record(source: &str) -> String {
    let [one, two] = [(); 2].map(|()| {
        let (mut filters, found) = ruler::resolve(&Bundle::new("a.rl", source));
        assert_eq!(filters.len(), 1, "{found:?}");
        filters.remove(0)
    });
    let mut record = String::new();
    for (stage, dump) in STAGES {
        let text = dump(&one);
        assert_eq!(text, dump(&two), "{stage} is not the same twice");
        let lines = text.lines().count();
        writeln!(record, "# {stage}").unwrap();
        if lines <= LINES_MAX {
            record.push_str(&text);
        } else {
            writeln!(record, "{lines} lines, {} bytes, {:016x}", text.len(), hash(text.as_bytes())).unwrap();
        }
    }
    record
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[test]
fn rt02_dumps_of_published_programs() {
    for (name, source) in PUBLISHED {
        insta::assert_snapshot!(name, record(source));
    }
}

#[test]
fn rt02_dumps_of_shipped_filters() {
    for shipped in shipped::ALL {
        insta::assert_snapshot!(shipped.name, record(shipped.source));
    }
}
