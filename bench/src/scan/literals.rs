//! Random literals, and how each scanner wants to be told of them.

use std::fmt::Write as _;

use crate::traffic::seeded::Seeded;

/// Some literals of lower-case letters, all of one length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Literals(Vec<Vec<u8>>);

impl Literals {
    /// So many, each of `len` letters.
    #[must_use]
    pub fn random(count: usize, len: usize, seed: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        let literal = |_| (0..len).map(|_| b'a' + seeded.below(26) as u8).collect();
        Self((0..count).map(literal).collect())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.0.iter()
    }

    /// A Ruler program: a packet with one of them is rejected, any other accepted.
    #[must_use]
    pub fn program(&self) -> String {
        let quoted: Vec<String> =
            self.iter().map(|literal| format!("\"{}\"", String::from_utf8_lossy(literal))).collect();
        format!("filter literals\n  * ({}) * => reject 1;\n  * => accept;\n", quoted.join(" | "))
    }

    /// One a line, in hexadecimal digits: what `bench/peers/scan.h` reads.
    #[must_use]
    pub fn lines(&self) -> String {
        self.iter().map(|literal| hex(literal, "") + "\n").collect()
    }

    /// A definition for re2c.
    #[must_use]
    pub fn re2c(&self) -> String {
        let quoted: Vec<String> = self.iter().map(|literal| format!("\"{}\"", hex(literal, "\\x"))).collect();
        format!("/*!re2c\nliteral = {};\n*/\n", quoted.join("\n  | "))
    }

    /// Regular expressions, one each.
    #[must_use]
    pub fn expressions(&self) -> Vec<String> {
        self.iter().map(|literal| hex(literal, "\\x")).collect()
    }
}

/// Each byte as two digits behind `prefix`.
fn hex(bytes: &[u8], prefix: &str) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{prefix}{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_the_same() {
        let literals = Literals(vec![b"ab".to_vec(), b"cz".to_vec()]);
        assert_eq!(
            literals.program(),
            "filter literals\n  * (\"ab\" | \"cz\") * => reject 1;\n  * => accept;\n"
        );
        assert_eq!(literals.lines(), "6162\n637a\n");
        assert_eq!(literals.re2c(), "/*!re2c\nliteral = \"\\x61\\x62\"\n  | \"\\x63\\x7a\";\n*/\n");
        assert_eq!(literals.expressions(), ["\\x61\\x62", "\\x63\\x7a"]);
    }

    #[test]
    fn the_same_seed_gives_the_same_literals() {
        let literals = Literals::random(100, 8, 1);
        assert_eq!(literals, Literals::random(100, 8, 1));
        assert_ne!(literals, Literals::random(100, 8, 2));
        assert!(literals.iter().all(|l| l.len() == 8 && l.iter().all(u8::is_ascii_lowercase)));
    }
}
