//! Reads the sources of a bundle, each once, and follows what they include.
//!
//! It looks at nothing but includes: what the definitions mean is for others.

use super::findings::Findings;
use crate::bundle::Bundle;
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::tree::{Definition, Program};

/// How deep files may include each other; the first is at depth 0.
pub const INCLUDE_DEPTH_MAX: usize = 16;

/// Which file: an index, in the order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) usize);

/// A file that was read.
pub(super) struct File {
    pub(super) name: String,
    source: Vec<u8>,
    pub(super) tree: Program,
    /// What it includes, in order, and where it says so.
    pub(super) includes: Vec<(FileId, Span)>,
}

impl File {
    /// What stands there; for messages.
    pub(super) fn text(&self, span: Span) -> String {
        String::from_utf8_lossy(self.source.get(span.start..span.end).unwrap_or_default()).into_owned()
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.source.iter().take(at).filter(|byte| **byte == b'\n').count()
    }
}

/// All files of the bundle, the one that was named first.
pub(super) fn read(bundle: &Bundle, findings: &mut Findings) -> Vec<File> {
    let mut reader = Reader { bundle, findings, files: Vec::new(), open: Vec::new() };
    reader.read(bundle.root().to_owned());
    reader.files
}

struct Reader<'a> {
    bundle: &'a Bundle,
    findings: &'a mut Findings,
    files: Vec<File>,
    /// The files whose includes are being followed, from the first to the innermost.
    open: Vec<FileId>,
}

impl Reader<'_> {
    fn read(&mut self, name: String) -> FileId {
        let id = FileId(self.files.len());
        let source = self.bundle.source(&name).unwrap_or_default().to_vec();
        let (tree, found) = crate::read(&name, &source);
        found.into_iter().for_each(|one| self.findings.push(id, one));
        let written: Vec<(String, Span)> = tree
            .definitions
            .iter()
            .filter_map(|definition| match definition {
                Definition::Include(path, span) => Some((String::from_utf8_lossy(path).into_owned(), *span)),
                Definition::Template(..) | Definition::Filter(..) => None,
            })
            .collect();
        self.files.push(File { name, source, tree, includes: Vec::new() });
        self.findings.add_file(self.files[id.0].name.clone());
        self.open.push(id);
        for (path, span) in written {
            if let Some(included) = self.include(id, &path, span) {
                self.files[id.0].includes.push((included, span));
            }
        }
        self.open.pop();
        id
    }

    fn include(&mut self, from: FileId, path: &str, span: Span) -> Option<FileId> {
        let Some(name) = self.bundle.locate(&self.files[from.0].name, path) else {
            let message = format!("`{}` is not there", path.escape_debug());
            let help =
                "a path is relative to this file, then to each directory of `-I`; `layouts.rli` is built in";
            self.findings.push(from, Diagnostic::new(Code::NotFound, span, message).help(help));
            return None;
        };
        let known = self.files.iter().position(|file| file.name == name).map(FileId);
        if let Some(id) = known {
            if !self.open.contains(&id) {
                return Some(id);
            }
            let message = format!("`{name}` includes itself{}", self.way(id));
            let help = "put what both need into a third file";
            self.findings.push(from, Diagnostic::new(Code::IncludeCycle, span, message).help(help));
            return None;
        }
        if INCLUDE_DEPTH_MAX < self.open.len() {
            let (given, limit) = (self.open.len() as u64, INCLUDE_DEPTH_MAX as u64);
            self.findings.push(from, Diagnostic::limit(span, "include depth", given, limit));
            return None;
        }
        Some(self.read(name))
    }

    /// The files between `id` and itself.
    fn way(&self, id: FileId) -> String {
        let between = self.open.iter().skip_while(|open| **open != id).skip(1);
        let names: Vec<_> = between.map(|open| format!("`{}`", self.files[open.0].name)).collect();
        if names.is_empty() { String::new() } else { format!(", by way of {}", names.join(", ")) }
    }
}
