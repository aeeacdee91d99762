//! Values that are written in a form of their own: escapes, addresses, and bytes in quotes after a word.
//!
//! Pure conversions: `None` is the only complaint, the lexer says where and why.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::token::Kind;

/// The byte an escape at the start of `text` stands for, and how long the escape is.
pub(super) fn escape(text: &[u8]) -> Option<(u8, usize)> {
    let simple = |byte| Some((byte, 2));
    match *text.get(1)? {
        b'n' => simple(b'\n'),
        b'r' => simple(b'\r'),
        b't' => simple(b'\t'),
        b'0' => simple(0),
        quoted @ (b'\\' | b'"') => simple(quoted),
        b'x' => Some((pair(text.get(2..4)?)?, 4)),
        _ => None,
    }
}

/// The value of `word"content"`.
pub(super) fn prefixed(word: &str, content: &[u8]) -> Option<Kind> {
    let text = std::str::from_utf8(content).ok()?;
    match word {
        "hex" => hex(text).map(Kind::Bytes),
        "mac" => mac(text).map(Kind::Bytes),
        "ip6" => text.parse::<Ipv6Addr>().ok().map(|address| Kind::Ip6(address.octets())),
        _ => None,
    }
}

/// Four decimal numbers; the standard library's reading refuses leading zeros, which some take for octal.
pub(super) fn ipv4(text: &str) -> Option<[u8; 4]> {
    text.parse::<Ipv4Addr>().ok().map(|address| address.octets())
}

/// What the author of a short address may have meant.
pub(super) fn whole_address(text: &str) -> String {
    let parts: Vec<_> = text.split('.').filter(|part| !part.is_empty()).collect();
    if 4 <= parts.len() || parts.iter().any(|part| part.parse::<u8>().is_err()) {
        return "an address is written like `192.168.1.0`".to_owned();
    }
    let missing = 4 - parts.len();
    let address = format!("{}{}", parts.join("."), ".0".repeat(missing));
    let bytes = format!("{}{}", parts.join(" "), " byte".repeat(missing));
    format!("`{address}/{}`, or bytes: `{bytes}`", 8 * parts.len())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for run in text.split_ascii_whitespace() {
        for digits in run.as_bytes().chunks(2) {
            bytes.push(pair(digits)?);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

fn mac(text: &str) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = text.split(':').map(|part| pair(part.as_bytes())).collect::<Option<_>>()?;
    (bytes.len() == 6).then_some(bytes)
}

fn pair(digits: &[u8]) -> Option<u8> {
    let &[high, low] = digits else { return None };
    let value = char::from(high).to_digit(16)? << 4 | char::from(low).to_digit(16)?;
    u8::try_from(value).ok()
}
