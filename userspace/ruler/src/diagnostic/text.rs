//! Diagnostics as text, with carets under the source.
//!
//! No colours: whoever prints knows the terminal, this crate does not.

use ariadne::{Config, IndexType, Label, Report, ReportKind, Source};

use super::{Diagnostic, Severity};

/// Renders all of them; `name` is the file's, `source` what was read.
///
/// Bytes that are not part of valid UTF-8 are shown as `?`, one for each, so that places stay right.
pub fn text(name: &str, source: &[u8], diagnostics: &[Diagnostic]) -> String {
    let shown = printable(source);
    let mut out = Vec::new();
    for found in diagnostics {
        let kind = match found.severity {
            Severity::Error => ReportKind::Error,
            Severity::Warning => ReportKind::Warning,
        };
        let place = (name, found.span.start..found.span.end);
        let mut report = Report::build(kind, place.clone())
            .with_config(Config::default().with_color(false).with_index_type(IndexType::Byte))
            .with_code(found.code)
            .with_message(&found.message)
            .with_label(Label::new(place).with_message("here"));
        if let Some(help) = &found.help {
            report = report.with_help(help);
        }
        // Writing to memory cannot fail; were it to, the report is cut short, which shows.
        let _ = report.finish().write((name, Source::from(&shown)), &mut out);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn printable(source: &[u8]) -> String {
    let mut shown = String::with_capacity(source.len());
    for chunk in source.utf8_chunks() {
        shown.push_str(chunk.valid());
        shown.extend(chunk.invalid().iter().map(|_| '?'));
    }
    shown
}
