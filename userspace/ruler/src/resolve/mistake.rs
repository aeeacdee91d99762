//! Puts mistakes about fields into words: what was written, what would fit, and where the field comes from.

use super::files::{File, FileId};
use super::nearest::nearest;
use super::shape::{Binding, Shape};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::tree::{Extent, Integer, Path, Value};

/// The most names that a message lists.
const NAMES_MAX: usize = 20;

/// How wide something is, in bits, and how wide it must be.
#[derive(Clone, Copy)]
pub(super) struct Widths {
    pub(super) given: u32,
    pub(super) wanted: u32,
}

/// A value as it is written, with what stands behind `#`.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) value: &'a Value,
    pub(super) copies: u64,
}

/// A path as it is written.
pub(super) fn joined(path: &Path) -> String {
    path.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(".")
}

/// Where a path stands.
pub(super) fn place(path: &Path) -> Span {
    path.iter().map(|name| name.span).reduce(Span::to).unwrap_or(Span::new(0, 0))
}

/// A width as people say it.
pub(super) fn width(bits: Option<u32>) -> String {
    match bits {
        None => "of no fixed width".to_owned(),
        Some(8) => "1 byte".to_owned(),
        Some(1) => "1 bit".to_owned(),
        Some(bits) if bits.is_multiple_of(8) => format!("{} bytes", bits / 8),
        Some(bits) => format!("{bits} bits"),
    }
}

/// Each name in a shape once, in wire order; those that begin with `prefix`, without it.
pub(super) fn names<'a>(shape: &'a Shape, prefix: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    shape.each_name(&mut |binding, _| {
        if let Some(name) = binding.path.strip_prefix(prefix)
            && !names.contains(&name)
        {
            names.push(name);
        }
    });
    names
}

/// Says that `what` has no such field, and which it has.
pub(super) fn no_field(what: &str, path: &Path, mut names: Vec<&str>) -> Diagnostic {
    let written = joined(path);
    let found = Diagnostic::new(Code::UnknownField, place(path), format!("{what} has no field `{written}`"));
    if names.is_empty() {
        return found.help("it has none; only what has a label is a field");
    }
    let near = nearest(&written, names.iter().copied());
    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let more = if NAMES_MAX < names.len() { " …" } else { "" };
    names.truncate(NAMES_MAX);
    found.help(format!("{near}fields: {}{more}", names.join(" ")))
}

/// Says that a value is not as wide as its field, and how to write it.
pub(super) fn wrong_width(
    files: &[File],
    file: FileId,
    written: Written<'_>,
    widths: Widths,
    binding: &Binding,
    path: &Path,
) -> Diagnostic {
    let Widths { given, wanted } = widths;
    let number = if given.is_multiple_of(8) && wanted.is_multiple_of(8) {
        (given / 8).to_string()
    } else {
        width(Some(given))
    };
    let message = format!("field `{}` is {} wide, this value is {number}", joined(path), width(Some(wanted)));
    let mut found = Diagnostic::new(Code::Width, place(path), message).label(described(files, binding));
    let mut note = width(Some(given));
    if let Some(mended) = mended(&files[file.0], written, wanted) {
        let help = format!("write `{mended}`");
        note = format!("{note}; {help}");
        found = found.help(help);
    }
    match value_span(written.value) {
        Some(span) => found.note(span, note),
        None => found,
    }
}

/// `TCP.dest` is `byte#2` (layouts.rli:9).
pub(super) fn described(files: &[File], binding: &Binding) -> String {
    let origin = &binding.origin;
    let file = &files[origin.file.0];
    let name = match &origin.owner {
        Some(owner) => format!("{owner}.{}", origin.name),
        None => origin.name.clone(),
    };
    format!("`{name}` is `{}` ({}:{})", origin.text, file.name, file.line(origin.span.start))
}

/// Where the value is written, as far as the tree knows.
fn value_span(value: &Value) -> Option<Span> {
    let Value::Integer(integer) = value else { return None };
    let mut span = integer.first.span;
    if let Extent::Upto(last) | Extent::Mask(last) = integer.extent {
        span = span.to(last.span);
    }
    Some(integer.size.map_or(span, |size| span.to(size.count.span)))
}

/// A number with the size that its field has.
fn mended(file: &File, written: Written<'_>, wanted: u32) -> Option<String> {
    let Value::Integer(Integer { first, extent, .. }) = written.value else { return None };
    if written.copies != 1 || wanted == 0 {
        return None;
    }
    let number = match extent {
        Extent::One => file.text(first.span),
        Extent::Upto(last) => format!("{}..{}", file.text(first.span), file.text(last.span)),
        Extent::Mask(mask) => format!("{}/{}", file.text(first.span), file.text(mask.span)),
    };
    match wanted {
        8 => Some(number),
        _ if wanted.is_multiple_of(8) && wanted <= 64 => Some(format!("{number}~{}", wanted / 8)),
        _ if wanted <= 64 => Some(format!("{number}~{wanted}b")),
        _ if *extent == Extent::One && first.value == 0 => Some(format!("0#{}", wanted / 8)),
        _ => None,
    }
}
