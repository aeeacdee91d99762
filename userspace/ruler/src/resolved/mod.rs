//! The resolved tree: what a filter means, with every name looked up and every template written out.
//!
//! It is what all engines, and the oracle that judges them, start from; it knows nothing of automata or of how packets
//! are stored. Whatever it can hold is legal: widths fit, ranges are not empty, labels are bound at most once on any way.

pub mod action;
pub mod field;

pub use action::{Action, Item, Part, Setting, Value};
pub use field::{Allowed, Field, Order, Test};

use serde::Serialize;

use crate::source::Span;

/// A filter: its rules in order, of which the first that matches wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The name after `filter`.
    pub name: String,
    /// At least one, at most 16,384.
    pub rules: Vec<Rule>,
}

/// One `pattern => action`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which packets, from their first byte to their last.
    pub pattern: Pattern,
    /// What becomes of them.
    pub action: Action,
    /// The labels that the action reads, by [`LabelId`]; those that nobody reads are not here.
    pub labels: Vec<Label>,
    /// Where it stands in the file that has the filter.
    pub span: Span,
}

/// Which rule of a filter: an index into [`Filter::rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RuleId(pub u16);

/// Bytes that an action reads, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// As the rule says it: `ih`, `ih.src`.
    pub name: String,
    /// How many bytes it binds, if always the same.
    pub width: Option<u32>,
}

/// Which of a rule's [`Label`]s: an index into [`Rule::labels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LabelId(pub u16);

/// Which of a rule's counting fields: numbered from 0 in each rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(pub u16);

impl RuleId {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Which bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Fields side by side, from the most significant bit of the first byte: whole bytes together, at least one.
    /// A string is one field a byte; an IPv6 address is fields of at most eight bytes.
    Run(Vec<Field>),
    /// `*`: any bytes, fewer preferred.
    Any,
    /// One after the other; none is no bytes.
    Seq(Vec<Pattern>),
    /// One of these, earlier preferred; never empty.
    Alt(Vec<Pattern>),
    /// `body` so many times in a row, fewer preferred. It cannot match no bytes. `most`: `None` is open.
    Repeat {
        /// What is repeated.
        body: Box<Pattern>,
        /// At least.
        least: u32,
        /// At most.
        most: Option<u32>,
    },
    /// As many bytes of any kind as an earlier field of the same way says: `value * times + plus`; negative: no match.
    Counted {
        /// The field.
        field: Counter,
        /// What its value is multiplied by.
        times: u32,
        /// What is added.
        plus: i32,
    },
    /// The bytes that this matches have a name that the action uses.
    Label(LabelId, Box<Pattern>),
}
