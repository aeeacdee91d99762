//! Cuts a source into tokens, by longest match.
//!
//! It never fails: what is no token is diagnosed and left out, and a malformed one keeps a harmless value, so that one
//! slip gives one diagnostic.

use super::literal;
use super::token::{Keyword, Kind, Token, Unit};
use crate::diagnostic::{Code, Diagnostic, Reports};
use crate::source::Span;

/// Longer signs first: the first that fits is the longest match.
const SIGNS: [&str; 20] =
    ["=>", "..", ":", "|", ";", "#", "*", ".", "+", "-", "?", "(", ")", "[", "]", ",", "=", "/", "~", "!"];

/// All tokens of `source`, with [`Kind::End`] as the last.
pub(super) fn tokens(source: &[u8], reports: &mut Reports) -> Vec<Token> {
    let mut lexer = Lexer { source, at: 0, reports };
    let mut all = Vec::new();
    if source.starts_with(b"#!") {
        lexer.skip_line();
    }
    loop {
        lexer.skip_blanks();
        let start = lexer.at;
        if start == source.len() || lexer.reports.is_full() {
            all.push(Token { kind: Kind::End, span: Span::new(start, start) });
            return all;
        }
        if let Some(kind) = lexer.token() {
            all.push(Token { kind, span: Span::new(start, lexer.at) });
        }
    }
}

struct Lexer<'a> {
    source: &'a [u8],
    at: usize,
    reports: &'a mut Reports,
}

impl Lexer<'_> {
    fn token(&mut self) -> Option<Kind> {
        match self.source[self.at] {
            b'0'..=b'9' => Some(self.number()),
            b'"' => Some(self.string()),
            first if is_word(first) => Some(self.word()),
            _ => self.sign(),
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.get(self.at + ahead).copied()
    }

    fn skip_line(&mut self) {
        self.run(|byte| byte != b'\n');
    }

    fn skip_blanks(&mut self) {
        loop {
            self.run(|byte| byte.is_ascii_whitespace());
            if !self.source[self.at..].starts_with(b"//") {
                return;
            }
            self.skip_line();
        }
    }

    /// Moves over all bytes that `wanted` takes, and gives them as text; only ASCII ever counts in it.
    fn run(&mut self, wanted: impl Fn(u8) -> bool) -> &str {
        let start = self.at;
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
        std::str::from_utf8(&self.source[start..self.at]).unwrap_or_default()
    }

    fn report(&mut self, code: Code, start: usize, message: &str, help: &str) {
        self.reports.push(Diagnostic::new(code, Span::new(start, self.at), message).help(help));
    }

    fn sign(&mut self) -> Option<Kind> {
        let rest = &self.source[self.at..];
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign.as_bytes())) {
            self.at += sign.len();
            return Some(Kind::Sign(sign));
        }
        let start = self.at;
        self.at += 1;
        // The whole character, not each of its bytes.
        self.run(|byte| byte & 0xc0 == 0x80);
        self.report(
            Code::BadCharacter,
            start,
            "no token begins with this character",
            "text belongs into \"…\" or a // comment",
        );
        None
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        let word = self.run(is_word).to_owned();
        if let Some(keyword) = Keyword::of(&word) {
            return Kind::Keyword(keyword);
        }
        if self.peek(0) != Some(b'"') {
            return Kind::Ident(word);
        }
        let Some(content) = self.quoted() else { return Kind::Bytes(Vec::new()) };
        let kind = literal::prefixed(&word, &content);
        if kind.is_none() {
            let message = format!("`{word}\"…\"` is unknown, or does not take this");
            self.report(
                Code::BadPrefixed,
                start,
                &message,
                "write hex\"ce 63\", mac\"02:00:00:00:00:01\" or ip6\"2001:db8::\"",
            );
        }
        self.untouched();
        kind.unwrap_or(Kind::Bytes(Vec::new()))
    }

    fn string(&mut self) -> Kind {
        let Some(content) = self.quoted() else { return Kind::Text(Vec::new()) };
        let caseless = self.peek(0) == Some(b'i');
        if caseless {
            self.at += 1;
        }
        self.untouched();
        if caseless { Kind::CaselessText(content) } else { Kind::Text(content) }
    }

    /// What stands between quotes, escapes decoded; `None`, diagnosed, if the line ends first.
    fn quoted(&mut self) -> Option<Vec<u8>> {
        let start = self.at;
        let mut content = Vec::new();
        self.at += 1;
        loop {
            match self.peek(0) {
                None | Some(b'\n') => {
                    self.report(
                        Code::BadString,
                        start,
                        "this string has no end on its line",
                        "close it with `\"`; a new line is `\\n`",
                    );
                    return None;
                }
                Some(b'"') => {
                    self.at += 1;
                    return Some(content);
                }
                Some(b'\\') => content.push(self.escape()),
                Some(byte) => {
                    content.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self) -> u8 {
        let start = self.at;
        if let Some((byte, length)) = literal::escape(&self.source[start..]) {
            self.at += length;
            return byte;
        }
        // Only the backslash: what follows may be the end of the string's line.
        self.at += 1;
        self.report(Code::BadString, start, "unknown escape", "escapes are \\\\ \\\" \\n \\r \\t \\0 \\xHH");
        b'\\'
    }

    fn number(&mut self) -> Kind {
        let start = self.at;
        let radix = match (self.peek(0), self.peek(1), self.peek(2)) {
            (Some(b'0'), Some(b'x'), Some(next)) if next.is_ascii_hexdigit() => 16,
            (Some(b'0'), Some(b'b'), Some(b'0' | b'1')) => 2,
            _ => 10,
        };
        if radix != 10 {
            self.at += 2;
        }
        let digits = self.run(|byte| char::from(byte).is_digit(radix)).to_owned();
        let value = u64::from_str_radix(&digits, radix).unwrap_or_else(|_| {
            self.report(
                Code::TooBig,
                start,
                "this number does not fit in 8 bytes",
                "write longer values as hex\"…\"",
            );
            0
        });
        let dotted = self.peek(0) == Some(b'.') && self.peek(1).is_some_and(|next| next.is_ascii_digit());
        let kind = if radix != 10 {
            Kind::Number(value)
        } else if dotted {
            self.address(start)
        } else {
            self.sized(value)
        };
        self.untouched();
        kind
    }

    fn sized(&mut self, value: u64) -> Kind {
        let rest = &self.source[self.at..];
        let ends = |length: usize| !rest.get(length).copied().is_some_and(is_word);
        let (length, unit) = match rest {
            [b'b', ..] if ends(1) => (1, Unit::Bits),
            [b'l', b'e', ..] if ends(2) => (2, Unit::LittleEndian),
            _ => return Kind::Number(value),
        };
        self.at += length;
        Kind::Size(value, unit)
    }

    fn address(&mut self, start: usize) -> Kind {
        // Two dots in a row are a range, never part of an address.
        while self.peek(0).is_some_and(|byte| byte.is_ascii_digit() || byte == b'.')
            && !self.source[self.at..].starts_with(b"..")
        {
            self.at += 1;
        }
        let text = String::from_utf8_lossy(&self.source[start..self.at]).into_owned();
        if let Some(address) = literal::ipv4(&text) {
            return Kind::Ipv4(address);
        }
        if text.ends_with('.') && self.peek(0) == Some(b'*') {
            self.at += 1;
        }
        self.report(Code::BadAddress, start, "an address has four numbers", &literal::whole_address(&text));
        Kind::Ipv4([0; 4])
    }

    fn untouched(&mut self) {
        let start = self.at;
        if !self.run(is_word).is_empty() {
            self.report(
                Code::Touching,
                start,
                "this touches the token before it",
                "put a space between them",
            );
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
