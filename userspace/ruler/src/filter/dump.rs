//! What a filter becomes, stage by stage, as text and as structures for programs: the same for the same filter.
//!
//! It compiles again and keeps what a filter that only judges has no use for. Nothing reads any of it back.

mod header;
mod structure;

use std::fmt::Write as _;

pub use header::{Graph, Paths};
pub use structure::{Classes, Rules, Ways};

use super::{
    Filter, Limits,
    build::{self, Kept},
    class::{Class, EngineId, WayId},
    way::Way,
};
use crate::{
    dag::NodeId,
    dfa::{Dfa, Nfa},
    diagnostic::Diagnostic,
    ir,
    resolved::{self, RuleId},
    rewrite::Plan,
};

/// A filter with all that was made on the way to it.
#[derive(Debug)]
pub struct Stages<'a> {
    resolved: &'a resolved::Filter,
    limits: &'a Limits,
    filter: Filter,
    kept: Kept,
}

/// Which of a filter's header classes: the numbers that the texts give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassNumber(pub usize);

impl<'a> Stages<'a> {
    /// Of a resolved filter, as [`Filter::build`] makes one; `file` has it.
    #[must_use]
    pub fn new(
        resolved: &'a resolved::Filter,
        file: &str,
        limits: &'a Limits,
    ) -> (Option<Self>, Vec<Diagnostic>) {
        let (built, found) = build::build_keeping(resolved, file, limits);
        (built.map(|(filter, kept)| Self { resolved, limits, filter, kept }), found)
    }

    /// The filter.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// How many classes there are.
    #[must_use]
    pub const fn classes(&self) -> usize {
        self.filter.classes.len()
    }

    /// The regex form of each rule.
    #[must_use]
    pub fn ir(&self) -> String {
        let mut text = String::new();
        for (number, rule) in self.resolved.rules.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "rule {number}");
            match ir::lower(&rule.pattern) {
                Ok(node) => text.push_str(&indent(&node.to_string())),
                Err(error) => drop(writeln!(text, "  {error}")),
            }
        }
        text
    }

    /// What each rule that rewrites does.
    #[must_use]
    pub fn plan(&self) -> String {
        let mut text = String::new();
        for (number, rule) in self.resolved.rules.iter().enumerate() {
            let _ = match (&rule.action, Plan::of(rule)) {
                (resolved::Action::Accept(code), _) => writeln!(text, "rule {number}: accept {code}"),
                (resolved::Action::Reject(code), _) => writeln!(text, "rule {number}: reject {code}"),
                (resolved::Action::Rewrite(_, code), plan) => {
                    let plan = plan.map_or(String::new(), |plan| plan.dump(&rule.labels).to_string());
                    write!(text, "rule {number}: class {code}, {plan}")
                }
            };
        }
        text
    }

    /// The classes, or one of them, and the automata that judge their packets.
    #[must_use]
    pub fn dfa(&self, only: Option<ClassNumber>) -> String {
        let mut text = String::new();
        for (number, class) in self.chosen(only) {
            let leaves: Vec<String> = self.leaves(number).map(|node| node.0.to_string()).collect();
            let _ = write!(text, "class {number}, node {}:", leaves.join(" "));
            for scan in &class.scans {
                let _ = write!(text, " engine {} from {},", scan.engine.0, scan.from);
            }
            let _ = match class.otherwise {
                Some(rule) => writeln!(text, " else rule {}", rule.0),
                None => writeln!(text, " else none"),
            };
        }
        for engine in self.engines(only) {
            let _ = writeln!(text, "engine {engine}: {}", self.filter.reports[engine].rung.name());
            match self.automaton(engine) {
                Some(Automaton::Table(dfa)) => text.push_str(&indent(&dfa.to_string())),
                Some(Automaton::Nfa(nfa)) => text.push_str(&indent(&nfa.to_string())),
                None => {}
            }
        }
        text
    }

    /// The automata of the classes, or of one of them, for Graphviz' `dot`. Those that are too large for a table are left out.
    #[must_use]
    pub fn dfa_dot(&self, only: Option<ClassNumber>) -> String {
        let mut text = String::from("digraph payload {\n  rankdir=LR;\n  node [fontname=monospace];\n");
        for engine in self.engines(only) {
            if let Some(Automaton::Table(dfa)) = self.automaton(engine) {
                let id = format!("e{engine}");
                cluster(&mut text, &id, &format!("engine {engine}"), &dfa.dot(&format!("{id}s")));
            }
        }
        text.push_str("}\n");
        text
    }

    /// How labels are found in the classes, or in one of them, where headers do not tell them; and by what it is known which
    /// way a packet matched, where several are possible.
    #[must_use]
    pub fn tdfa(&self, only: Option<ClassNumber>) -> String {
        let mut text = String::new();
        for (number, class) in self.chosen(only) {
            for (rule, ways) in &class.ways {
                let numbers: Vec<String> = ways.iter().map(|way| way.0.to_string()).collect();
                let _ = writeln!(text, "class {number}, rule {}: ways {}", rule.0, numbers.join(" "));
            }
        }
        for (WayId(number), rule, way) in self.ways(only) {
            let ((told, from), (labels, candidate)) = (way.header(), way.automata());
            let _ = write!(text, "way {number} of rule {}", rule.0);
            for (tag, mark) in told {
                let _ = write!(text, ", {tag} {mark}");
            }
            text.push('\n');
            if let Some(labels) = labels {
                let _ = writeln!(text, "  labels from {from}, {}", labels.method());
                text.push_str(&indent(&indent(&labels.to_string())));
            }
            if let Some(candidate) = candidate {
                let _ = writeln!(text, "  candidate from {from}, {}", candidate.method());
                text.push_str(&indent(&indent(&candidate.to_string())));
            }
        }
        text
    }

    /// The automata of stage tdfa for Graphviz' `dot`. Those that are simulated are left out.
    #[must_use]
    pub fn tdfa_dot(&self, only: Option<ClassNumber>) -> String {
        let mut text =
            String::from("digraph labels {\n  rankdir=LR;\n  node [shape=box, fontname=monospace];\n");
        for (WayId(number), rule, way) in self.ways(only) {
            let (labels, candidate) = way.automata();
            let parts = [
                ("labels", labels.and_then(|labels| labels.dot(&format!("w{number}l")))),
                ("candidate", candidate.and_then(|candidate| candidate.dot(&format!("w{number}c")))),
            ];
            for (part, graph) in parts {
                let title = format!("way {number} of rule {}: {part}", rule.0);
                let id = format!("w{number}_{part}");
                graph.iter().for_each(|graph| cluster(&mut text, &id, &title, graph));
            }
        }
        text.push_str("}\n");
        text
    }

    fn chosen(&self, only: Option<ClassNumber>) -> impl Iterator<Item = (usize, &Class)> {
        let wanted = move |number: usize| only.is_none_or(|only| only.0 == number);
        self.filter.classes.iter().enumerate().filter(move |(number, _)| wanted(*number))
    }

    /// The engines of classes, each once.
    fn engines(&self, only: Option<ClassNumber>) -> Vec<usize> {
        let scans = self.chosen(only).flat_map(|(_, class)| &class.scans);
        let mut engines: Vec<usize> = scans.map(|scan| scan.engine.0).collect();
        engines.sort_unstable();
        engines.dedup();
        engines
    }

    /// The ways of classes, each once.
    fn ways(&self, only: Option<ClassNumber>) -> Vec<(WayId, RuleId, &Way)> {
        let of_rules = self.chosen(only).flat_map(|(_, class)| &class.ways);
        let mut ways: Vec<(WayId, RuleId)> =
            of_rules.flat_map(|(rule, ways)| ways.iter().map(|way| (*way, *rule))).collect();
        ways.sort_unstable();
        ways.dedup();
        ways.into_iter().map(|(way, rule)| (way, rule, &self.filter.ways[way.0])).collect()
    }

    /// The leaves whose packets a class has.
    fn leaves(&self, class: usize) -> impl Iterator<Item = NodeId> {
        let nodes = self.filter.dag.nodes().zip(&self.filter.ends);
        nodes.filter_map(move |((id, node), end)| {
            (end.class.0 == class && matches!(node, crate::dag::Node::Leaf(_))).then_some(id)
        })
    }

    /// The automaton of an engine as one table would have it, or what that would be made from if it is too large.
    fn automaton(&self, engine: usize) -> Option<Automaton> {
        let rules: Vec<(RuleId, &ir::Node)> = self.kept.rules(EngineId(engine)).collect();
        let engines = &self.limits.engines;
        let nfa = Nfa::of_rules(&rules, engines.nfa_states).ok()?;
        Some(match Dfa::new(&nfa, &engines.dfa) {
            Ok(dfa) => Automaton::Table(Box::new(dfa)),
            Err(_) => Automaton::Nfa(nfa),
        })
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Automaton {
    Table(Box<Dfa>),
    Nfa(Nfa),
}

fn cluster(text: &mut String, id: &str, title: &str, graph: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  subgraph cluster_{id} {{\n    label=\"{title}\";");
    text.push_str(&indent(&indent(graph)));
    text.push_str("  }\n");
}

fn indent(body: &str) -> String {
    body.lines().fold(String::new(), |text, line| text + "  " + line + "\n")
}

#[cfg(test)]
mod tests;
