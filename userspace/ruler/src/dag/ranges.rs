//! Sets of numbers, as ranges in order: which values a condition lets through.
//!
//! The ranges neither overlap nor touch, so equal sets are equal values.

use std::fmt;

/// Which numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The numbers of these ranges, which may overlap and stand in any order; one that ends before it begins is empty.
    pub fn of(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// The ranges, from the least number on.
    #[must_use]
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether there is no number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number, if there is exactly one.
    #[must_use]
    pub fn only(&self) -> Option<u64> {
        match self.0.as_slice() {
            [(first, last)] if first == last => Some(*first),
            _ => None,
        }
    }

    /// Whether a number is in.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|ours| other.0.iter().map(move |theirs| (ours, theirs)));
        Self::of(pairs.map(|(ours, theirs)| (ours.0.max(theirs.0), ours.1.min(theirs.1))))
    }

    /// What is in at least one.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied())
    }

    /// The numbers up to `last` that are not in.
    #[must_use]
    pub fn complement(&self, last: u64) -> Self {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(0);
        for range in &self.0 {
            if let Some(from) = next.filter(|from| *from < range.0) {
                gaps.push((from, (range.0 - 1).min(last)));
            }
            next = range.1.checked_add(1);
        }
        gaps.extend(next.map(|from| (from, last)));
        Self::of(gaps)
    }
}

/// `0x5..0xf|0x11`
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (first, last) in &self.0 {
            match first == last {
                true => write!(f, "{between}{first:#x}")?,
                false => write!(f, "{between}{first:#x}..{last:#x}")?,
            }
            between = "|";
        }
        Ok(())
    }
}

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_the_same_as_bit_by_bit() {
        let sets: Vec<Ranges> = (0_u64..256)
            .map(|bits| Ranges::of((0..8).filter(|n| bits >> n & 1 == 1).map(|n| (n, n))))
            .collect();
        for (bits, set) in (0_u64..).zip(&sets) {
            assert_eq!(set.complement(7), sets[usize::try_from(!bits & 0xff).unwrap()]);
            for (other_bits, other) in (0_u64..).zip(&sets) {
                assert_eq!(set.and(other), sets[usize::try_from(bits & other_bits).unwrap()]);
                assert_eq!(set.or(other), sets[usize::try_from(bits | other_bits).unwrap()]);
            }
        }
    }

    #[test]
    fn the_greatest_number_is_a_number_like_any_other() {
        let all = Ranges::of([(0, 5), (6, u64::MAX)]);
        assert_eq!(all.as_slice(), [(0, u64::MAX)]);
        assert!(all.complement(u64::MAX).is_empty());
        assert_eq!(Ranges::of([(u64::MAX, u64::MAX)]).complement(u64::MAX).as_slice(), [(0, u64::MAX - 1)]);
    }
}
