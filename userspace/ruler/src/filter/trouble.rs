//! What is said of filters that need too much, or much: which rules, how big, and what was done instead.

use super::way::Way;
use crate::{
    dfa::TooMany,
    diagnostic::{Code, Diagnostic},
    exec::ladder::{Report, Rung},
    ir::TooBig,
    resolved::{Filter, RuleId},
    source::Span,
    tdfa::{self, Method},
};

/// The most rules that are named one by one.
const NAMED_MAX: usize = 5;
/// What most often makes states explode, and what to do.
const HELP: &str = "`*` between two parts, or a counted gap behind `*`, multiplies states: use fewer of them, \
                    shorten the gap, or put such rules into a filter of their own";

/// A rule whose regex is too long to be written out.
pub(super) fn too_big(rule: Span, error: &TooBig) -> Diagnostic {
    let limit = u64::try_from(error.limit).unwrap_or(u64::MAX);
    Diagnostic::limit(rule, "a rule's parts, repetitions written out", limit.saturating_add(1), limit)
        .help("use smaller counts, or `*`")
}

/// No engine that is allowed fits.
pub(super) fn over_budget(filter: &Filter, error: &TooMany) -> Diagnostic {
    let named = named(&error.rules);
    if error.limit == 0 {
        let message = format!("{named} could only be judged by simulation, which is slow and not allowed");
        return at(filter, &error.rules, Code::StateBudget, message)
            .help(format!("{HELP}; or allow slow engines"));
    }
    let message = format!("too many states for {named}: stopped at {}, the limit", error.states);
    at(filter, &error.rules, Code::StateBudget, message).help(HELP)
}

/// Some rules run on a slower engine.
pub(super) fn degraded(filter: &Filter, rules: &[RuleId], report: &Report) -> Diagnostic {
    let states = report.given_up.as_ref().map_or_else(
        || "more cells than a table may have".to_owned(),
        |given_up| format!("more than {} states", given_up.states),
    );
    let instead = match report.rung {
        Rung::Simulation => "by simulation, which is slow",
        _ => "on states made on demand",
    };
    let message = format!("{} would need {states} in one table: judged {instead}", named(rules));
    at(filter, rules, Code::Explodes, message).help(HELP)
}

/// A rule whose labels nothing finds.
pub(super) fn labels_too_big(rule: RuleId, span: Span, error: &tdfa::TooBig) -> Diagnostic {
    let message = format!("too many states to find the labels of rule {}: {error}", rule.index() + 1);
    Diagnostic::new(Code::StateBudget, span, message).help(HELP)
}

/// A rule whose labels are found by simulation.
pub(super) fn simulated(rule: Span, way: &Way) -> Option<Diagnostic> {
    let Some(Method::Simulation(excess)) = way.method() else { return None };
    let message =
        format!("the places of this rule's labels would need {excess}: found by simulation, which is slow");
    Some(Diagnostic::new(Code::Explodes, rule, message).help(HELP))
}

fn at(filter: &Filter, rules: &[RuleId], code: Code, message: String) -> Diagnostic {
    let span = |rule: &RuleId| filter.rules[rule.index()].span;
    let first = rules.first().map_or(Span::new(0, 0), span);
    let found = Diagnostic::new(code, first, message);
    let others = rules.iter().skip(1).filter(|rule| span(rule) != first).take(NAMED_MAX - 1);
    others.fold(found, |found, rule| found.note(span(rule), format!("rule {}", rule.index() + 1)))
}

/// `rule 3`, `rules 1 and 4`, `rules 1, 2, 3, 4, 5 and 95 more`.
fn named(rules: &[RuleId]) -> String {
    let mut numbers: Vec<usize> = rules.iter().map(|rule| rule.index() + 1).collect();
    numbers.dedup();
    let text = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    match &numbers[..] {
        [only] => format!("rule {only}"),
        [first @ .., last] if numbers.len() <= NAMED_MAX => format!("rules {} and {last}", text(first)),
        _ => {
            let (first, others) = numbers.split_at(NAMED_MAX.min(numbers.len()));
            format!("rules {} and {} more", text(first), others.len())
        }
    }
}
