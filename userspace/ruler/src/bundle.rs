//! The sources of one program: the file that was named, and those it includes, each under its name.
//!
//! It opens nothing: whoever can read files hands them over, or hands over a function that reads them.

mod travel;

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use serde::{Deserialize, Serialize};

use crate::diagnostic::Reports;
use crate::syntax::parser::{self, SOURCE_BYTES_MAX};
use crate::syntax::tree::Definition;

/// The name under which the layouts of common headers can always be included.
pub const LAYOUTS_NAME: &str = "layouts.rli";
/// The layouts of common headers.
pub const LAYOUTS: &str = include_str!("layouts.rli");
/// The most files of one program; more is a mistake that would read a whole disk.
pub const FILES_MAX: usize = 1_024;

pub use travel::NoRoot;
use travel::{Source, Written};

/// Sources by name; names are paths with `/`, relative or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Bundle {
    root: String,
    search: Vec<String>,
    sources: BTreeMap<String, Source>,
}

/// A file of a program cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}")]
pub struct Unreadable {
    /// Its name.
    pub name: String,
    /// Why.
    pub source: io::Error,
}

impl Bundle {
    /// A program of one file.
    pub fn new(name: &str, source: impl Into<Vec<u8>>) -> Self {
        let root = normal(name);
        let sources = BTreeMap::from([(root.clone(), Source(source.into()))]);
        Self { root, search: Vec::new(), sources }
    }

    /// The program in a file, with all that it includes and `open` finds: beside it, then in the directories of `search`.
    ///
    /// # Errors
    /// What cannot be read. An included file that is not there is none: the compiler says so.
    pub fn read<R: Read>(
        name: &str,
        search: &[&str],
        mut open: impl FnMut(&str) -> io::Result<R>,
    ) -> Result<Self, Unreadable> {
        let mut read = |name: &str| {
            let mut source = Vec::new();
            // A byte more than a source may have is enough for the compiler to say that it is too long.
            let limit = SOURCE_BYTES_MAX as u64 + 1;
            open(name).and_then(|file| file.take(limit).read_to_end(&mut source)).map(|_| source)
        };
        let unreadable = |name: &str, source| Unreadable { name: name.to_owned(), source };
        let mut bundle = Self::new(name, read(name).map_err(|error| unreadable(name, error))?);
        search.iter().for_each(|directory| bundle.search(directory));
        bundle.gather(|name| match read(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(|error| unreadable(name, error)),
        })?;
        Ok(bundle)
    }

    /// Also looks for included files in this directory, after those named before.
    pub fn search(&mut self, directory: &str) {
        self.search.push(directory.to_owned());
    }

    /// Adds a source under its name.
    pub fn add(&mut self, name: &str, source: impl Into<Vec<u8>>) {
        self.sources.insert(normal(name), Source(source.into()));
    }

    /// Adds what is included, and what that includes, as far as `read` finds it; no more than [`FILES_MAX`] files.
    ///
    /// # Errors
    /// The first of `read`; a file that is not there is none.
    pub fn gather<E>(&mut self, mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>) -> Result<(), E> {
        let mut open: Vec<String> = self.sources.keys().cloned().collect();
        while let Some(name) = open.pop() {
            let tree = parser::parse(self.source(&name).unwrap_or_default(), &mut Reports::default());
            for definition in &tree.definitions {
                let Definition::Include(path, _) = definition else { continue };
                let candidates = self.candidates(&name, &String::from_utf8_lossy(path));
                for candidate in candidates {
                    if self.sources.contains_key(&candidate) || FILES_MAX <= self.sources.len() {
                        break;
                    }
                    if let Some(source) = read(&candidate)? {
                        self.sources.insert(candidate.clone(), Source(source));
                        open.push(candidate);
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The name of the file whose filters are meant.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// All files that were handed over, in the order of their names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.sources.iter().map(|(name, source)| (name.as_str(), source.0.as_slice()))
    }

    /// What stands in the file of this name; the layouts are always there.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&[u8]> {
        let built_in = (name == LAYOUTS_NAME).then_some(LAYOUTS.as_bytes());
        self.sources.get(name).map(|Source(source)| source.as_slice()).or(built_in)
    }

    /// The name of the file that `path`, written in the file `from`, means.
    pub(crate) fn locate(&self, from: &str, path: &str) -> Option<String> {
        let found = self.candidates(from, path).into_iter().find(|name| self.sources.contains_key(name));
        found.or_else(|| (path == LAYOUTS_NAME).then(|| LAYOUTS_NAME.to_owned()))
    }

    /// Beside the including file first, then in each directory of the search.
    fn candidates(&self, from: &str, path: &str) -> Vec<String> {
        let beside = from
            .rsplit_once('/')
            .map_or("", |(directory, _)| if directory.is_empty() { "/" } else { directory });
        let searched = self.search.iter().map(String::as_str);
        std::iter::once(beside).chain(searched).map(|directory| joined(directory, path)).collect()
    }
}

fn joined(directory: &str, path: &str) -> String {
    if directory.is_empty() || path.starts_with('/') {
        normal(path)
    } else {
        normal(&format!("{directory}/{path}"))
    }
}

/// Without `.`, and without `..` where what it undoes is known: one file has one name.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if path.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    let start = if path.starts_with('/') { "/" } else { "" };
    format!("{start}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_name() {
        for (written, name) in
            [("./a//b/../c.rl", "a/c.rl"), ("../x", "../x"), ("/a/../../x", "/x"), ("a/../../x", "../x")]
        {
            assert_eq!(normal(written), name);
        }
    }

    #[test]
    fn what_stands_beside_is_found_before_what_is_searched_and_that_before_the_built_in() {
        let mut bundle = Bundle::new("dir/a.rl", "");
        bundle.search("lib");
        assert_eq!(bundle.locate("dir/a.rl", LAYOUTS_NAME).as_deref(), Some("layouts.rli"));
        assert_eq!(bundle.locate("dir/a.rl", "b.rl"), None);
        bundle.add("lib/layouts.rli", "");
        assert_eq!(bundle.locate("dir/a.rl", LAYOUTS_NAME).as_deref(), Some("lib/layouts.rli"));
        bundle.add("dir/layouts.rli", "");
        assert_eq!(bundle.locate("dir/a.rl", LAYOUTS_NAME).as_deref(), Some("dir/layouts.rli"));
    }

    #[test]
    fn all_that_is_included_is_gathered() {
        let mut bundle = Bundle::new("a.rl", "include \"sub/b.rl\"");
        let disk =
            [("sub/b.rl", "include \"c.rl\" include \"gone.rl\""), ("sub/c.rl", "include \"../a.rl\"")];
        let mut asked = Vec::new();
        let gathered = bundle.gather(|name| {
            asked.push(name.to_owned());
            Ok::<_, &str>(
                disk.iter().find(|(known, _)| *known == name).map(|(_, source)| source.as_bytes().to_vec()),
            )
        });
        assert_eq!(gathered, Ok(()));
        assert_eq!(asked, ["sub/b.rl", "sub/c.rl", "sub/gone.rl"]);
        assert!(bundle.source("sub/c.rl").is_some() && bundle.source("sub/gone.rl").is_none());
        bundle.add("sub/d.rl", "include \"locked.rl\"");
        assert_eq!(
            bundle.gather(|name| if name == "sub/locked.rl" { Err("locked") } else { Ok(None) }),
            Err("locked")
        );
    }
}
