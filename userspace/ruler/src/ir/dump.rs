//! The regex form as text: one line a part, indented, with the lengths of what is made of several.
//!
//! The text is stable and for people; nothing reads it back.

use std::fmt;

use super::{Length, Node, Tag};

/// `7`, `4..10`, `4..`: what people write.
impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.least, self.most) {
            (least, Some(most)) if least == most => write!(f, "{least}"),
            (least, Some(most)) => write!(f, "{least}..{most}"),
            (least, None) => write!(f, "{least}.."),
        }
    }
}

/// `<0` and `0>`: where label 0 begins and ends.
impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(label) => write!(f, "<{}", label.0),
            Self::End(label) => write!(f, "{}>", label.0),
        }
    }
}

/// The indented tree, each line ended.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(f, 0)
    }
}

impl Node {
    fn show(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = 2 * depth;
        write!(f, "{:indent$}", "")?;
        match self {
            Self::Byte(set) => writeln!(f, "{set:?}"),
            Self::Tag(tag) => writeln!(f, "{tag}"),
            Self::Repeat { body, least, most } => {
                let count = Length { least: *least, most: *most };
                match &**body {
                    Self::Byte(set) => writeln!(f, "{set:?}#{count}"),
                    body => {
                        writeln!(f, "repeat #{count}{}", self.size())?;
                        body.show(f, depth + 1)
                    }
                }
            }
            Self::Seq(parts) => {
                writeln!(f, "seq{}", self.size())?;
                parts.iter().try_for_each(|part| part.show(f, depth + 1))
            }
            Self::Alt(arms) => {
                writeln!(f, "alt{}", self.size())?;
                arms.iter().try_for_each(|arm| arm.show(f, depth + 1))
            }
        }
    }

    fn size(&self) -> String {
        match self.length() {
            Some(length) => format!(" ({length} bytes)"),
            None => " (never)".to_owned(),
        }
    }
}
