//! The last step: a pattern without the labels that nobody reads.

use std::collections::BTreeMap;

use super::shape::{Run, Shape};
use crate::resolved::{Counter, LabelId, Pattern};

/// The pattern, with the labels that are read, and with counters numbered from 0 in the order in which they are used.
pub(super) fn lower(shape: &Shape, read: &BTreeMap<String, LabelId>) -> Pattern {
    let mut counters = BTreeMap::new();
    number(shape, &mut counters);
    Lower { read, counters: &counters }.pattern(shape)
}

/// Counts alone give a counter its number: a field whose count became a plain repetition counts nothing.
fn number(shape: &Shape, counters: &mut BTreeMap<Counter, Counter>) {
    match shape {
        Shape::Run(_) | Shape::Any => {}
        Shape::Seq(parts) | Shape::Alt(parts) => parts.iter().for_each(|part| number(part, counters)),
        Shape::Repeat { body: inner, .. } | Shape::Named(_, inner) => number(inner, counters),
        Shape::Counted(counted) => {
            let next = u16::try_from(counters.len()).unwrap_or(u16::MAX);
            counters.entry(counted.field).or_insert(Counter(next));
        }
    }
}

struct Lower<'a> {
    read: &'a BTreeMap<String, LabelId>,
    counters: &'a BTreeMap<Counter, Counter>,
}

impl Lower<'_> {
    fn pattern(&self, shape: &Shape) -> Pattern {
        let all = |parts: &[Shape]| parts.iter().map(|part| self.pattern(part)).collect::<Vec<_>>();
        match shape {
            Shape::Run(run) => self.run(run),
            Shape::Any => Pattern::Any,
            Shape::Seq(parts) => one_after_the_other(all(parts)),
            Shape::Alt(arms) => Pattern::Alt(all(arms)),
            Shape::Repeat { body, least, most } => {
                Pattern::Repeat { body: Box::new(self.pattern(body)), least: *least, most: *most }
            }
            Shape::Counted(counted) => Pattern::Counted {
                field: self.counters.get(&counted.field).copied().unwrap_or(counted.field),
                times: counted.times,
                plus: counted.plus,
            },
            Shape::Named(binding, inner) => {
                let inner = self.pattern(inner);
                match self.read.get(&binding.path) {
                    Some(label) => Pattern::Label(*label, Box::new(inner)),
                    None => inner,
                }
            }
        }
    }

    fn run(&self, run: &Run) -> Pattern {
        let mut fields = run.fields.clone();
        for field in &mut fields {
            field.counts = field.counts.and_then(|counter| self.counters.get(&counter).copied());
        }
        Pattern::Run(fields)
    }
}

/// Where a label went, a sequence may stand in a sequence.
fn one_after_the_other(parts: Vec<Pattern>) -> Pattern {
    let mut flat = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Pattern::Seq(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    Pattern::Seq(flat)
}
