//! Case files: what they may say, and how bytes are written in them.
//!
//! A case that names no program has that of the case before it, with its key, bounds and warnings.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A file of `testdata`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) case: Vec<Case>,
}

/// One packet, and what must become of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The text of a program …
    #[serde(default)]
    source: Option<String>,
    /// … or its file.
    #[serde(default)]
    file: Option<String>,
    /// The codes of its warnings, in order.
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    key: Option<String>,
    /// The least and most bytes of an output.
    #[serde(default)]
    bounds: Option<(usize, usize)>,
    pub(crate) packet: String,
    pub(crate) expect: Expect,
}

/// A program and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) text: Text,
    pub(crate) warnings: Vec<String>,
    pub(crate) key: Option<String>,
    pub(crate) bounds: Option<(usize, usize)>,
}

/// Where a program stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Here(String),
    File(String),
}

impl Case {
    /// The program that the case names, if any.
    pub(crate) fn program(&self) -> Option<Program> {
        let text = match (&self.source, &self.file) {
            (Some(source), None) => Text::Here(source.clone()),
            (None, Some(file)) => Text::File(file.clone()),
            (None, None) => return None,
            (Some(_), Some(_)) => panic!("{}: a source or a file", self.name),
        };
        Some(Program { text, warnings: self.warnings.clone(), key: self.key.clone(), bounds: self.bounds })
    }
}

/// What must become of a packet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// None: no rule matches.
    #[serde(default)]
    pub(crate) rule: Option<u16>,
    /// `accept`, `reject` or `rewrite`; `reject` if no rule matches.
    pub(crate) action: String,
    #[serde(default)]
    pub(crate) code: u16,
    /// All labels that the rule reads, by name: begin and end, or nothing if it is not bound.
    #[serde(default)]
    pub(crate) labels: Option<BTreeMap<String, Vec<usize>>>,
    /// The new packet.
    #[serde(default)]
    pub(crate) output: Option<String>,
    /// How many checksums cannot be made.
    #[serde(default)]
    pub(crate) skipped: u32,
    /// The reason why there is no new packet.
    #[serde(default)]
    pub(crate) refused: Option<String>,
    /// How the rule rewrites.
    #[serde(default)]
    pub(crate) plan: Option<String>,
}

/// Bytes: hexadecimal digits, `'text'`, and `*n` behind either for so many times; spaces between them as one likes.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, behind) = word(rest);
        let (times, behind) = match behind.strip_prefix('*') {
            Some(behind) => {
                let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
                (behind[..end].parse().unwrap(), &behind[end..])
            }
            None => (1, behind),
        };
        all.extend(word.repeat(times));
        rest = behind.trim_start();
    }
    all
}

fn word(text: &str) -> (Vec<u8>, &str) {
    if let Some(quoted) = text.strip_prefix('\'') {
        let (inside, behind) = quoted.split_once('\'').unwrap_or_else(|| panic!("no end: {text}"));
        return (inside.into(), behind);
    }
    let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    let digits = &text[..end];
    assert!(end > 0 && end % 2 == 0, "neither hexadecimal digits nor text: {text}");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    ((0..end).step_by(2).map(byte).collect(), &text[end..])
}

#[test]
fn bytes_are_written_in_three_ways() {
    assert_eq!(bytes(" 01 0a0b*2 'a b'*2 ff"), b"\x01\x0a\x0b\x0a\x0ba ba b\xff");
    assert_eq!(bytes(""), b"");
}
