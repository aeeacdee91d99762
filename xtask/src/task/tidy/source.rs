//! Rust source with its comments and literals blanked, so that a check sees code and nothing else.
//!
//! It is not a parser: it knows comments, strings and characters, keeps every line where it was, and refuses to
//! know more. That is enough to tell `unsafe {` from the word in a sentence.

/// The text with comments, string and character literals replaced by spaces; lines and columns stay.
pub(super) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment(bytes, at);
        if at < end {
            code.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            code.push(bytes[at]);
            at += 1;
        }
    }
    // Blanked bytes are ASCII, and what is copied is copied whole: this cannot lose a character.
    String::from_utf8_lossy(&code).into_owned()
}

/// Where the comment or literal that begins at `at` ends, or `at` if none begins there.
fn literal_or_comment(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + quoted(rest),
        [b'\'', ..] => at + character(rest),
        [b'r', ..] if !continues_word(bytes, at) => at + raw_string(rest),
        _ => at,
    }
}

/// Whether the byte before `at` makes this the middle of a word (`br"…"` and `cr"…"` begin at their `r`).
fn continues_word(bytes: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return false };
    let prefix = matches!(bytes[before], b'b' | b'c') && (before == 0 || !is_word(bytes[before - 1]));
    is_word(bytes[before]) && !prefix
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a literal that starts with its quote; a backslash takes the next byte with it.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == rest[0] => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a character literal, or 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted(rest),
        (Some(first), Some('\'')) => first.len_utf8() + 2,
        _ => 0,
    }
}

/// Length of `r"…"` or `r#"…"#`, or 0 if this `r` is a name (`r#type` too).
fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let body = 2 + hashes;
    let closes =
        |at: &usize| rest[*at] == b'"' && rest[at + 1..].iter().take_while(|&&b| b == b'#').count() >= hashes;
    (body..rest.len()).find(closes).map_or(rest.len(), |quote| quote + 1 + hashes)
}

/// Byte offsets at which `word` stands alone, not as part of a longer name.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let bytes = code.as_bytes();
        let starts = at == 0 || !is_word(bytes[at - 1]);
        let ends = bytes.get(at + word.len()).is_none_or(|&byte| !is_word(byte));
        starts && ends
    })
}

/// The line, counted from 1, of a byte offset.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, left: &str) {
        let code = code_only(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), left);
        assert_eq!(code.lines().count(), text.lines().count(), "lines must stay where they were");
    }

    #[test]
    fn comments_go() {
        check("a // unsafe\nb /* unsafe /* nested */ still */ c", "a b c");
        check("//! unsafe\n/// unsafe\nfn f() {}", "fn f() {}");
    }

    #[test]
    fn strings_go_and_escapes_do_not_end_them() {
        check(r#"let a = "un\"safe"; b"#, "let a = ; b");
        check("x(r#\"a \" unsafe\"#, br\"unsafe\", b\"unsafe\") y", "x( , b , b ) y");
        check("let s = \"two\nlines\"; z", "let s = ; z");
    }

    #[test]
    fn characters_go_and_lifetimes_stay() {
        check(r"match c { '\'' => 1, '{' => 2, '—' => 3 }", "match c { => 1, => 2, => 3 }");
        check("fn f<'a>(x: &'a str) -> &'a str { x }", "fn f<'a>(x: &'a str) -> &'a str { x }");
        check("let r#type = for_r; r", "let r#type = for_r; r");
    }

    #[test]
    fn an_unfinished_literal_ends_with_the_file() {
        check("a \"never closed", "a");
        check("a /* never closed", "a");
        check("a r#\"never closed\"", "a");
    }

    #[test]
    fn a_word_is_not_part_of_a_longer_one() {
        assert_eq!(words("unsafe unsafe_code an_unsafe unsafe{", "unsafe").collect::<Vec<_>>(), [0, 29]);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
