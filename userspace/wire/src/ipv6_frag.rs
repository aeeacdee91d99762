//! The IPv6 fragment header (RFC 8200 section 4.5).
//!
//! Fragments are described, not put together.
//!
//! ```text
//!  0       1       2               4
//! +-------+-------+---------------+-------------------------------+
//! | next  | zero  | offset     ..M| identification                |
//! +-------+-------+---------------+-------------------------------+
//! ```
use core::fmt;

use crate::{
    Malformed,
    ip::{FragmentOffset, Protocol},
};

mod field {
    use crate::field::Field;

    pub(super) const NEXT_HEADER: Field<1> = Field::at(0);
    pub(super) const RESERVED: Field<1> = Field::at(1);
    pub(super) const OFFSET_MORE: Field<2> = Field::at(2);
    pub(super) const IDENT: Field<4> = Field::at(4);
}

/// Length of the header.
pub const HEADER_LEN: usize = field::IDENT.end();

const MORE: u16 = 1;

/// A view of a fragment header and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view whose lengths nobody has judged.
    pub const fn new_unchecked(buffer: T) -> Self {
        Self { buffer }
    }

    /// A view whose lengths are right.
    ///
    /// # Errors
    /// [`Malformed`] as [`Self::check_len`].
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let packet = Self::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// `Ok` means that no accessor panics.
    ///
    /// # Errors
    /// [`Malformed`]: the header is cut short.
    pub fn check_len(&self) -> Result<(), Malformed> {
        if HEADER_LEN <= self.buffer.as_ref().len() { Ok(()) } else { Err(Malformed) }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// What the datagram continues with, or in the first fragment begins with.
    pub fn next_header(&self) -> Protocol {
        Protocol(field::NEXT_HEADER.u8(self.buffer.as_ref()))
    }

    /// Where the payload lies in the fragmentable part.
    pub fn fragment_offset(&self) -> FragmentOffset {
        FragmentOffset::from_units(field::OFFSET_MORE.u16(self.buffer.as_ref()) >> 3)
    }

    /// Whether it is not the last fragment.
    pub fn more_fragments(&self) -> bool {
        field::OFFSET_MORE.u16(self.buffer.as_ref()) & MORE != 0
    }

    /// Whether the whole datagram is here (RFC 6946): the header says nothing that matters.
    pub fn is_atomic(&self) -> bool {
        !self.more_fragments() && self.fragment_offset() == FragmentOffset::ZERO
    }

    /// The datagram's identification.
    pub fn ident(&self) -> u32 {
        field::IDENT.u32(self.buffer.as_ref())
    }

    /// Everything after the header.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }
}

/// A fragment header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// What the datagram continues with.
    pub next_header: Protocol,
    /// Where the payload lies in the fragmentable part.
    pub offset: FragmentOffset,
    /// Whether it is not the last fragment.
    pub more: bool,
    /// The datagram's identification.
    pub ident: u32,
}

impl Repr {
    /// Reads a header. Reserved bits are ignored, as RFC 8200 asks.
    ///
    /// # Errors
    /// [`Malformed`]: too short.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        Ok(Self {
            next_header: packet.next_header(),
            offset: packet.fragment_offset(),
            more: packet.more_fragments(),
            ident: packet.ident(),
        })
    }

    /// How many bytes [`Self::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header, its reserved bits zero.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Self::buffer_len`].
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let more = if self.more { MORE } else { 0 };
        let bytes = packet.buffer.as_mut();
        field::NEXT_HEADER.set_u8(bytes, self.next_header.0);
        field::RESERVED.set_u8(bytes, 0);
        field::OFFSET_MORE.set_u16(bytes, self.offset.bytes() | more);
        field::IDENT.set_u32(bytes, self.ident);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.more { "+" } else { "" };
        write!(
            f,
            "IPv6 fragment {:#010x}@{}{more} next={}",
            self.ident,
            self.offset.bytes(),
            self.next_header
        )
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const BYTES: [u8; 10] = [17, 0, 0x00, 0x11, 0xde, 0xad, 0xbe, 0xef, 0xaa, 0xbb];

    fn repr_of_bytes() -> Repr {
        let offset = FragmentOffset::from_bytes(16).unwrap();
        Repr { next_header: Protocol::UDP, offset, more: true, ident: 0xdead_beef }
    }

    #[test]
    fn deconstruct() {
        let header = Packet::new_checked(&BYTES[..]).unwrap();
        assert_eq!((header.next_header(), header.ident()), (Protocol::UDP, 0xdead_beef));
        assert_eq!((header.fragment_offset().bytes(), header.more_fragments()), (16, true));
        assert_eq!((header.payload(), header.into_inner()), (&BYTES[8..], &BYTES[..]));
    }

    #[test]
    fn construct_and_emit() {
        let mut bytes = [0xff; HEADER_LEN];
        repr_of_bytes().emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, BYTES[..HEADER_LEN]);
    }

    #[test]
    fn parse() {
        assert_eq!(Repr::parse(&Packet::new_checked(&BYTES[..]).unwrap()), Ok(repr_of_bytes()));
        assert_eq!(repr_of_bytes().to_string(), "IPv6 fragment 0xdeadbeef@16+ next=UDP");
        assert_eq!(Packet::new_checked(&BYTES[..7]).map(drop), Err(Malformed));
    }

    #[test]
    fn reserved_bits_do_not_make_a_fragment() {
        for (word, atomic) in
            [(0x0000, true), (0x0006, true), (0x0001, false), (0x0008, false), (0xfff8, false)]
        {
            let mut bytes = BYTES;
            bytes[2..4].copy_from_slice(&u16::to_be_bytes(word));
            assert_eq!(Packet::new_unchecked(bytes).is_atomic(), atomic, "{word:#06x}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(next: u8, units: u16, more: bool, ident: u32) {
            let repr = Repr { next_header: Protocol(next), offset: FragmentOffset::from_units(units), more, ident };
            let mut bytes = [0xff; HEADER_LEN];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            prop_assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(repr));
        }
    }
}
