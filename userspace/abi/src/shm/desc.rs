//! Descriptors: the 16 bytes that say what lies in the buffer of the same number.
//!
//! A descriptor travels as two 8-byte words, so that the daemon reads one that an application may still be writing
//! exactly once: what it judged is what it uses.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

/// Bytes of a descriptor.
pub const DESC_SIZE: usize = 16;

/// Bits of [`RxDesc::flags`] beyond those of `rxmeta::flag`, which are bits 0 to 5.
pub mod rx_flag {
    /// Sent by a stack of this host and handed over here, without a wire.
    pub const HAIRPIN: u16 = 1 << 8;
}

/// Bits of [`TxDesc::flags`].
pub mod tx_flag {
    /// The packet brings its own Ethernet header.
    pub const L2: u16 = 1 << 0;
}

/// What the daemon says of a received packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RxDesc {
    /// Bytes of the frame.
    pub len: u32,
    /// The tuple's number within the session.
    pub tuple: u16,
    /// Bits of `rxmeta::flag` and [`rx_flag`].
    pub flags: u16,
    /// Offset of the network header.
    pub l3_off: u8,
    /// 0.
    pub zero: u8,
    /// Offset of the transport header; 0 in a later fragment.
    pub l4_off: u16,
    /// Ruler's class, `rxmeta::CLASS_NONE` if none.
    pub class: u16,
    /// 0.
    pub zero_too: u16,
}

/// What an application says of a packet to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TxDesc {
    /// Bytes of the packet.
    pub len: u32,
    /// Bits of [`tx_flag`].
    pub flags: u16,
    /// Must be 0.
    pub zero: u16,
    /// Must be 0.
    pub zero_too: u64,
}

/// How a packet to be sent begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With its IP header; the daemon writes the Ethernet header.
    L3,
    /// With an Ethernet header of its own.
    L2,
}

impl RxDesc {
    /// As it is stored.
    #[must_use]
    #[inline(always)]
    pub fn words(self) -> [u64; 2] {
        transmute!(self)
    }

    /// As it was stored.
    #[must_use]
    #[inline(always)]
    pub fn from_words(words: [u64; 2]) -> Self {
        transmute!(words)
    }
}

impl TxDesc {
    /// The descriptor of a packet.
    #[must_use]
    #[inline(always)]
    pub const fn new(len: u32, form: Form) -> Self {
        let flags = match form {
            Form::L3 => 0,
            Form::L2 => tx_flag::L2,
        };
        Self { len, flags, zero: 0, zero_too: 0 }
    }

    /// As it is stored.
    #[must_use]
    #[inline(always)]
    pub fn words(self) -> [u64; 2] {
        transmute!(self)
    }

    /// As it was stored.
    #[must_use]
    #[inline(always)]
    pub fn from_words(words: [u64; 2]) -> Self {
        transmute!(words)
    }

    /// How the packet begins; `None` if a bit is set that must be zero.
    #[must_use]
    #[inline(always)]
    pub const fn form(&self) -> Option<Form> {
        if self.zero != 0 || self.zero_too != 0 {
            return None;
        }
        match self.flags {
            0 => Some(Form::L3),
            tx_flag::L2 => Some(Form::L2),
            _ => None,
        }
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RxDesc>() == DESC_SIZE && size_of::<TxDesc>() == DESC_SIZE);
    assert!(offset_of!(RxDesc, tuple) == 4 && offset_of!(RxDesc, flags) == 6);
    assert!(offset_of!(RxDesc, l3_off) == 8 && offset_of!(RxDesc, zero) == 9);
    assert!(offset_of!(RxDesc, l4_off) == 10 && offset_of!(RxDesc, class) == 12);
    assert!(offset_of!(RxDesc, zero_too) == 14);
    assert!(offset_of!(TxDesc, flags) == 4 && offset_of!(TxDesc, zero) == 6);
    assert!(offset_of!(TxDesc, zero_too) == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_bytes_in_order() {
        let desc =
            RxDesc { len: 60, tuple: 7, flags: 0x101, l3_off: 14, l4_off: 34, class: 5, ..RxDesc::default() };
        let words = desc.words();
        assert_eq!(words.as_bytes(), desc.as_bytes());
        assert_eq!(RxDesc::from_words(words), desc);
        let desc = TxDesc::new(1500, Form::L2);
        assert_eq!(TxDesc::from_words(desc.words()), desc);
    }

    #[test]
    fn every_bit_that_must_be_zero_is_looked_at() {
        assert_eq!(TxDesc::new(60, Form::L3).form(), Some(Form::L3));
        assert_eq!(TxDesc::new(60, Form::L2).form(), Some(Form::L2));
        for bit in 33..128 {
            let mut words = TxDesc::new(60, Form::L3).words();
            words[bit / 64] ^= 1 << (bit % 64);
            if cfg!(target_endian = "little") {
                assert_eq!(TxDesc::from_words(words).form(), None, "bit {bit}");
            }
        }
    }
}
