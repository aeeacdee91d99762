//! Header paths: the straight ways through the front of a rule, each with what is left behind it.
//!
//! A path says yes or no at places that are known; it never searches. A rule matches a packet exactly if on one of its
//! paths every segment holds and the rest matches from there on; the first such path has the labels.

use super::condition::{Condition, Place};
use crate::resolved::{LabelId, Pattern, RuleId};

/// The most paths of one rule; further ways stay in the rests.
pub const PATHS_MAX: usize = 64;
/// The most checks on one path; further bytes stay in its rest.
pub const CHECKS_MAX: usize = 60;
/// The most segments of one path: the packet's start and three counted lengths.
pub const SEGMENTS_MAX: usize = 4;
/// The most bytes of one segment.
pub const SEGMENT_BYTES_MAX: u32 = 2_048;
/// The most bytes that one counted length may have.
pub const COUNTED_BYTES_MAX: u32 = 8_192;

/// One way through the front of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Its rule.
    pub rule: RuleId,
    /// At least one; the first begins at the packet's first byte, each other where its predecessor leads.
    pub segments: Vec<Segment>,
    /// What must match behind the last segment.
    pub rest: Rest,
    /// Where labels begin that begin before the rest. One without an entry in [`Path::ends`] ends in the rest.
    pub begins: Vec<(LabelId, Mark)>,
    /// Where labels end that end before the rest.
    pub ends: Vec<(LabelId, Mark)>,
}

/// Bytes behind one base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// How many there must be.
    pub bytes: u32,
    /// What must hold for them.
    pub conditions: Vec<Condition>,
    /// How the next base is found; `None` in the last segment.
    pub then: Option<Advance>,
}

/// The next base: this one, and `field * times + plus` bytes. It is never before this one where the segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Advance {
    /// The field, at most eight bits, behind this base.
    pub field: Place,
    /// What its value is multiplied by.
    pub times: u32,
    /// What is added: the bytes of the segment, and what the count adds.
    pub plus: u32,
}

/// A position in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// So many bytes behind the base of this segment.
    Behind {
        /// The segment.
        base: u8,
        /// The bytes.
        offset: u32,
    },
    /// The packet's end.
    End,
}

/// What a path leaves: it begins where the last segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing may follow.
    End,
    /// Anything may follow.
    Any,
    /// This must match what follows. A label in it that has begun before is here only for where it ends.
    Pattern(Pattern),
}

impl Path {
    /// Where the rest begins.
    #[must_use]
    pub fn end(&self) -> Mark {
        let offset = self.segments.last().map_or(0, |segment| segment.bytes);
        Mark::Behind { base: u8::try_from(self.segments.len() - 1).unwrap_or(u8::MAX), offset }
    }

    /// Whether a packet on which every segment holds needs no further look.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self.rest, Rest::Pattern(_))
    }
}

impl Advance {
    /// How far the next base is from this one; `None` if the field is not in the packet.
    #[must_use]
    pub fn distance(&self, packet: &[u8], base: usize) -> Option<usize> {
        let value = usize::try_from(self.field.read(packet, base)? >> self.field.shift()).ok()?;
        let times = usize::try_from(self.times).ok()?;
        Some(value * times + usize::try_from(self.plus).ok()?)
    }
}
