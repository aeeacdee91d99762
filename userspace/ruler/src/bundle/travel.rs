//! A bundle as it travels from whoever reads files to whoever compiles: `{"root", "search", "sources": {name: source}}`.
//!
//! A source is a string, or an array of bytes where it is not UTF-8. What comes is not believed: names are brought to
//! the one form that they have here, and the file whose filters are meant must be there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::{Bundle, normal};

/// What stands in one file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Form")]
pub(super) struct Source(pub(super) Vec<u8>);

/// How a source is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Bytes(Vec<u8>),
}

/// A bundle that nobody has looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    root: String,
    #[serde(default)]
    search: Vec<String>,
    sources: BTreeMap<String, Source>,
}

/// The file whose filters are meant is not among the sources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bundle has no source named {:?}, which is its root", .0)]
pub struct NoRoot(String);

impl From<Form> for Source {
    fn from(form: Form) -> Self {
        match form {
            Form::Text(text) => Self(text.into_bytes()),
            Form::Bytes(bytes) => Self(bytes),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

impl TryFrom<Written> for Bundle {
    type Error = NoRoot;

    fn try_from(written: Written) -> Result<Self, NoRoot> {
        let Written { root, search, sources } = written;
        let root = normal(&root);
        let sources: BTreeMap<_, _> =
            sources.into_iter().map(|(name, source)| (normal(&name), source)).collect();
        if sources.contains_key(&root) { Ok(Self { root, search, sources }) } else { Err(NoRoot(root)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_comes_as_it_was_sent() {
        let mut bundle = Bundle::new("./dir/a.rl", "include \"b.rl\" filter f * => accept;");
        bundle.search("lib");
        bundle.add("lib/b.rl", [0x2f, 0x2f, 0xff, 0x0a]);
        let text = serde_json::to_string(&bundle).unwrap();
        let wanted = r#"{"root":"dir/a.rl","search":["lib"],"sources":{"dir/a.rl":"include \"b.rl\" filter f * => accept;","lib/b.rl":[47,47,255,10]}}"#;
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<Bundle>(&text).unwrap(), bundle);
    }

    #[test]
    fn what_comes_is_not_believed() {
        let named_otherwise = r#"{"root":"x/../a.rl","sources":{"./a.rl":"filter f * => accept;"}}"#;
        let read: Bundle = serde_json::from_str(named_otherwise).unwrap();
        assert_eq!(read, Bundle::new("a.rl", "filter f * => accept;"));
        for bad in [
            r#"{"root":"a.rl","sources":{}}"#,
            r#"{"root":"a.rl","sources":{"b.rl":""}}"#,
            r#"{"root":"a.rl","sources":{"a.rl":[256]}}"#,
            r#"{"root":"a.rl","sources":{"a.rl":""},"files":{}}"#,
            r#"{"root":"layouts.rli","sources":{}}"#,
        ] {
            assert!(serde_json::from_str::<Bundle>(bad).is_err(), "{bad}");
        }
    }
}
