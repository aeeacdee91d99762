//! Diagnostics as text, with carets under the source.
//!
//! No colours: whoever prints knows the terminal, this crate does not.

use ariadne::{Config, IndexType, Label, Report, ReportKind, Source};

use super::{Diagnostic, Severity};
use crate::bundle::Bundle;
use crate::source::Span;

/// Renders all of them; `bundle` is what was read.
///
/// Bytes that are not part of valid UTF-8 are shown as `?`, one for each, so that places stay right.
#[must_use]
pub fn text(bundle: &Bundle, diagnostics: &[Diagnostic]) -> String {
    let mut out = Vec::new();
    for found in diagnostics {
        write(bundle, found, &mut out);
    }
    // Lines end where their text ends: nothing that cannot be seen.
    String::from_utf8_lossy(&out).lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn write(bundle: &Bundle, found: &Diagnostic, out: &mut Vec<u8>) {
    let name = found.file.as_str();
    let place = |span: Span| (name, span.start..span.end);
    // What stands farther right is told first: then no line crosses another.
    let order = |span: Span| i32::try_from(span.start).map_or(i32::MIN, |start| -start);
    let label = |span: Span, text: &str| Label::new(place(span)).with_message(text).with_order(order(span));
    let mut report = Report::build(ReportKind::Error, place(found.span))
        .with_config(Config::default().with_color(false).with_index_type(IndexType::Byte))
        .with_label(label(found.span, found.label.as_deref().unwrap_or("here")));
    for note in &found.notes {
        report = report.with_label(label(note.span, &note.text));
    }
    if let Some(help) =
        found.help.as_ref().filter(|help| !found.notes.iter().any(|note| note.text.ends_with(*help)))
    {
        report = report.with_help(help);
    }
    let shown = printable(bundle.source(name).unwrap_or_default());
    let mut body = Vec::new();
    // Writing to memory cannot fail; were it to, the report is cut short, which shows.
    let _ = report.finish().write((name, Source::from(&shown)), &mut body);
    let severity = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    // The library's first line has another form.
    let rest = body.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    out.extend(format!("{severity}[{}]: {}", found.code, found.message).bytes());
    out.extend(&body[rest..]);
}

/// Bytes that would do something to a terminal are shown as `?` too.
fn printable(source: &[u8]) -> String {
    let mut shown = String::with_capacity(source.len());
    for chunk in source.utf8_chunks() {
        let visible = |letter: char| letter == '\n' || letter == '\t' || !letter.is_control();
        for letter in chunk.valid().chars() {
            if visible(letter) {
                shown.push(letter);
            } else {
                shown.extend(std::iter::repeat_n('?', letter.len_utf8()));
            }
        }
        shown.extend(chunk.invalid().iter().map(|_| '?'));
    }
    shown
}
