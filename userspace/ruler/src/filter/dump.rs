//! What a filter becomes, stage by stage, as text: the same for the same filter.
//!
//! It compiles again and keeps what a filter that only judges has no use for. Nothing reads the texts back.

use std::fmt::Write as _;

use super::{
    Filter, Limits,
    build::{self, Kept},
    class::{Class, EngineId},
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
                Ok(node) => indented(&mut text, &node.to_string()),
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
        let mut engines = Vec::new();
        for (number, class) in self.chosen(only) {
            let leaves: Vec<String> = self.leaves(number).map(|node| node.0.to_string()).collect();
            let _ = write!(text, "class {number}, node {}:", leaves.join(" "));
            for scan in &class.scans {
                let EngineId(engine) = scan.engine;
                let _ = write!(text, " engine {engine} from {},", scan.from);
                engines.push(engine);
            }
            let _ = match class.otherwise {
                Some(rule) => writeln!(text, " else rule {}", rule.0),
                None => writeln!(text, " else none"),
            };
        }
        engines.sort_unstable();
        engines.dedup();
        for engine in engines {
            let _ = writeln!(text, "engine {engine}: {}", self.filter.reports[engine].rung.name());
            match self.automaton(engine) {
                Some(Automaton::Table(dfa)) => indented(&mut text, &dfa.to_string()),
                Some(Automaton::Nfa(nfa)) => indented(&mut text, &nfa.to_string()),
                None => {}
            }
        }
        text
    }

    /// The automata of the classes, or of one of them, for Graphviz' `dot`. Those that are too large for a table are left out.
    #[must_use]
    pub fn dfa_dot(&self, only: Option<ClassNumber>) -> String {
        let scans = self.chosen(only).flat_map(|(_, class)| &class.scans);
        let mut engines: Vec<usize> = scans.map(|scan| scan.engine.0).collect();
        engines.sort_unstable();
        engines.dedup();
        let mut text = String::from("digraph payload {\n  rankdir=LR;\n  node [fontname=monospace];\n");
        for engine in engines {
            if let Some(Automaton::Table(dfa)) = self.automaton(engine) {
                let _ = writeln!(text, "  subgraph cluster_{engine} {{\n    label=\"engine {engine}\";");
                indented(&mut text, &dfa.dot(&format!("e{engine}s")));
                text.push_str("  }\n");
            }
        }
        text.push_str("}\n");
        text
    }

    /// How labels are found in the classes, or in one of them; where headers tell them stage `paths` says.
    #[must_use]
    pub fn tdfa(&self, only: Option<ClassNumber>) -> String {
        let mut text = String::new();
        let mut ways = Vec::new();
        for (number, class) in self.chosen(only) {
            for (rule, of_rule) in &class.ways {
                let numbers: Vec<String> = of_rule.iter().map(|way| way.0.to_string()).collect();
                let _ = writeln!(text, "class {number}, rule {}: ways {}", rule.0, numbers.join(" "));
                ways.extend(of_rule.iter().map(|way| (way.0, *rule)));
            }
        }
        ways.sort_unstable();
        ways.dedup();
        for (way, rule) in ways {
            let _ = match self.filter.ways[way].method() {
                Some(method) => writeln!(text, "way {way} of rule {}: {method:?}", rule.0),
                None => writeln!(text, "way {way} of rule {}: the header tells all", rule.0),
            };
        }
        text
    }

    fn chosen(&self, only: Option<ClassNumber>) -> impl Iterator<Item = (usize, &Class)> {
        let wanted = move |number: usize| only.is_none_or(|only| only.0 == number);
        self.filter.classes.iter().enumerate().filter(move |(number, _)| wanted(*number))
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

enum Automaton {
    Table(Box<Dfa>),
    Nfa(Nfa),
}

fn indented(text: &mut String, body: &str) {
    for line in body.lines() {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;

    const SOURCE: &str =
        "filter f 1 * \"ab\" * => reject 1; 2 a:byte 3 => a class 7; 2 * x:byte#* 4 => x; * => accept;";

    fn stages(check: impl FnOnce(&Stages<'_>)) {
        let (filters, _) = crate::resolve(&Bundle::new("a.rl", SOURCE));
        let limits = Limits::default();
        let (stages, found) = Stages::new(&filters[0], "a.rl", &limits);
        assert!(found.is_empty(), "{found:?}");
        check(&stages.unwrap());
    }

    #[test]
    fn every_stage_is_a_snapshot() {
        stages(|stages| {
            let tables = [
                ("ir", stages.ir()),
                ("paths", stages.filter().dag().paths_text()),
                ("dag", stages.filter().dag().text()),
                ("dfa", stages.dfa(None)),
                ("tdfa", stages.tdfa(None)),
                ("plan", stages.plan()),
                ("dot", stages.dfa_dot(None)),
            ];
            let text: String = tables.iter().map(|(name, text)| format!("=== {name}\n{text}")).collect();
            insta::assert_snapshot!(text);
        });
    }

    #[test]
    fn one_class_is_part_of_all() {
        stages(|stages| {
            let all = stages.dfa(None);
            let ones = (0..stages.classes()).map(|number| stages.dfa(Some(ClassNumber(number))));
            for text in ones {
                assert!(text.lines().all(|line| all.contains(line)), "{text}\n{all}");
                assert_eq!(text.lines().filter(|line| line.starts_with("class ")).count(), 1);
            }
            assert_eq!(stages.dfa(Some(ClassNumber(stages.classes()))), "");
        });
    }
}
