//! What a path asks for, check by check, and which of them it has passed.
//!
//! It says what is to be asked, never when: the builder of the DAG chooses.

use super::{
    condition::{Condition, Place},
    paths::{Advance, Path, Rest},
    ranges::Ranges,
};

/// One thing that a path asks for.
#[derive(Clone, Debug)]
pub(super) enum Check {
    /// At least so many bytes behind the base.
    Least(u32),
    /// At most so many.
    Most(u32),
    /// A condition.
    Holds(Place, Ranges),
    /// A next base.
    Base(Advance),
}

/// What a path asks for, in order, each with its segment; at most 64, so that a set of them is a word.
#[derive(Clone, Debug)]
pub(super) struct Checks(Vec<(u8, Check)>);

impl Checks {
    pub(super) fn of(path: &Path) -> Self {
        let mut checks = Vec::new();
        for (number, segment) in (0_u8..).zip(&path.segments) {
            // The first base is in every packet, however short.
            if (number, segment.bytes) != (0, 0) {
                checks.push((number, Check::Least(segment.bytes)));
            }
            let holds = |c: &Condition| (number, Check::Holds(c.place, c.allowed.clone()));
            checks.extend(segment.conditions.iter().map(holds));
            checks.extend(segment.then.map(|advance| (number, Check::Base(advance))));
            if segment.then.is_none() && path.rest == Rest::End {
                checks.push((number, Check::Most(segment.bytes)));
            }
        }
        Self(checks)
    }

    /// All of them.
    pub(super) fn all(&self) -> Left {
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        Left(u64::MAX.checked_shr(64_u32.saturating_sub(count)).unwrap_or(0))
    }

    /// Those that are left, each with the set that it alone makes.
    pub(super) fn left(&self, left: Left) -> impl Iterator<Item = (Left, u8, &Check)> {
        let numbered = (0_u32..64).zip(&self.0);
        numbered.filter_map(move |(bit, (segment, check))| {
            let own = Left(1 << bit);
            (left.0 & own.0 != 0).then_some((own, *segment, check))
        })
    }
}

/// A set of a path's checks: those that it has not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left(u64);

impl Left {
    pub(super) const NONE: Self = Self(0);
    /// The mark of a path whose checks cannot be made any more: they lie behind an earlier base, or another one. No path
    /// has 64 checks.
    pub(super) const LOST: Self = Self(u64::MAX);

    pub(super) fn without(self, passed: Self) -> Self {
        Self(self.0 & !passed.0)
    }

    pub(super) fn with(self, passed: Self) -> Self {
        Self(self.0 | passed.0)
    }
}
