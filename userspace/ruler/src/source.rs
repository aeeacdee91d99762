//! Where in a source something stands.
//!
//! Positions are byte offsets, as sources need not be UTF-8; lines and columns are for the text rendering alone.

use std::fmt;

use serde::Serialize;

/// A half-open range of bytes in a source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// The range from `start` up to, not including, `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest range that holds both.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The empty range right behind this one: where something is missing.
    pub const fn behind(self) -> Self {
        Self { start: self.end, end: self.end }
    }
}

/// `@3..7`: short, as dumps of trees hold many, and easy to strip from one.
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}..{}", self.start, self.end)
    }
}
