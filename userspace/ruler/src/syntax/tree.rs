//! The tree of one source: what is written, not what it means.
//!
//! Names are not resolved and numbers not judged; shorthand for counts is written out.

use serde::{Serialize, Serializer};

use super::token::Unit;
use crate::source::Span;

/// A source: its definitions in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Includes, templates and filters.
    pub definitions: Vec<Definition>,
}

/// What stands at the top of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Definition {
    /// `include "path"`.
    Include(#[serde(serialize_with = "as_text")] Vec<u8>, Span),
    /// `pattern name : body`.
    Template(Name, Pattern),
    /// `filter name rules`.
    Filter(Name, Vec<Rule>),
}

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Name {
    /// Its letters.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// `label.field.field`: never empty.
pub type Path = Vec<Name>;

/// A number and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Number {
    /// Its value.
    pub value: u64,
    /// Where.
    pub span: Span,
}

/// `pattern => action;`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Which packets.
    pub pattern: Pattern,
    /// What becomes of them.
    pub action: Action,
    /// Pattern to `;`.
    pub span: Span,
}

/// Arms of which one must match; each is a sequence of items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// At least one, earlier arms preferred.
    pub arms: Vec<Vec<Item>>,
}

/// `label: atom # count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The name of the bytes it matches.
    pub label: Option<Name>,
    /// What it matches.
    pub atom: Atom,
    /// How often; `None` is once.
    pub count: Option<Count>,
    /// Label to count.
    pub span: Span,
}

/// The smallest patterns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Atom {
    /// Any byte.
    Byte,
    /// Any bit.
    Bit,
    /// Any bytes, also none.
    Any,
    /// A value, or one of a range.
    Value(Value),
    /// Anything as wide as the set, but not in it.
    Not(Set),
    /// A template's pattern, restricted.
    Template(Name, Vec<Restriction>),
    /// A pattern in parentheses, restricted.
    Group(Pattern, Vec<Restriction>),
}

/// How often an item matches in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// Exactly so often.
    Exactly(Number),
    /// At least and at most; `None` is open. `#*`, `#+` and `#?` become this.
    Range(Number, Option<Number>),
    /// As a field says: `label * times + plus`.
    Field {
        /// The field.
        label: Name,
        /// What it is multiplied by.
        times: Option<Number>,
        /// What is added, with its sign.
        plus: Option<(Sign, Number)>,
    },
}

/// `+` or `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Added.
    Plus,
    /// Taken away.
    Minus,
}

/// A value in a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// A number, with what stands after `..`, `/` and `~`.
    Integer(Integer),
    /// An IPv4 address and its prefix length.
    Ipv4([u8; 4], Option<Number>),
    /// An IPv6 address and its prefix length.
    Ip6([u8; 16], Option<Number>),
    /// Bytes from a string, `hex` or `mac`.
    Bytes(Vec<u8>),
    /// A string of which ASCII case is ignored.
    Caseless(Vec<u8>),
}

/// `first..last~size` or `first/mask~size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Integer {
    /// The value, or the first of a range.
    pub first: Number,
    /// What it is a part of.
    pub extent: Extent,
    /// How wide; `None` is one byte.
    pub size: Option<Size>,
}

/// Which numbers an [`Integer`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// One.
    One,
    /// All up to this one.
    Upto(Number),
    /// All that are equal under this mask.
    Mask(Number),
}

/// A width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// How many.
    pub count: Number,
    /// Of what.
    pub unit: Unit,
}

/// What `!` turns round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// A number, range or masked number; it has no size.
    Integer(Integer),
    /// Any of these.
    AnyOf(Vec<Set>),
}

/// `path = value | value` in a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restriction {
    /// The field.
    pub path: Path,
    /// What it may hold.
    pub values: Vec<Allowed>,
}

/// What a restricted field may hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// A value, so many times in a row.
    Value(Value, Option<Number>),
    /// Anything but these.
    Not(Set),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It goes on unchanged, with a code.
    Accept(Option<Number>),
    /// It is dropped, with a code.
    Reject(Option<Number>),
    /// It is put together anew, with a code.
    Rewrite(Vec<Output>, Option<Number>),
}

/// A piece of the new packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// What a label matched, with fields replaced.
    Part(Path, Vec<Setting>),
    /// Something else.
    Made(Made),
}

/// `path = value` in an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The field.
    pub path: Path,
    /// What it becomes.
    pub value: SetTo,
}

/// What a field becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SetTo {
    /// What a label matched.
    Part(Path),
    /// Something else.
    Made(Made),
}

/// Bytes that do not come straight from the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// A constant, so many times in a row.
    Constant(Value, Option<Number>),
    /// A function of labels.
    Call(Name, Vec<Path>),
}

/// A path is text to whoever reads a tree.
fn as_text<S: Serializer>(path: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(path))
}
