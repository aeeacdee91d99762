//! The Internet checksum: over bytes (RFC 1071), over a pseudo-header too, and changed without reading it all again
//! (RFC 1624).
//!
//! Nothing here knows where a checksum stands in a header; the protocols' views do.
//!
//! A one's complement sum may be taken in any order and in words of any even size, which is what makes all three
//! possible: [`Sum::of`] adds eight bytes at a time, partial sums are added to each other, and a changed word is
//! taken out and put in. The slow twin, two bytes at a time as RFC 1071 writes it, is in the tests.

/// A partial one's complement sum, in network byte order.
///
/// # Invariants
/// Congruent to the sum modulo 0xffff, and 0 only for nothing but zeros. An addition folds first, so it cannot overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// The sum over bytes; an odd last byte is padded with zero, as if the data ended there.
    #[must_use]
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let sum: u64 = words.iter().map(|&word| u64::from(u32::from_be_bytes(word))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Self(sum).plus(Self(u64::from(u32::from_be_bytes(last))))
    }

    /// Both sums together. The data of all but the last sum must have an even length.
    #[must_use]
    #[inline]
    pub const fn plus(self, other: Self) -> Self {
        Self((self.0 & 0xffff_ffff) + (self.0 >> 32) + (other.0 & 0xffff_ffff) + (other.0 >> 32))
    }

    /// With one more 16-bit word.
    #[must_use]
    #[inline]
    pub const fn plus_u16(self, word: u16) -> Self {
        self.plus(Self(word as u64))
    }

    /// The checksum: the sum's complement.
    #[must_use]
    #[inline]
    pub const fn complement(self) -> u16 {
        !self.fold()
    }

    /// Whether data that contain their own checksum are intact.
    #[must_use]
    #[inline]
    pub const fn is_intact(self) -> bool {
        self.fold() == 0xffff
    }

    const fn fold(self) -> u16 {
        let mut sum = self.0;
        while 0xffff < sum {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

/// The checksum after one 16-bit word of the data changed: RFC 1624, equation 3.
///
/// # Invariants
/// Equals the checksum computed anew, unless all of the new data are zero: `HC' = ~(~HC + ~m + m')`.
#[must_use]
#[inline]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(!checksum as u64).plus_u16(!old).plus_u16(new).complement()
}

/// The checksum after a field of the data changed; the field begins at an even offset and keeps its length.
#[must_use]
#[inline]
pub fn update_field<const N: usize>(checksum: u16, old: &[u8; N], new: &[u8; N]) -> u16 {
    const { assert!(N.is_multiple_of(2), "an odd field shares a word with its neighbour") };
    let taken_out = Sum(u64::from(Sum::of(old).complement()));
    Sum(u64::from(!checksum)).plus(taken_out).plus(Sum::of(new)).complement()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 4.1, in words: add 16-bit words, pad an odd byte, fold the carries, complement.
    fn twin(bytes: &[u8]) -> u16 {
        let mut sum: u64 = 0;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).complement(), !0xddf2);
        assert_eq!(Sum::ZERO.complement(), 0xffff);
    }

    #[test]
    fn the_example_of_rfc_1624_does_not_become_minus_zero() {
        // Section 4: 0xdd2f, 0x5555 changed to 0x3285; RFC 1141's equation gave 0xffff.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn the_longest_packet_of_ones_does_not_overflow() {
        let bytes = [0xff; 65_535];
        assert_eq!(Sum::of(&bytes).complement(), twin(&bytes));
    }

    #[test]
    fn intact_data_sum_to_minus_zero() {
        assert!(Sum::of(&[0x12, 0x34, 0xed, 0xcb]).is_intact());
        assert!(!Sum::of(&[0x12, 0x34, 0xed, 0xca]).is_intact());
    }

    proptest! {
        #[test]
        fn b14_a_sum_is_its_twin(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::of(&bytes).complement(), twin(&bytes));
        }

        #[test]
        fn b14_a_sum_may_be_taken_in_even_parts(
            bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..100usize
        ) {
            let (head, tail) = bytes.split_at((2 * cut).min(bytes.len() & !1));
            prop_assert_eq!(Sum::of(head).plus(Sum::of(tail)).complement(), twin(&bytes));
        }

        #[test]
        fn b14_an_update_is_the_sum_computed_anew(
            mut words in prop::collection::vec(any::<[u8; 2]>(), 1..40), at in any::<prop::sample::Index>(), new: [u8; 2]
        ) {
            let flat = |words: &[[u8; 2]]| words.iter().flatten().copied().collect::<Vec<u8>>();
            let before = twin(&flat(&words));
            let at = at.index(words.len());
            let old = core::mem::replace(&mut words[at], new);
            prop_assume!(words.iter().any(|word| *word != [0, 0]));
            let after = twin(&flat(&words));
            prop_assert_eq!(update(before, u16::from_be_bytes(old), u16::from_be_bytes(new)), after);
            prop_assert_eq!(update_field(before, &old, &new), after);
        }

        #[test]
        fn b14_an_updated_address_is_the_sum_computed_anew(
            mut bytes in prop::collection::vec(any::<u8>(), 16..80), at in any::<prop::sample::Index>(), new: [u8; 16]
        ) {
            let before = twin(&bytes);
            let at = at.index(bytes.len() - 15) & !1;
            let mut old = [0; 16];
            old.copy_from_slice(&bytes[at..at + 16]);
            bytes[at..at + 16].copy_from_slice(&new);
            prop_assume!(bytes.iter().any(|byte| *byte != 0));
            prop_assert_eq!(update_field(before, &old, &new), twin(&bytes));
        }
    }
}
