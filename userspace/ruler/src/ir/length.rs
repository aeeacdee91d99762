//! How many bytes a node matches: the fewest and the most.
//!
//! Lengths saturate; whoever asks compares them with the longest packet, which is far below.

use super::Node;

/// The fewest and the most bytes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// No match is shorter.
    pub least: u32,
    /// No match is longer; `None` is open.
    pub most: Option<u32>,
}

impl Length {
    /// Exactly so many bytes.
    #[must_use]
    pub const fn exactly(bytes: u32) -> Self {
        Self { least: bytes, most: Some(bytes) }
    }

    /// The one length that all matches have.
    #[must_use]
    pub fn fixed(self) -> Option<u32> {
        self.most.filter(|most| *most == self.least)
    }

    /// Of one match and then another.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            least: self.least.saturating_add(next.least),
            most: self.most.zip(next.most).map(|(most, more)| most.saturating_add(more)),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.zip(other.most).map(|(most, more)| most.max(more)),
        }
    }

    fn times(self, least: u32, most: Option<u32>) -> Self {
        Self {
            least: self.least.saturating_mul(least),
            most: match (self.most, most) {
                (Some(0), _) | (_, Some(0)) => Some(0),
                (Some(length), Some(count)) => Some(length.saturating_mul(count)),
                _ => None,
            },
        }
    }
}

impl Node {
    /// How long its matches are; `None` if it has none.
    #[must_use]
    pub fn length(&self) -> Option<Length> {
        match self {
            Self::Byte(set) => (!set.is_empty()).then_some(Length::exactly(1)),
            Self::Tag(_) => Some(Length::exactly(0)),
            Self::Seq(parts) => {
                parts.iter().try_fold(Length::exactly(0), |length, part| Some(length.then(part.length()?)))
            }
            Self::Alt(arms) => arms.iter().filter_map(Self::length).reduce(Length::or),
            Self::Repeat { body, least, most } => match body.length() {
                Some(length) => Some(length.times(*least, *most)),
                None => (*least == 0).then_some(Length::exactly(0)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ByteSet, Node};
    use super::Length;

    #[track_caller]
    fn check(node: &Node, least: u32, most: Option<u32>) {
        assert_eq!(node.length(), Some(Length { least, most }));
    }

    #[test]
    fn lengths_add_up() {
        let byte = || Node::Byte(ByteSet::ALL);
        check(&Node::empty(), 0, Some(0));
        check(&Node::any(), 0, None);
        check(&Node::Seq(vec![byte(), Node::bytes(ByteSet::ALL, 6)]), 7, Some(7));
        check(&Node::Alt(vec![byte(), Node::bytes(ByteSet::ALL, 6)]), 1, Some(6));
        check(
            &Node::Repeat { body: Box::new(Node::bytes(ByteSet::ALL, 2)), least: 2, most: Some(5) },
            4,
            Some(10),
        );
        check(&Node::Repeat { body: Box::new(Node::any()), least: 1, most: Some(2) }, 0, None);
        check(&Node::Repeat { body: Box::new(Node::never()), least: 0, most: None }, 0, Some(0));
        assert_eq!(Node::never().length(), None);
        assert_eq!(Node::Seq(vec![byte(), Node::never()]).length(), None);
        check(&Node::Alt(vec![Node::never(), byte()]), 1, Some(1));
    }
}
