//! Programs that are open in an editor, and what is to be shown at them.
//!
//! A program that is open counts as it is there, in what includes it too; what is not open counts as it is on disk.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
};

use lsp_types::{
    Diagnostic, DiagnosticRelatedInformation, DiagnosticSeverity, Location, NumberOrString, Uri,
};
use ruler::{
    bundle::Bundle,
    diagnostic::{self, Severity},
};

use super::place;
use crate::verb::ruler::program::Reading;

/// What an editor has open.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// By the path of its file.
    texts: BTreeMap<String, String>,
    /// Files at which something is shown.
    marked: BTreeSet<String>,
    /// Something changed since all was judged.
    changed: bool,
}

impl Buffers {
    /// A document is open, and this is its text. What is no file on this machine is passed over.
    pub(super) fn write(&mut self, uri: Uri, text: String) {
        if let Some(path) = place::path(&uri) {
            self.texts.insert(path, text);
            self.changed = true;
        }
    }

    /// A document is open no longer.
    pub(super) fn close(&mut self, uri: &Uri) {
        let was_open = place::path(uri).is_some_and(|path| self.texts.remove(&path).is_some());
        self.changed |= was_open;
    }

    /// What is to be shown where, if anything changed; nothing, where what was shown is wrong no longer.
    pub(super) fn judge(&mut self, reading: &Reading) -> Vec<(Uri, Vec<Diagnostic>)> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let mut found: BTreeMap<String, Vec<Diagnostic>> =
            self.marked.iter().map(|path| (path.clone(), Vec::new())).collect();
        for path in self.texts.keys() {
            found.entry(path.clone()).or_default();
            for (file, diagnostic) in self.program(path, reading) {
                let at = found.entry(file).or_default();
                // Two programs that include a file find the same in it.
                if !at.contains(&diagnostic) {
                    at.push(diagnostic);
                }
            }
        }
        self.marked = found.iter().filter(|(_, at)| !at.is_empty()).map(|(path, _)| path.clone()).collect();
        found.into_iter().map(|(path, at)| (place::uri(&path), at)).collect()
    }

    /// What is wrong with a program, each with its file.
    fn program(&self, path: &str, reading: &Reading) -> Vec<(String, Diagnostic)> {
        let bundle = match reading.read_by(path, |name| self.open(name)) {
            Ok(bundle) => bundle,
            Err(error) => {
                let message = format!("{error:#}");
                let severity = Some(DiagnosticSeverity::ERROR);
                return vec![(path.to_owned(), Diagnostic { severity, message, ..Diagnostic::default() })];
            }
        };
        let (_, found) = ruler::compile(&bundle, &reading.limits());
        found.iter().map(|found| (found.file.clone(), shown(&bundle, found))).collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self.texts.get(name) {
            Some(text) => Box::new(text.as_bytes()),
            None => Box::new(File::open(name)?),
        })
    }
}

/// As the protocol has it: what is wrong, what is there, and what to write instead, a line each.
fn shown(bundle: &Bundle, found: &diagnostic::Diagnostic) -> Diagnostic {
    let source = bundle.source(&found.file).unwrap_or_default();
    let range = |span| place::range(source, span);
    let help = found.help.as_ref().map(|help| format!("help: {help}"));
    let lines: Vec<String> =
        [Some(found.message.clone()), found.label.clone(), help].into_iter().flatten().collect();
    let uri = place::uri(&found.file);
    let notes = found.notes.iter().map(|note| DiagnosticRelatedInformation {
        location: Location { uri: uri.clone(), range: range(note.span) },
        message: note.text.clone(),
    });
    Diagnostic {
        range: range(found.span),
        severity: Some(match found.severity {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
        }),
        code: Some(NumberOrString::String(found.code.to_string())),
        source: Some("ruler".to_owned()),
        message: lines.join("\n"),
        related_information: Some(notes.collect::<Vec<_>>()).filter(|notes| !notes.is_empty()),
        ..Diagnostic::default()
    }
}
