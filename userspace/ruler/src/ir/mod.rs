//! The regex form: byte sets, repetition and tags, which every automaton is made from.
//!
//! Fields and counts are gone: a field is a choice of byte sequences, a counted length a choice over the field's values.

mod byteset;

pub use byteset::ByteSet;

/// A pattern over bytes, with preferences: earlier arms and fewer repetitions first.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// `*`.
    #[must_use]
    pub fn any() -> Self {
        Self::Repeat { body: Box::new(Self::Byte(ByteSet::ALL)), least: 0, most: None }
    }
}
