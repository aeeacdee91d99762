//! Gathers the diagnostics of all files of a program, up to the limit of one reading.

use super::files::FileId;
use crate::diagnostic::{DIAGNOSTICS_MAX, Diagnostic};

/// Diagnostics, each with its file.
#[derive(Default)]
pub(super) struct Findings {
    names: Vec<String>,
    found: Vec<(FileId, Diagnostic)>,
}

impl Findings {
    /// The next file's name.
    pub(super) fn add_file(&mut self, name: String) {
        self.names.push(name);
    }

    /// Takes one; beyond the limit warnings make room for errors, and what is left is dropped.
    pub(super) fn push(&mut self, file: FileId, diagnostic: Diagnostic) {
        if self.is_full() {
            let warning = self.found.iter().rposition(|(_, found)| !found.is_error());
            match warning {
                Some(at) if diagnostic.is_error() => drop(self.found.remove(at)),
                _ => return,
            }
        }
        self.found.push((file, diagnostic));
    }

    pub(super) fn is_full(&self) -> bool {
        DIAGNOSTICS_MAX <= self.found.len()
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(|(_, found)| found.is_error())
    }

    /// All of them, by file and place.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|(file, found)| (*file, found.span, found.code));
        let names = &self.names;
        self.found.into_iter().map(|(file, found)| found.file(&names[file.0])).collect()
    }
}
