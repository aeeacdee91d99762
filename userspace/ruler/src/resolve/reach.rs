//! Which rules no packet can reach, as far as that shows from how they are written.
//!
//! A rule that begins like an earlier one which then takes any bytes, or that is equal to an earlier one, is never
//! reached. Rules hidden by what several others match together are not found here.

use std::collections::BTreeMap;

use super::lower;
use super::shape::Shape;
use crate::resolved::Pattern;
use crate::source::Span;

/// A rule, by its number from 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Earlier {
    pub(super) number: usize,
    pub(super) span: Span,
}

/// The rules so far; patterns are told apart by how they print.
#[derive(Default)]
pub(super) struct Reach {
    /// What stands before a final `*`.
    open: BTreeMap<String, Earlier>,
    whole: BTreeMap<String, Earlier>,
}

impl Reach {
    /// Adds a rule; gives the first one that leaves it nothing.
    pub(super) fn add(&mut self, number: usize, shape: &Shape, span: Span) -> Option<Earlier> {
        let parts = match lower::lower(shape, &BTreeMap::new()) {
            Pattern::Seq(parts) => parts,
            one => vec![one],
        };
        let rule = Earlier { number, span };
        let mut text = String::new();
        let mut before = self.open.get(&text).copied();
        let mut prefix = 0;
        for part in &parts {
            prefix = text.len();
            text.push_str(&format!("{part:?};"));
            before = first(before, self.open.get(&text).copied());
        }
        before = first(before, self.whole.get(&text).copied());
        if matches!(parts.last(), Some(Pattern::Any)) {
            text.truncate(prefix);
            self.open.entry(text).or_insert(rule);
        } else {
            self.whole.entry(text).or_insert(rule);
        }
        before
    }
}

fn first(a: Option<Earlier>, b: Option<Earlier>) -> Option<Earlier> {
    [a, b].into_iter().flatten().min_by_key(|rule| rule.number)
}
