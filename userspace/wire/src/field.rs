//! Where a header field lies: its offset as a value, its length in the type.
//!
//! Reading and writing index the buffer and panic outside it; the views' `check_len` is what rules that out.

/// A field of `N` bytes.
#[derive(Clone, Copy)]
pub(crate) struct Field<const N: usize>(usize);

impl<const N: usize> Field<N> {
    /// The field that begins at this offset.
    pub(crate) const fn at(offset: usize) -> Self {
        Self(offset)
    }

    /// The offset after its last byte.
    pub(crate) const fn end(self) -> usize {
        self.0 + N
    }

    #[inline]
    pub(crate) fn get(self, bytes: &[u8]) -> [u8; N] {
        let mut value = [0; N];
        value.copy_from_slice(&bytes[self.0..self.end()]);
        value
    }

    #[inline]
    pub(crate) fn set(self, bytes: &mut [u8], value: [u8; N]) {
        bytes[self.0..self.end()].copy_from_slice(&value);
    }
}

impl Field<1> {
    #[inline]
    pub(crate) fn u8(self, bytes: &[u8]) -> u8 {
        bytes[self.0]
    }

    #[inline]
    pub(crate) fn set_u8(self, bytes: &mut [u8], value: u8) {
        bytes[self.0] = value;
    }
}

impl Field<2> {
    #[inline]
    pub(crate) fn u16(self, bytes: &[u8]) -> u16 {
        u16::from_be_bytes(self.get(bytes))
    }

    #[inline]
    pub(crate) fn set_u16(self, bytes: &mut [u8], value: u16) {
        self.set(bytes, value.to_be_bytes());
    }
}

impl Field<4> {
    #[inline]
    pub(crate) fn u32(self, bytes: &[u8]) -> u32 {
        u32::from_be_bytes(self.get(bytes))
    }

    #[inline]
    pub(crate) fn set_u32(self, bytes: &mut [u8], value: u32) {
        self.set(bytes, value.to_be_bytes());
    }
}
