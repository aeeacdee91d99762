//! Sets of bytes, as 256 bits.

use std::{fmt, iter};

use serde::{Serialize, Serializer};

/// Which of the 256 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// No byte.
    pub const NONE: Self = Self([0; 4]);
    /// Every byte.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// These bytes.
    pub fn of(bytes: impl IntoIterator<Item = u8>) -> Self {
        let mut set = Self::NONE;
        bytes.into_iter().for_each(|byte| set.insert(byte));
        set
    }

    /// Puts a byte in.
    pub const fn insert(&mut self, byte: u8) {
        self.0[(byte >> 6) as usize] |= 1 << (byte & 63);
    }

    /// Whether a byte is in.
    #[must_use]
    pub const fn has(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] >> (byte & 63) & 1 == 1
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// What is in at least one.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// What is not in it.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self(self.0.map(|word| !word))
    }

    /// Its bytes, in order.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        let set = *self;
        (0..=u8::MAX).filter(move |byte| set.has(*byte))
    }

    /// The first and the last byte of each of its pieces, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (u8, u8)> {
        let mut bytes = self.iter().peekable();
        iter::from_fn(move || {
            let first = bytes.next()?;
            let mut last = first;
            while let Some(next) = bytes.next_if(|next| last.checked_add(1) == Some(*next)) {
                last = next;
            }
            Some((first, last))
        })
    }
}

/// As ranges: `[[0,47],[58,58]]`.
impl Serialize for ByteSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ranges())
    }
}

/// As ranges: `[00..2f 3a]`.
impl fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        let mut between = "";
        for (first, last) in self.ranges() {
            match first == last {
                true => write!(f, "{between}{first:02x}")?,
                false => write!(f, "{between}{first:02x}..{last:02x}")?,
            }
            between = " ";
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_shows_ranges() {
        let set = ByteSet::of([0, 1, 2, 63, 64, 255]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 2, 63, 64, 255]);
        assert_eq!(format!("{set:?}"), "[00..02 3f..40 ff]");
        assert_eq!(set.len() + set.complement().len(), 256);
        assert!(set.and(&set.complement()).is_empty());
        assert_eq!(set.or(&set.complement()), ByteSet::ALL);
    }
}
