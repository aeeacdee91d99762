//! Tokens: what the text of a program is made of.
//!
//! A token owns its value, already decoded; its text is found by its span.

use crate::source::Span;

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Which, with its value.
    pub kind: Kind,
    /// Its bytes in the source.
    pub span: Span,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name.
    Ident(String),
    /// A reserved word.
    Keyword(Keyword),
    /// A number; those that do not fit 64 bits are diagnosed and become 0.
    Number(u64),
    /// A number with `b` or `le`: the size after `~`.
    Size(u64, Unit),
    /// Four numbers with dots.
    Ipv4([u8; 4]),
    /// `ip6"…"`.
    Ip6([u8; 16]),
    /// A string.
    Text(Vec<u8>),
    /// A string followed by `i`: case is ignored.
    CaselessText(Vec<u8>),
    /// `hex"…"` or `mac"…"`.
    Bytes(Vec<u8>),
    /// A sign.
    Sign(&'static str),
    /// The end of the source.
    End,
}

/// What a size counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bits.
    Bits,
    /// Bytes, most significant first.
    Bytes,
    /// Bytes, least significant first.
    LittleEndian,
}

/// A reserved word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// Takes in another file.
    Include,
    /// Defines a template.
    Pattern,
    /// Defines a filter.
    Filter,
    /// Restricts or replaces fields.
    With,
    /// Lets a packet through.
    Accept,
    /// Drops a packet.
    Reject,
    /// Any one byte.
    Byte,
    /// Any one bit.
    Bit,
    /// The code of a rewritten packet.
    Class,
}

impl Keyword {
    /// The word's keyword, if it is one.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "include" => Self::Include,
            "pattern" => Self::Pattern,
            "filter" => Self::Filter,
            "with" => Self::With,
            "accept" => Self::Accept,
            "reject" => Self::Reject,
            "byte" => Self::Byte,
            "bit" => Self::Bit,
            "class" => Self::Class,
            _ => return None,
        })
    }
}

impl Kind {
    /// Whether a definition or include begins here: reading goes on from it after an error.
    pub fn begins_definition(&self) -> bool {
        matches!(self, Self::Keyword(Keyword::Include | Keyword::Pattern | Keyword::Filter))
    }
}
