//! Places as editors name them: files by URI, and positions by line and UTF-16 unit, where Ruler counts bytes.
use std::{fmt::Write as _, str::FromStr as _};

use lsp_types::{Position, Range, Uri};
use ruler::source::Span;

/// The path of a file on this machine; `None`: the URI is of something else, or its path is not UTF-8.
pub(super) fn path(uri: &Uri) -> Option<String> {
    let is_file = uri.scheme().is_some_and(|scheme| scheme.eq_lowercase("file"));
    let path = uri.path().as_estr().decode().into_string().ok()?;
    (is_file && path.starts_with('/')).then(|| path.into_owned())
}

/// The URI of a path.
pub(super) fn uri(path: &str) -> Uri {
    let mut text = String::from("file://");
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                text.push(byte.into())
            }
            // Writing to a string cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    Uri::from_str(&text).unwrap_or_else(|_| unreachable!("a path is encoded byte by byte"))
}

/// Where a span is in a source.
pub(super) fn range(source: &[u8], Span { start, end }: Span) -> Range {
    Range { start: position(source, start), end: position(source, end) }
}

fn position(source: &[u8], byte: usize) -> Position {
    let before = source.get(..byte).unwrap_or(source);
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let column = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let column = String::from_utf8_lossy(column).encode_utf16().count();
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Position { line: narrow(line), character: narrow(column) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_uri_are_the_same_file() {
        for plain in ["/a/b.rl", "/with space/ü%41.rl", "/"] {
            assert_eq!(path(&uri(plain)).as_deref(), Some(plain));
        }
        let path = |text: &str| path(&Uri::from_str(text).unwrap());
        assert_eq!(path("file:///a%20b.rl").as_deref(), Some("/a b.rl"));
        for other in ["untitled:Untitled-1", "http://a/b.rl", "file:///%ff"] {
            assert_eq!(path(other), None, "{other}");
        }
    }

    #[test]
    fn positions_count_lines_and_utf_16() {
        let source = "a\n\u{1f600}ü*\n".as_bytes();
        let at = |byte| {
            let Position { line, character } = position(source, byte);
            (line, character)
        };
        assert_eq!(
            [0, 1, 2, 6, 8, 9, 10, 99].map(at),
            [(0, 0), (0, 1), (1, 0), (1, 2), (1, 3), (1, 4), (2, 0), (2, 0)]
        );
    }
}
