//! The numbers of diagnostics: stable names that scripts and documentation may rely on.
//!
//! RL0xx tokens, RL1xx syntax, RL2xx names and widths, RL4xx limits, RL9xx warnings. A number is never used again.

use std::fmt;

use serde::{Serialize, Serializer};

/// Which diagnostic it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// No token begins with this character.
    BadCharacter = 1,
    /// A string without an end, or a bad escape in it.
    BadString = 2,
    /// A letter, digit or `_` touches the end of a token.
    Touching = 3,
    /// Not an IPv4 address.
    BadAddress = 4,
    /// `word"…"` with an unknown word, or with content that the word does not take.
    BadPrefixed = 5,
    /// Something else must stand here.
    Unexpected = 101,
    /// A `;` is missing.
    MissingSemicolon = 102,
    /// `with` after what has no fields.
    MisplacedWith = 103,
    /// A count after `*`.
    RepeatedAny = 104,
    /// A value wider than its size.
    TooBig = 206,
    /// An empty range, mask, size or count.
    Empty = 207,
    /// A limit is passed.
    Limit = 402,
    /// `*` touches what stands before it.
    TouchingAny = 901,
}

/// Whether a program with the diagnostic can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but is probably not what was meant.
    Warning,
}

impl Code {
    /// Codes from 900 on are warnings.
    pub fn severity(self) -> Severity {
        if (self as u16) < 900 { Severity::Error } else { Severity::Warning }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RL{:03}", *self as u16)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
