//! A field of the output: some bits of an item, set to bytes or to a number.
//!
//! It knows no protocol. What does not fit is refused, and nothing beside the field is touched.

use std::ops::Range;

use super::apply::Refusal;

/// A field of an item of the output.
pub(super) struct Field {
    pub(super) item: Range<usize>,
    /// From the item's first bit.
    pub(super) offset_bits: usize,
    pub(super) bits: usize,
}

impl Field {
    /// Sets it to a value of whole bytes, right-aligned: what stands to the left of the field's width is left out.
    pub(super) fn set(&self, new: &mut [u8], value: &[u8]) -> Result<(), Refusal> {
        let item = new.get_mut(self.item.clone()).ok_or(Refusal::Field)?;
        let end = self.offset_bits + self.bits;
        if item.len() < end.div_ceil(8) {
            return Err(Refusal::Field);
        }
        if self.offset_bits.is_multiple_of(8) && self.bits.is_multiple_of(8) {
            let bytes = item.get_mut(self.offset_bits / 8..end / 8).unwrap_or_default();
            let (missing, spare) =
                (bytes.len().saturating_sub(value.len()), value.len().saturating_sub(bytes.len()));
            let (left, right) = bytes.split_at_mut(missing);
            left.fill(0);
            right.copy_from_slice(value.get(spare..).unwrap_or_default());
            return Ok(());
        }
        for bit in 0..self.bits {
            let from =
                value.len().checked_sub(bit / 8 + 1).and_then(|at| value.get(at)).copied().unwrap_or(0);
            let to = end - bit - 1;
            if let Some(byte) = item.get_mut(to / 8) {
                let mask = 0x80 >> (to % 8);
                *byte = if from >> (bit % 8) & 1 == 1 { *byte | mask } else { *byte & !mask };
            }
        }
        Ok(())
    }

    /// Sets it to a number, if it can hold it.
    pub(super) fn set_number(&self, new: &mut [u8], number: usize) -> Result<(), Refusal> {
        let number = u64::try_from(number).map_err(|_| Refusal::Field)?;
        let fits = u32::try_from(self.bits).ok().and_then(|bits| number.checked_shr(bits)).unwrap_or(0) == 0;
        if fits { self.set(new, &number.to_be_bytes()) } else { Err(Refusal::Field) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of four bytes, of which the first and the last are not the item's.
    fn field(offset_bits: usize, bits: usize) -> Field {
        Field { item: 1..3, offset_bits, bits }
    }

    #[track_caller]
    fn check(field: &Field, value: &[u8], want: Result<u32, Refusal>) {
        let mut ones = [0xff; 4];
        let set = field.set(&mut ones, value).map(|()| u32::from_be_bytes(ones));
        assert_eq!(set, want);
    }

    #[test]
    fn bits_are_set_and_nothing_beside_them() {
        check(&field(0, 16), &[0x12, 0x34], Ok(0xff12_34ff));
        check(&field(8, 8), &[0x12], Ok(0xffff_12ff));
        check(&field(3, 7), &[0], Ok(0xffe0_3fff));
        check(&field(3, 7), &[0x41], Ok(0xfff0_7fff));
        check(&field(15, 1), &[0xfe], Ok(0xffff_feff));
        check(&field(0, 16), &[0x12], Ok(0xff00_12ff));
        check(&field(0, 8), &[0x12, 0x34], Ok(0xff34_ffff));
    }

    #[test]
    fn what_is_beyond_the_item_is_refused() {
        check(&field(8, 16), &[0, 0], Err(Refusal::Field));
        check(&field(15, 2), &[0], Err(Refusal::Field));
        check(&Field { item: 3..5, offset_bits: 0, bits: 8 }, &[0], Err(Refusal::Field));
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused() {
        let set = |bits: usize, number: usize| {
            let mut bytes = [0xff; 12];
            let field = Field { item: 0..12, offset_bits: 0, bits };
            field.set_number(&mut bytes, number).map(|()| bytes)
        };
        assert_eq!(set(8, 255).map(|it| (it[0], it[1])), Ok((0xff, 0xff)));
        assert_eq!(set(8, 256), Err(Refusal::Field));
        assert_eq!(set(7, 128), Err(Refusal::Field));
        assert_eq!(set(80, 0x1_0203), Ok([0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0xff, 0xff]));
    }
}
