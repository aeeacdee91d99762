//! Rules, classes and ways as structures for programs: the same stages as the texts, with the same numbers.
//!
//! A choice of several is an object with one key, which says which; bytes are numbers.

use serde::Serialize;

use super::{Automaton, ClassNumber, Stages, header::At};
use crate::{
    ir,
    resolved::{Action, RuleId},
    rewrite::Plan,
    tdfa::{Candidate, Labels},
};

/// Every rule, in order.
#[derive(Debug, Serialize)]
pub struct Rules<T> {
    rules: Vec<T>,
}

/// The regex form of a rule.
#[derive(Debug, Serialize)]
pub struct Regex {
    rule: usize,
    #[serde(flatten)]
    form: Form,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Pattern(ir::Node),
    TooBig(String),
}

/// What a rule does.
#[derive(Debug, Serialize)]
pub struct Does {
    rule: usize,
    action: &'static str,
    code: u16,
    /// By number.
    labels: Vec<String>,
    plan: Option<Plan>,
}

/// Header classes, and the engines that judge their packets.
#[derive(Serialize)]
pub struct Classes {
    classes: Vec<Class>,
    engines: Vec<Engine>,
}

#[derive(Serialize)]
struct Class {
    id: usize,
    /// Leaves of the header DAG.
    nodes: Vec<u16>,
    /// In order; the first rule of all that they find wins.
    scans: Vec<Scan>,
    /// If they find none.
    otherwise: Option<RuleId>,
}

#[derive(Serialize)]
struct Scan {
    engine: usize,
    from: At,
}

#[derive(Serialize)]
struct Engine {
    id: usize,
    rung: &'static str,
    automaton: Option<Automaton>,
}

/// How the labels of rules are found, class by class.
#[derive(Serialize)]
pub struct Ways<'a> {
    classes: Vec<OfClass>,
    ways: Vec<Way<'a>>,
}

#[derive(Serialize)]
struct OfClass {
    id: usize,
    rules: Vec<OfRule>,
}

/// The ways that a rule can have matched, preferred ones first.
#[derive(Serialize)]
struct OfRule {
    rule: RuleId,
    ways: Vec<usize>,
}

#[derive(Serialize)]
struct Way<'a> {
    id: usize,
    rule: RuleId,
    /// What the header tells.
    told: Vec<Told>,
    /// Where the automata begin.
    from: At,
    labels: Option<&'a Labels>,
    candidate: Option<&'a Candidate>,
}

#[derive(Serialize)]
struct Told {
    tag: ir::Tag,
    at: At,
}

impl Stages<'_> {
    /// As [`Stages::ir`].
    #[must_use]
    pub fn regexes(&self) -> Rules<Regex> {
        let regex = |(rule, of): (usize, &crate::resolved::Rule)| Regex {
            rule,
            form: match ir::lower(&of.pattern) {
                Ok(node) => Form::Pattern(node),
                Err(error) => Form::TooBig(error.to_string()),
            },
        };
        Rules { rules: self.resolved.rules.iter().enumerate().map(regex).collect() }
    }

    /// As [`Stages::plan`].
    #[must_use]
    pub fn plans(&self) -> Rules<Does> {
        let does = |(rule, of): (usize, &crate::resolved::Rule)| {
            let (action, code) = match &of.action {
                Action::Accept(code) => ("accept", *code),
                Action::Reject(code) => ("reject", *code),
                Action::Rewrite(_, code) => ("rewrite", *code),
            };
            let labels = of.labels.iter().map(|label| label.name.clone()).collect();
            Does { rule, action, code, labels, plan: Plan::of(of) }
        };
        Rules { rules: self.resolved.rules.iter().enumerate().map(does).collect() }
    }

    /// As [`Stages::dfa`].
    #[must_use]
    pub fn automata(&self, only: Option<ClassNumber>) -> Classes {
        let class = |(id, class): (usize, &super::Class)| Class {
            id,
            nodes: self.leaves(id).map(|node| node.0).collect(),
            scans: class
                .scans
                .iter()
                .map(|scan| Scan { engine: scan.engine.0, from: scan.from.into() })
                .collect(),
            otherwise: class.otherwise,
        };
        let engine =
            |id| Engine { id, rung: self.filter.reports[id].rung.name(), automaton: self.automaton(id) };
        Classes {
            classes: self.chosen(only).map(class).collect(),
            engines: self.engines(only).into_iter().map(engine).collect(),
        }
    }

    /// As [`Stages::tdfa`].
    #[must_use]
    pub fn label_automata(&self, only: Option<ClassNumber>) -> Ways<'_> {
        let of_rule = |(rule, ways): &(RuleId, Vec<super::WayId>)| OfRule {
            rule: *rule,
            ways: ways.iter().map(|way| way.0).collect(),
        };
        let class = |(id, class): (usize, &super::Class)| OfClass {
            id,
            rules: class.ways.iter().map(of_rule).collect(),
        };
        let ways = self.ways(only).into_iter().map(|(id, rule, way)| {
            let ((told, from), (labels, candidate)) = (way.header(), way.automata());
            let told = told.iter().map(|(tag, mark)| Told { tag: *tag, at: (*mark).into() }).collect();
            Way { id: id.0, rule, told, from: from.into(), labels, candidate }
        });
        Ways { classes: self.chosen(only).map(class).collect(), ways: ways.collect() }
    }
}
