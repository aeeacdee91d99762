//! The regex form: byte sets, repetition and tags, which every automaton is made from.
//!
//! Fields and counts are gone: a field is a choice of byte sequences, a counted length a choice over the field's values.

#[cfg(test)]
pub(crate) mod arbitrary;
mod byteset;
mod dump;
mod length;
mod lower;
#[cfg(test)]
pub(crate) mod naive;
mod required;
mod run;

pub use byteset::ByteSet;
pub use length::Length;
pub use lower::{NODES_MAX, TooBig, lower};
pub use required::{PIECE_MIN, required};

use serde::Serialize;

/// A pattern over bytes, with preferences: earlier arms and fewer repetitions first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// One byte of a set that is not empty.
    Byte(ByteSet),
    /// One after the other; none is no bytes.
    Seq(Vec<Node>),
    /// One of these; none is no match.
    Alt(Vec<Node>),
    /// `body` so many times in a row. `most`: `None` is open.
    Repeat {
        /// What is repeated.
        body: Box<Node>,
        /// At least.
        least: u32,
        /// At most.
        most: Option<u32>,
    },
    /// No bytes; the position here is remembered.
    Tag(Tag),
}

/// A position that is remembered: the begin or the end of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tag {
    /// Where the label's bytes begin.
    Begin(crate::resolved::LabelId),
    /// Where the byte after them is.
    End(crate::resolved::LabelId),
}

impl Node {
    /// No bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Seq(Vec::new())
    }

    /// No match.
    #[must_use]
    pub const fn never() -> Self {
        Self::Alt(Vec::new())
    }

    /// `*`.
    #[must_use]
    pub fn any() -> Self {
        Self::Repeat { body: Box::new(Self::Byte(ByteSet::ALL)), least: 0, most: None }
    }

    /// Exactly so many bytes of a set.
    #[must_use]
    pub fn bytes(set: ByteSet, count: u32) -> Self {
        match count {
            0 => Self::empty(),
            1 => Self::Byte(set),
            _ => Self::Repeat { body: Box::new(Self::Byte(set)), least: count, most: Some(count) },
        }
    }

    /// One after the other, without needless nesting; with one that never matches among them, no match.
    #[must_use]
    pub fn seq(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for part in parts {
            match part {
                Self::Seq(inner) => flat.extend(inner),
                Self::Alt(arms) if arms.is_empty() => return Self::never(),
                other => flat.push(other),
            }
        }
        match flat.len() {
            1 => flat.swap_remove(0),
            _ => Self::Seq(flat),
        }
    }

    /// One of these, without those that never match.
    #[must_use]
    pub fn alt(arms: impl IntoIterator<Item = Self>) -> Self {
        let mut left: Vec<Self> = arms.into_iter().filter(|arm| *arm != Self::never()).collect();
        match left.len() {
            1 => left.swap_remove(0),
            _ => Self::Alt(left),
        }
    }

    /// Whether it matches every input, as far as can be told without an automaton.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        match self {
            Self::Byte(_) | Self::Tag(_) => false,
            Self::Repeat { body, least: 0, most: None } => **body == Self::Byte(ByteSet::ALL),
            Self::Repeat { .. } => false,
            Self::Alt(arms) => arms.iter().any(Self::matches_all),
            Self::Seq(parts) => {
                let nothing = |part: &Self| part.length().is_some_and(|length| length.least == 0);
                parts.iter().all(nothing) && parts.iter().any(Self::matches_all)
            }
        }
    }
}
