//! A tree as source: the same for the same tree, whatever the text that it was read from looked like.
//!
//! Comments are gone, and numbers, strings and counts stand in one form each. Reading it gives the same tree again, places
//! aside.

use std::fmt::{self, Display, Formatter, Result};

use super::{
    token::Unit,
    tree::{
        Action, Allowed, Atom, Count, Definition, Extent, Integer, Item, Made, Name, Output, Pattern,
        Program, Restriction, Rule, Set, SetTo, Setting, Sign, Size, Value,
    },
};

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.definitions.iter().try_for_each(|definition| definition.fmt(f))
    }
}

impl Display for Definition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Include(path, _) => writeln!(f, "include {};", Quoted(path)),
            Self::Template(name, body) => writeln!(f, "pattern {name}: {body};"),
            Self::Filter(name, rules) => {
                writeln!(f, "filter {name}")?;
                rules.iter().try_for_each(|rule| writeln!(f, "  {rule}"))
            }
        }
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.text)
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} => {};", self.pattern, self.action)
    }
}

impl Display for Pattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (number, arm) in self.arms.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { " | " })?;
            list(f, " ", arm)?;
        }
        Ok(())
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(label) = &self.label {
            write!(f, "{label}:")?;
        }
        self.atom.fmt(f)?;
        self.count.iter().try_for_each(|count| write!(f, "#{count}"))
    }
}

impl Display for Atom {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let with = |f: &mut Formatter<'_>, restrictions: &[Restriction]| bracketed(f, restrictions);
        match self {
            Self::Byte => f.write_str("byte"),
            Self::Bit => f.write_str("bit"),
            Self::Any => f.write_str("*"),
            Self::Value(value) => value.fmt(f),
            Self::Not(set) => write!(f, "!{set}"),
            Self::Template(name, restrictions) => {
                name.fmt(f)?;
                with(f, restrictions)
            }
            Self::Group(body, restrictions) => {
                write!(f, "({body})")?;
                with(f, restrictions)
            }
        }
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Exactly(count) => write!(f, "{}", count.value),
            Self::Range(least, most) => match (least.value, most.map(|most| most.value)) {
                (0, None) => f.write_str("*"),
                (1, None) => f.write_str("+"),
                (0, Some(1)) => f.write_str("?"),
                (least, None) => write!(f, "{least}..*"),
                (least, Some(most)) => write!(f, "{least}..{most}"),
            },
            Self::Field { label, times, plus } => {
                write!(f, "({label}")?;
                times.iter().try_for_each(|times| write!(f, "*{}", times.value))?;
                plus.iter().try_for_each(|(sign, number)| write!(f, "{sign}{}", number.value))?;
                f.write_str(")")
            }
        }
    }
}

impl Display for Sign {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Plus => "+",
            Self::Minus => "-",
        })
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Ipv4([a, b, c, d], prefix) => {
                write!(f, "{a}.{b}.{c}.{d}")?;
                prefix.iter().try_for_each(|prefix| write!(f, "/{}", prefix.value))
            }
            Self::Ip6(address, prefix) => {
                write!(f, "ip6\"{}\"", std::net::Ipv6Addr::from(*address))?;
                prefix.iter().try_for_each(|prefix| write!(f, "/{}", prefix.value))
            }
            Self::Bytes(bytes) if !bytes.is_empty() && !bytes.iter().all(|byte| is_plain(*byte)) => {
                f.write_str("hex\"")?;
                for (at, byte) in bytes.iter().enumerate() {
                    write!(f, "{}{byte:02x}", if at == 0 { "" } else { " " })?;
                }
                f.write_str("\"")
            }
            Self::Bytes(bytes) => Quoted(bytes).fmt(f),
            Self::Caseless(bytes) => write!(f, "{}i", Quoted(bytes)),
        }
    }
}

impl Display for Integer {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.extent {
            Extent::One => write!(f, "{}", self.first.value)?,
            Extent::Upto(last) => write!(f, "{}..{}", self.first.value, last.value)?,
            Extent::Mask(mask) => write!(f, "{:#x}/{:#x}", self.first.value, mask.value)?,
        }
        self.size.iter().try_for_each(|size| write!(f, "~{size}"))
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let unit = match self.unit {
            Unit::Bits => "b",
            Unit::Bytes => "",
            Unit::LittleEndian => "le",
        };
        write!(f, "{}{unit}", self.count.value)
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::AnyOf(sets) => {
                f.write_str("(")?;
                list(f, " | ", sets)?;
                f.write_str(")")
            }
        }
    }
}

impl Display for Restriction {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        list(f, ".", &self.path)?;
        f.write_str("=")?;
        list(f, "|", &self.values)
    }
}

impl Display for Allowed {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Value(value, copies) => {
                value.fmt(f)?;
                copies.iter().try_for_each(|copies| write!(f, "#{}", copies.value))
            }
            Self::Not(set) => write!(f, "!{set}"),
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (code, word) = match self {
            Self::Accept(code) => {
                f.write_str("accept")?;
                (code, "")
            }
            Self::Reject(code) => {
                f.write_str("reject")?;
                (code, "")
            }
            Self::Rewrite(outputs, code) => {
                list(f, " ", outputs)?;
                (code, " class")
            }
        };
        code.iter().try_for_each(|code| write!(f, "{word} {}", code.value))
    }
}

impl Display for Output {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Part(path, settings) => {
                list(f, ".", path)?;
                bracketed(f, settings)
            }
            Self::Made(made) => made.fmt(f),
        }
    }
}

impl Display for Setting {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        list(f, ".", &self.path)?;
        f.write_str("=")?;
        match &self.value {
            SetTo::Part(path) => list(f, ".", path),
            SetTo::Made(made) => made.fmt(f),
        }
    }
}

impl Display for Made {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Constant(value, copies) => {
                value.fmt(f)?;
                copies.iter().try_for_each(|copies| write!(f, "#{}", copies.value))
            }
            Self::Call(name, arguments) => {
                write!(f, "{name}(")?;
                for (number, path) in arguments.iter().enumerate() {
                    f.write_str(if number == 0 { "" } else { ", " })?;
                    list(f, ".", path)?;
                }
                f.write_str(")")
            }
        }
    }
}

/// `"…"`, with an escape for each byte that is not a plain character.
struct Quoted<'a>(&'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("\"")?;
        for byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                byte if is_plain(*byte) => write!(f, "{}", char::from(*byte))?,
                byte => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str("\"")
    }
}

fn is_plain(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

fn list<T: Display>(f: &mut Formatter<'_>, between: &str, parts: &[T]) -> fmt::Result {
    for (number, part) in parts.iter().enumerate() {
        f.write_str(if number == 0 { "" } else { between })?;
        part.fmt(f)?;
    }
    Ok(())
}

/// ` with [ … ]`, or nothing.
fn bracketed<T: Display>(f: &mut Formatter<'_>, parts: &[T]) -> fmt::Result {
    if parts.is_empty() {
        return Ok(());
    }
    f.write_str(" with [")?;
    list(f, ", ", parts)?;
    f.write_str("]")
}

#[cfg(test)]
mod tests {
    use crate::bundle::LAYOUTS;

    /// A tree without the places in it.
    fn shape(source: &str) -> String {
        let (tree, found) = crate::read("a.rl", source.as_bytes());
        assert!(!found.iter().any(crate::diagnostic::Diagnostic::is_error), "{source}\n{found:?}");
        let text = format!("{tree:?}");
        let mut parts = text.split('@');
        let mut shape = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| shape += part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
        shape
    }

    #[track_caller]
    fn check(source: &str, printed: Option<&str>) {
        let text = crate::read("a.rl", source.as_bytes()).0.to_string();
        assert_eq!(shape(&text), shape(source), "{text}");
        assert_eq!(crate::read("a.rl", text.as_bytes()).0.to_string(), text);
        if let Some(printed) = printed {
            assert_eq!(text, printed);
        }
    }

    #[test]
    fn every_form_is_read_again_as_it_was() {
        check(
            "include \"a\\\"b.rli\" pattern P : a:4~4b b:bit#4 c:byte#(a*4-3) d:byte#(a+1) | !(1|2..3|4/0xfc)#1..2\n\
             filter f x:P with [a=5..6~4b | !7, c.d=\"x\"i] y:(byte#* | 1.2.3.0/24 ip6\"2001:DB8::\"/32)#+ hex\"00ff\" \"GET \" *\n\
             => x with [a=1~4b, b=len(x, y), c=y.z, d=0#6] 0x0800~2 3~2le 1.2.3.4 ip6\"::1\" zero(y) class 7;\n\
             byte#? byte#3..* byte#2 4..5 \"\\xff\\\"\" => reject; * => accept 9;",
            Some(
                "include \"a\\\"b.rli\";\n\
                 pattern P: a:4~4b b:bit#4 c:byte#(a*4-3) d:byte#(a+1) | !(1 | 2..3 | 0x4/0xfc)#1..2;\n\
                 filter f\n  \
                   x:P with [a=5..6~4b|!7, c.d=\"x\"i] y:(byte#* | 1.2.3.0/24 ip6\"2001:db8::\"/32)#+ hex\"00 ff\" \"GET \" * \
                   => x with [a=1~4b, b=len(x, y), c=y.z, d=0#6] 2048~2 3~2le 1.2.3.4 ip6\"::1\" zero(y) class 7;\n  \
                   byte#? byte#3..* byte#2 4..5 hex\"ff 22\" => reject;\n  \
                   * => accept 9;\n",
            ),
        );
    }

    #[test]
    fn the_layouts_are_read_again_as_they_were() {
        check(LAYOUTS, None);
    }
}
