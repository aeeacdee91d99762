//! What a filter became: its classes, engines and plans, in numbers that people and programs read.

use serde::Serialize;

use super::{Deed, Filter};
use crate::{exec::ladder, rewrite::Kind, source::Span, tdfa::Method};

/// Of a filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The name after `filter`.
    pub filter: String,
    /// Nodes of the header DAG.
    pub nodes: usize,
    /// What headers leave: different classes.
    pub classes: usize,
    /// Classes whose verdict the header decides.
    pub decided: usize,
    /// The memory of all tables.
    pub table_bytes: usize,
    /// Of each rule, in order.
    pub rules: Vec<RuleReport>,
    /// Of each engine.
    pub engines: Vec<EngineReport>,
}

/// Of one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleReport {
    /// From 1, as messages say it.
    pub number: usize,
    /// Where it stands.
    pub span: Span,
    /// `accept`, `reject` or `rewrite`.
    pub action: &'static str,
    /// Its code.
    pub code: u16,
    /// How a packet is rewritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<&'static str>,
    /// How labels are found where the header does not say it, the slowest of all classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
}

/// Of one engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineReport {
    /// `small table`, `large table`, …
    pub rung: &'static str,
    /// Rules, states, byte classes, cells and bytes of each table.
    pub tables: Vec<ladder::Size>,
    /// Why it is no better one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

impl Filter {
    /// What it became.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            filter: self.name().to_owned(),
            nodes: self.dag.nodes().count(),
            classes: self.classes.len(),
            decided: self.classes.iter().filter(|class| class.scans.is_empty()).count(),
            table_bytes: self.reports.iter().flat_map(|report| &report.tables).map(|size| size.bytes).sum(),
            rules: (0..self.rules.len()).map(|index| self.rule_report(index)).collect(),
            engines: self.reports.iter().map(engine).collect(),
        }
    }

    fn rule_report(&self, index: usize) -> RuleReport {
        let rule = &self.rules[index];
        let (action, code, plan) = match &rule.deed {
            Deed::Accept(code) => ("accept", *code, None),
            Deed::Reject(code) => ("reject", *code, None),
            Deed::Rewrite(plan, code) => ("rewrite", *code, Some(plan.kind())),
        };
        let ways =
            self.classes.iter().flat_map(|class| &class.ways).filter(|(rule, _)| rule.index() == index);
        let ways = ways.flat_map(|(_, ways)| ways).map(|way| &self.ways[way.0]);
        let labels = ways.filter_map(super::way::Way::method).max_by_key(slowness);
        RuleReport {
            number: index + 1,
            span: rule.span,
            action,
            code,
            plan: plan.map(|kind| match kind {
                Kind::Patch => "patch",
                Kind::Cut => "cut",
                Kind::Rebuild => "rebuild",
            }),
            labels: labels.map(|method| method.to_string()),
        }
    }
}

/// A simulation is slower than any automaton, and a large one than a small one.
fn slowness(method: &Method) -> (u8, usize) {
    match method {
        Method::Fixed => (0, 0),
        Method::Tdfa { states, .. } => (1, *states),
        Method::Simulation(_) => (2, 0),
    }
}

fn engine(report: &ladder::Report) -> EngineReport {
    EngineReport {
        rung: report.rung.name(),
        tables: report.tables.clone(),
        given_up: report.given_up.as_ref().map(ToString::to_string),
    }
}
