//! The numbers of diagnostics: stable names that scripts and documentation may rely on.
//!
//! RL0xx tokens and files, RL1xx syntax, RL2xx names and widths, RL3xx actions, RL4xx limits, RL9xx warnings. A number
//! is never used again.

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
    /// An included file is not there.
    NotFound = 6,
    /// A file includes itself, directly or not.
    IncludeCycle = 7,
    /// Something else must stand here.
    Unexpected = 101,
    /// A `;` is missing.
    MissingSemicolon = 102,
    /// `with` after what has no fields.
    MisplacedWith = 103,
    /// A count after what may be empty.
    RepeatedEmpty = 104,
    /// A name defined twice.
    Twice = 201,
    /// No template has this name.
    UnknownTemplate = 202,
    /// A template contains itself.
    Recursion = 203,
    /// No field has this name.
    UnknownField = 204,
    /// A value as wide as its field is wanted.
    Width = 205,
    /// A value wider than its size.
    TooBig = 206,
    /// An empty range, mask, size or count.
    Empty = 207,
    /// A field that may hold nothing.
    NothingLeft = 208,
    /// Bits that are not whole bytes together.
    OddBits = 209,
    /// A label that one packet may bind twice.
    BoundTwice = 210,
    /// A label in a repetition.
    RepeatedLabel = 211,
    /// A count from a field that cannot count.
    BadCounter = 212,
    /// No label has this name.
    UnknownLabel = 301,
    /// Bits where bytes are wanted.
    BitLabel = 302,
    /// A function where, or with what, it cannot work.
    Misused = 303,
    /// Two settings write the same bits.
    Overlap = 304,
    /// A field whose place in its item varies.
    NoFixedOffset = 305,
    /// Longer than any packet.
    TooLong = 401,
    /// A limit is passed.
    Limit = 402,
    /// No engine that is allowed fits the states that some rules need.
    StateBudget = 403,
    /// Addresses are anonymised, and there is no key.
    KeyMissing = 404,
    /// The OS stack would not find its neighbours any more.
    CutsOff = 405,
    /// A packet that the payload decides about cannot be given to the OS stack.
    PassByPayload = 406,
    /// `*` touches what stands before it.
    TouchingAny = 901,
    /// A template hides another of the same name.
    Hidden = 902,
    /// A rule that no packet reaches.
    Unreachable = 903,
    /// A rule that matches only packets that end with a header.
    NoOpenEnd = 904,
    /// A checksum that no longer fits.
    StaleChecksum = 905,
    /// A length that no longer fits.
    StaleLength = 906,
    /// Rules that need so many states that they run on a slower engine.
    Explodes = 907,
    /// A rule that the OS stack's packets escape.
    Escapes = 908,
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
