//! Ruler's filters: attached to an interface or a target, replaced, detached, listed.
//!
//! Programs and what is said of them do not fit a datagram: they travel as documents ([`crate::document`]) beside it.
//!
//! | operation | brings | the answer brings |
//! |---|---|---|
//! | `ruler.attach` | the bundle, then the key if there is one | [`Said`] |
//! | `ruler.detach` | – | [`FilterRow`], as it was last |
//! | `ruler.list` | – | an array of [`FilterRow`] |
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::{Call, WordError};

/// Most bytes of a bundle with everything it includes.
pub const MAX_BUNDLE: u64 = 8 << 20;

/// Bytes of a key.
pub const KEY_BYTES: u64 = 32;

/// Most bytes of a document that a daemon answers with.
pub const MAX_ANSWER: u64 = 256 << 20;

/// What a filter is attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// A served interface, by its configured name: all of its queues.
    Port(String),
    /// A target.
    Target(TargetName),
}

/// A target, as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetName {
    /// Of which packet system.
    pub kind: TargetSort,
    /// The number that `target.add` answered, or the slot of an application's session.
    pub id: u16,
    /// Of a session: one of its tuples, by its number there; without one, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuple: Option<u16>,
}

/// The packet systems whose targets can have filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetSort {
    /// A target that the engines implement.
    Builtin,
    /// An application.
    Stack,
}

/// Which packets a filter of an interface judges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Those that steering claims; the rest stays the OS stack's.
    #[default]
    Steered,
    /// All: what its header finally rejects is dropped, whosever it is.
    Interface,
}

/// `ruler.attach`: attaches a filter, in place of the one that is there. Root only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulerAttach {
    /// To what.
    #[serde(rename = "where")]
    pub at: Where,
    /// Of an interface's filter: which packets it judges.
    #[serde(default)]
    pub scope: Scope,
    /// Of an interface's filter: accepted with one of these codes, a packet is the OS stack's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass: Vec<u16>,
    /// Also if neighbours are then not found any more.
    #[serde(default)]
    pub force: bool,
    /// Which filter of the file, where it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Also if some rules can only be judged by simulation.
    #[serde(default)]
    pub allow_slow: bool,
}

/// Answer of `ruler.attach`: with a generation if the filter is in force, without one if the program is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulerAttached {
    /// The filter's number; a later one is greater.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// What the compiler said: beside [`RulerAttached`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// As `octroi ruler check --json` has them.
    pub diagnostics: Vec<Value>,
    /// The same, as people read it.
    pub text: String,
    /// As `octroi ruler compile --emit report` has it, of a program that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
    /// The filter that is in force now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached: Option<FilterRow>,
    /// The filter that it replaced, as it was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<FilterRow>,
}

/// `ruler.detach`: takes a filter away. Root only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulerDetach {
    /// From what.
    #[serde(rename = "where")]
    pub at: Where,
}

/// `ruler.list`: the filters that are attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulerList {}

/// One attached filter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRow {
    /// To what.
    #[serde(rename = "where")]
    pub at: Where,
    /// The name after `filter`.
    pub filter: String,
    /// The file that has it.
    pub file: String,
    /// Which packets it judges; of a target's filter always those of the target.
    pub scope: Scope,
    /// Codes with which packets are the OS stack's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass: Vec<u16>,
    /// Its number; a later one is greater.
    pub generation: u64,
    /// The engines that judge what headers leave, each by its name.
    pub engines: Vec<String>,
    /// Why it is slower than a filter should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    /// What runs of it in XDP.
    pub header: HeaderRow,
    /// Its rules, in their order.
    pub rules: Vec<RuleRow>,
    /// Packets that no rule matched.
    pub unmatched: u64,
}

/// What of a filter runs in XDP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderRow {
    /// Instructions of its header program; without one, the workers do all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u32>,
    /// How many the verifier walked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<u32>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the verifier said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// One rule of an attached filter, and what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRow {
    /// Its number, from 1.
    pub rule: u32,
    /// The line where it stands, from 1.
    pub line: u32,
    /// `accept`, `reject` or `rewrite`.
    pub action: String,
    /// Its code.
    pub code: u16,
    /// Packets that workers found it to be the first to match.
    pub matched: u64,
    /// Those of them that it could not rewrite, and which were dropped.
    pub refused: u64,
    /// Packets for which the header program decided on it; claimed or not.
    pub header: u64,
}

impl Call for RulerAttach {
    const OP: &'static str = "ruler.attach";
    type Answer = RulerAttached;
}

impl Call for RulerDetach {
    const OP: &'static str = "ruler.detach";
    type Answer = super::answer::Done;
}

impl Call for RulerList {
    const OP: &'static str = "ruler.list";
    type Answer = super::answer::Done;
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(name) => f.pad(name),
            Self::Target(target) => f.pad(&target.to_string()),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, id, tuple } = self;
        write!(f, "{kind}:{id}")?;
        tuple.map_or(Ok(()), |tuple| write!(f, ".{tuple}"))
    }
}

impl fmt::Display for TargetSort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Builtin => "builtin",
            Self::Stack => "stack",
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Steered => "steered",
            Self::Interface => "interface",
        })
    }
}

impl FromStr for Scope {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "steered" => Ok(Self::Steered),
            "interface" => Ok(Self::Interface),
            _ => Err(WordError { expected: "\"steered\" or \"interface\"" }),
        }
    }
}

/// `builtin:3`, `stack:0`, or `stack:0.2` for one tuple of an application.
impl FromStr for TargetName {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let wrong = || WordError { expected: "\"builtin:TUPLE\", \"stack:SLOT\" or \"stack:SLOT.TUPLE\"" };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str| text.parse().map_err(|_| wrong());
        match (kind, rest.split_once('.')) {
            ("builtin", None) => Ok(Self { kind: TargetSort::Builtin, id: number(rest)?, tuple: None }),
            ("stack", None) => Ok(Self { kind: TargetSort::Stack, id: number(rest)?, tuple: None }),
            ("stack", Some((id, tuple))) => {
                Ok(Self { kind: TargetSort::Stack, id: number(id)?, tuple: Some(number(tuple)?) })
            }
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{
        refusal::Code,
        request::{Op, tests::read},
    };

    #[test]
    fn requests_have_their_names_and_defaults() {
        let attach = RulerAttach {
            at: Where::Port("eth0".into()),
            scope: Scope::Steered,
            pass: Vec::new(),
            force: false,
            filter: None,
            allow_slow: false,
        };
        let text = r#""op":"ruler.attach","where":{"port":"eth0"}"#;
        assert_eq!(read(text), Ok(Op::RulerAttach(attach.clone())));
        let at = Where::Target(TargetName { kind: TargetSort::Stack, id: 3, tuple: Some(2) });
        let (scope, pass) = (Scope::Interface, vec![7, 9]);
        let attach = RulerAttach {
            at: at.clone(),
            scope,
            pass,
            force: true,
            filter: Some("f".into()),
            allow_slow: true,
        };
        let text = r#""op":"ruler.attach","where":{"target":{"kind":"stack","id":3,"tuple":2}},"scope":"interface","pass":[7,9],"force":true,"filter":"f","allow_slow":true"#;
        assert_eq!(read(text), Ok(Op::RulerAttach(attach)));
        let text = r#""op":"ruler.detach","where":{"target":{"kind":"stack","id":3,"tuple":2}}"#;
        assert_eq!(read(text), Ok(Op::RulerDetach(RulerDetach { at })));
        assert_eq!(read(r#""op":"ruler.list""#), Ok(Op::RulerList(RulerList {})));
        for bad in [
            r#""op":"ruler.attach""#,
            r#""op":"ruler.attach","where":"eth0""#,
            r#""op":"ruler.attach","where":{"port":"eth0","target":{"kind":"stack","id":1}}"#,
            r#""op":"ruler.attach","where":{"target":{"kind":"module","id":1}}"#,
            r#""op":"ruler.attach","where":{"port":"eth0"},"scope":"all""#,
            r#""op":"ruler.attach","where":{"port":"eth0"},"pass":[65536]"#,
            r#""op":"ruler.attach","where":{"port":"eth0"},"source":"filter f * => accept;""#,
            r#""op":"ruler.list","after":1"#,
        ] {
            assert_eq!(read(bad), Err(Code::Einval), "{bad}");
        }
    }

    #[test]
    fn targets_are_named_by_their_kind_and_number() {
        for text in ["builtin:3", "stack:0", "stack:65535.2"] {
            assert_eq!(text.parse::<TargetName>().unwrap().to_string(), text);
        }
        for bad in ["", "3", "builtin:", "builtin:3.1", "stack:65536", "stack:1.", "module:1", "stack:1.2.3"]
        {
            assert!(bad.parse::<TargetName>().is_err(), "{bad}");
        }
    }
}
