//! Every engine over one filter, behind two functions: which rule each says, and what each makes of the packets.
//!
//! It compares nothing: tests do, with what they expect.
#![allow(dead_code, reason = "each test needs a part of it")]

#[path = "../rewrite/naive.rs"]
mod naive;
#[path = "../rewrite/rule.rs"]
mod rule;
#[path = "../rewrite/traffic.rs"]
mod traffic;

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use ruler::{
    dag::{Dag, Decision, Node, Reached, paths::Mark},
    dfa::{Dfa, Large, Nfa, Small, Table},
    diagnostic::Diagnostic,
    exec::{
        ladder::{self, Slow},
        lanes,
        lazy::Lazy,
        one,
        simulate::{self, Walk},
    },
    filter::{self, Bound, Fate, Packet, Params, Verdict},
    ir,
    oracle::Match,
    resolved::{Action, Filter, Rule, RuleId},
    rewrite::{Bounds, Kind, Plan, Scratch, anonymise::Anonymiser, apply},
};

pub(crate) use ruler::rewrite::Refusal;

use naive::Mode;

/// For filters without a key, which anonymise nothing.
static NOBODYS: LazyLock<Anonymiser> = LazyLock::new(|| Anonymiser::new(&[0; 32]));

/// Room that frames have beyond their packets: nothing is rewritten in place only because it fits.
const ROOM: usize = 300;

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Accepted(u16),
    Rejected(u16),
    /// No rule matches.
    Unmatched,
    /// Code, bytes, and how many checksums could not be made.
    Rewritten(u16, Vec<u8>, u32),
    Refused(Refusal),
}

/// The rule that won, if any, and what it did.
pub(crate) type Outcome = (Option<RuleId>, End);

/// Which rule each of a batch of packets has, as one engine says; the outer [`None`]: it leaves that to others.
pub(crate) type Said = (&'static str, Vec<Option<Option<RuleId>>>);

/// A filter on every engine.
pub(crate) struct Engines {
    pub(crate) filter: Filter,
    nfa: Nfa,
    /// None if there would be too many states.
    tables: Option<(Option<Small>, Large)>,
    lazy: Option<Lazy>,
    dag: Dag,
    bound: Bound,
    params: Params,
    anonymiser: Option<Arc<Anonymiser>>,
}

/// Limits under which no filter is refused for being slow.
pub(crate) fn slow_allowed() -> filter::Limits {
    let engines = ladder::Limits { slow: Slow::Allowed, ..ladder::Limits::default() };
    filter::Limits { engines, ..filter::Limits::default() }
}

impl Engines {
    /// With automata of the whole filter made as `limits` say, but for the arena.
    pub(crate) fn new(filter: Filter, limits: &filter::Limits, arena_bytes: usize, params: Params) -> Self {
        let made = Self::unless_refused(filter, limits, arena_bytes, params);
        made.unwrap_or_else(|found| panic!("the filter does not compile: {found:?}"))
    }

    /// The same, or why the filter does not compile.
    pub(crate) fn unless_refused(
        filter: Filter,
        limits: &filter::Limits,
        arena_bytes: usize,
        params: Params,
    ) -> Result<Self, Vec<Diagnostic>> {
        let (compiled, found) = filter::Filter::build(&filter, "a.rl", limits);
        let Some(compiled) = compiled else { return Err(found) };
        let nodes: Vec<ir::Node> =
            filter.rules.iter().map(|rule| ir::lower(&rule.pattern).unwrap()).collect();
        let rules: Vec<(RuleId, &ir::Node)> = (0..).map(RuleId).zip(&nodes).collect();
        let nfa = Nfa::of_rules(&rules, 1 << 20).unwrap();
        let dfa = Dfa::new(&nfa, &limits.engines.dfa).ok();
        Ok(Self {
            tables: dfa.map(|dfa| (Small::new(&dfa), Large::new(&dfa))),
            lazy: Lazy::new(nfa.clone(), arena_bytes),
            dag: Dag::build(&filter, &limits.dag),
            bound: compiled.bind(&params).unwrap(),
            anonymiser: params.key.as_ref().map(|key| Arc::new(Anonymiser::new(key))),
            nfa,
            filter,
            params,
        })
    }

    /// Whether there are tables for the whole filter.
    pub(crate) fn has_tables(&self) -> bool {
        self.tables.is_some()
    }

    /// The rungs of the compiled filter's engines.
    pub(crate) fn rungs(&self) -> Vec<&'static str> {
        self.bound.filter().report().engines.iter().map(|engine| engine.rung).collect()
    }

    /// Which rule every engine says, for each packet.
    pub(crate) fn rules(&self, packets: &[&[u8]]) -> Vec<Said> {
        let mut walk = Walk::new(&self.nfa);
        let simulated = packets.iter().map(|packet| Some(simulate::verdict(&self.nfa, &mut walk, packet)));
        let mut all = vec![("simulation", simulated.collect())];
        if let Some((small, large)) = &self.tables {
            if let Some(small) = small {
                all.extend([
                    ("small table", singly(small, packets)),
                    ("small table, lanes", in_lanes(small, packets)),
                ]);
            }
            all.extend([
                ("large table", singly(large, packets)),
                ("large table, lanes", in_lanes(large, packets)),
            ]);
        }
        if let Some(lazy) = &self.lazy {
            let mut verdicts = vec![None; packets.len()];
            lazy.judge(&mut lazy.arena(), packets, &mut verdicts);
            all.push(("states on demand", verdicts.into_iter().map(Some).collect()));
        }
        all.push((
            "header DAG",
            packets
                .iter()
                .map(|packet| self.decided(packet).map(|found| found.map(|found| found.rule)))
                .collect(),
        ));
        all
    }

    /// What the header DAG decides alone: a rule with its labels, or none. [`None`]: it decides nothing.
    pub(crate) fn decided(&self, packet: &[u8]) -> Option<Option<Match>> {
        let reached = self.dag.eval(packet);
        let Node::Leaf(leaf) = self.dag.node(reached.leaf) else { panic!("a walk ends at a leaf") };
        match self.dag.decision(leaf) {
            Decision::Open => None,
            Decision::NoRule => Some(None),
            Decision::Rule(rule, path) => {
                let path = self.dag.path(path);
                let mut labels = vec![None; self.filter.rules[rule.index()].labels.len()];
                for (label, begin) in &path.begins {
                    let (_, end) = path.ends.iter().find(|(other, _)| other == label).unwrap();
                    let at = |mark| position(mark, &reached, packet.len());
                    labels[usize::from(label.0)] = Some(at(*begin)..at(*end));
                }
                Some(Some(Match { rule, labels }))
            }
        }
    }

    /// What every engine makes of each packet, from byte 0 and from its class.
    pub(crate) fn outcomes(&self, packets: &[&[u8]]) -> Vec<(&'static str, Vec<Outcome>)> {
        let mut scratch = self.bound.scratch();
        let mut judged = |class: &dyn Fn(&[u8]) -> Option<ruler::dag::NodeId>| {
            let mut frames: Vec<Vec<u8>> = packets.iter().map(|packet| frame(packet)).collect();
            let mut batch: Vec<Packet<'_>> = (frames.iter_mut().zip(packets))
                .map(|(frame, packet)| Packet { frame, at: at(packet), class: class(packet) })
                .collect();
            let mut verdicts = vec![Verdict::NONE; packets.len()];
            self.bound.judge(&mut scratch, &mut batch[..], &mut verdicts);
            verdicts.iter().zip(&frames).map(|(verdict, frame)| outcome(verdict, frame)).collect()
        };
        let from_zero = judged(&|_| None);
        let dag = self.bound.filter().dag();
        vec![
            ("judge, from byte 0", from_zero),
            ("judge, from the class", judged(&|packet| Some(dag.eval(packet).leaf))),
        ]
    }

    /// What a match makes of a packet: by the slow twin of rewriting, and by each kind of plan that its rule allows.
    pub(crate) fn of_match(&self, packet: &[u8], found: Option<&Match>) -> Vec<(&'static str, Outcome)> {
        let Some(found) = found else { return vec![("oracle", (None, End::Unmatched))] };
        let rule = &self.filter.rules[found.rule.index()];
        let simple = |end| vec![("oracle", (Some(found.rule), end))];
        let code = match &rule.action {
            Action::Accept(code) => return simple(End::Accepted(*code)),
            Action::Reject(code) => return simple(End::Rejected(*code)),
            Action::Rewrite(_, code) => *code,
        };
        let labels: Vec<Range<usize>> =
            found.labels.iter().map(|label| label.clone().unwrap_or(0..0)).collect();
        let plan = Plan::of(rule).unwrap();
        let end = |new: Result<(Vec<u8>, u32), Refusal>| match new {
            Ok((bytes, skipped)) => (Some(found.rule), End::Rewritten(code, bytes, skipped)),
            Err(refusal) => (Some(found.rule), End::Refused(refusal)),
        };
        let mut all = vec![("oracle", end(self.naively(rule, &plan, packet, &labels)))];
        for (name, kind) in [("patch", Kind::Patch), ("cut", Kind::Cut), ("rebuild", Kind::Rebuild)] {
            if let Some(plan) = plan.as_kind(kind) {
                all.push((name, end(self.by_plan(&plan, packet, &labels))));
            }
        }
        all
    }

    /// The kind of plan that a rule has.
    pub(crate) fn plan(&self, rule: RuleId) -> Option<Kind> {
        Plan::of(&self.filter.rules[rule.index()]).map(|plan| plan.kind())
    }

    fn naively(
        &self,
        rule: &Rule,
        plan: &Plan,
        packet: &[u8],
        labels: &[Range<usize>],
    ) -> Result<(Vec<u8>, u32), Refusal> {
        let incremental = plan.dump(&rule.labels).to_string().contains("incremental");
        let mode = if incremental { Mode::Incremental } else { Mode::Full };
        let anonymiser = self.anonymiser.as_deref().unwrap_or(&NOBODYS);
        naive::rewrite(rule, packet, labels, self.params.bounds, anonymiser, mode)
    }

    fn by_plan(
        &self,
        plan: &Plan,
        packet: &[u8],
        labels: &[Range<usize>],
    ) -> Result<(Vec<u8>, u32), Refusal> {
        let mut scratch = Scratch::new([plan], self.params.bounds, self.anonymiser.clone()).unwrap();
        let mut frame = frame(packet);
        let new = apply(plan, &mut frame, at(packet), labels, &mut scratch)?;
        Ok((frame[new.packet].to_vec(), new.skipped_sums))
    }
}

/// Where nothing that a rule makes is too short or too long.
pub(crate) const OFFLINE: Bounds = Bounds { least: 0, most: 65_535 };

fn frame(packet: &[u8]) -> Vec<u8> {
    [&[0xee; ROOM][..], packet, &[0xee; ROOM]].concat()
}

fn at(packet: &[u8]) -> Range<usize> {
    ROOM..ROOM + packet.len()
}

fn outcome(verdict: &Verdict, frame: &[u8]) -> Outcome {
    let end = match &verdict.fate {
        Fate::Accepted(code) => End::Accepted(*code),
        Fate::Rejected(code) => End::Rejected(*code),
        Fate::Unmatched => End::Unmatched,
        Fate::Rewritten { code, at, skipped_sums } => {
            End::Rewritten(*code, frame[at.range()].to_vec(), *skipped_sums)
        }
        Fate::Refused(refusal) => End::Refused(*refusal),
    };
    (verdict.rule, end)
}

fn singly<T: Table>(table: &T, packets: &[&[u8]]) -> Vec<Option<Option<RuleId>>> {
    packets.iter().map(|packet| Some(one::verdict(table, packet))).collect()
}

fn in_lanes<T: Table>(table: &T, packets: &[&[u8]]) -> Vec<Option<Option<RuleId>>> {
    let mut verdicts = vec![None; packets.len()];
    lanes::judge(table, packets, &mut verdicts);
    verdicts.into_iter().map(Some).collect()
}

fn position(mark: Mark, reached: &Reached, len: usize) -> usize {
    match mark {
        Mark::Behind { base, offset } => reached.bases.get(base).unwrap() + usize::try_from(offset).unwrap(),
        Mark::End => len,
    }
}
