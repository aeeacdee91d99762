//! Bytes that an automaton never tells apart, as classes: its tables have a column a class.

use std::collections::HashMap;

use crate::ir::ByteSet;

/// A partition of the 256 bytes.
///
/// # Invariants
/// Classes are numbered by their smallest byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    of: [u8; 256],
    count: usize,
}

impl Classes {
    /// The coarsest partition in which each of these sets is a union of classes.
    #[must_use]
    pub fn new<'s>(sets: impl IntoIterator<Item = &'s ByteSet>) -> Self {
        let mut classes = Self { of: [0; 256], count: 1 };
        for set in sets {
            classes = Self::numbered(|byte| (classes.of(byte), set.has(byte)));
        }
        classes
    }

    /// The partition in which bytes with equal keys share a class.
    pub(super) fn numbered<K: Eq + std::hash::Hash>(key: impl Fn(u8) -> K) -> Self {
        let mut known = HashMap::new();
        let of = std::array::from_fn(|index| {
            let (byte, fresh) = (index.to_le_bytes()[0], known.len().to_le_bytes()[0]);
            *known.entry(key(byte)).or_insert(fresh)
        });
        Self { of, count: known.len() }
    }

    /// How many there are: 1..=256.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The class of a byte.
    #[must_use]
    pub const fn of(&self, byte: u8) -> u8 {
        self.of[byte as usize]
    }

    /// The class of each byte.
    pub(super) const fn of_each(&self) -> &[u8; 256] {
        &self.of
    }

    /// The bytes of each class, in order.
    #[must_use]
    pub fn sets(&self) -> Vec<ByteSet> {
        let mut sets = vec![ByteSet::NONE; self.count];
        for byte in 0..=u8::MAX {
            sets[usize::from(self.of(byte))].insert(byte);
        }
        sets
    }

    /// Which classes a set is made of; as a set of class numbers.
    #[must_use]
    pub(super) fn within(&self, set: &ByteSet) -> ByteSet {
        ByteSet::of(set.iter().map(|byte| self.of(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_that_overlap_are_cut_where_they_differ() {
        let classes = Classes::new(&[ByteSet::of(0..=9), ByteSet::of(5..=20), ByteSet::ALL]);
        assert_eq!(classes.count(), 4);
        assert_eq!([0, 4, 5, 9, 10, 20, 21, 255].map(|byte| classes.of(byte)), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(classes.within(&ByteSet::of(5..=20)), ByteSet::of([1, 2]));
        assert_eq!(Classes::new(&[]).count(), 1);
        let all: Vec<ByteSet> = (0..=255).map(|byte| ByteSet::of([byte])).collect();
        assert_eq!(Classes::new(&all).count(), 256);
    }
}
