//! IPv6 extension headers that say their own length: hop-by-hop and destination options, routing (RFC 8200
//! sections 4.3, 4.4, 4.6).
//!
//! Options are carried, not interpreted. The fragment header, which has no length, is [`crate::ipv6_frag`]'s; the way
//! from one header to the next is [`crate::ipv6_walk`]'s.
//!
//! ```text
//!  0       1       2       3
//! +-------+-------+-------+-------+----------------
//! | next  | length| options, or: routing type, segments left, data …
//! +-------+-------+-------+-------+----------------
//!          8·length + 8 bytes in all
//! ```
use core::fmt;

use crate::{Malformed, ip::Protocol};

mod field {
    use crate::field::Field;

    pub(super) const NEXT_HEADER: Field<1> = Field::at(0);
    pub(super) const LENGTH: Field<1> = Field::at(1);
    pub(super) const ROUTING_TYPE: Field<1> = Field::at(2);
    pub(super) const SEGMENTS_LEFT: Field<1> = Field::at(3);
    pub(super) const DATA: usize = 2;
}

/// Length of the shortest header, and the unit of all lengths.
pub const MIN_LEN: usize = 8;

/// A view of a header and what follows it.
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
        let len = self.buffer.as_ref().len();
        if MIN_LEN <= len && self.header_len() <= len { Ok(()) } else { Err(Malformed) }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// What follows.
    pub fn next_header(&self) -> Protocol {
        Protocol(field::NEXT_HEADER.u8(self.buffer.as_ref()))
    }

    /// Length of the header in bytes, 8 to 2048.
    pub fn header_len(&self) -> usize {
        usize::from(field::LENGTH.u8(self.buffer.as_ref())) * 8 + 8
    }

    /// Options, or all of routing type, segments left and the routing data.
    pub fn data(&self) -> &[u8] {
        &self.buffer.as_ref()[field::DATA..self.header_len()]
    }

    /// Of a routing header: its type.
    pub fn routing_type(&self) -> u8 {
        field::ROUTING_TYPE.u8(self.buffer.as_ref())
    }

    /// Of a routing header: how many nodes are still to be visited. 0: the destination address is the last one.
    pub fn segments_left(&self) -> u8 {
        field::SEGMENTS_LEFT.u8(self.buffer.as_ref())
    }

    /// Everything after the header.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[self.header_len()..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets what follows.
    pub fn set_next_header(&mut self, next_header: Protocol) {
        field::NEXT_HEADER.set_u8(self.buffer.as_mut(), next_header.0);
    }

    /// Options, or all of routing type, segments left and the routing data.
    pub fn data_mut(&mut self) -> &mut [u8] {
        let end = self.header_len();
        &mut self.buffer.as_mut()[field::DATA..end]
    }
}

/// What a header can hold.
///
/// # Invariants
/// 6, 14, … 2046 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a>(&'a [u8]);

impl<'a> Data<'a> {
    /// These bytes, if with the first two they make a whole number of eights.
    ///
    /// # Errors
    /// [`Malformed`]: not padded, or too long.
    pub const fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let len = field::DATA + bytes.len();
        if len.is_multiple_of(MIN_LEN) && MIN_LEN <= len && len <= 256 * MIN_LEN {
            Ok(Self(bytes))
        } else {
            Err(Malformed)
        }
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// A header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr<'a> {
    /// What follows.
    pub next_header: Protocol,
    /// Options or routing data.
    pub data: Data<'a>,
}

impl<'a> Repr<'a> {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Malformed`]: lengths.
    pub fn parse<T: AsRef<[u8]>>(packet: &'a Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        Ok(Self { next_header: packet.next_header(), data: Data::new(packet.data())? })
    }

    /// How many bytes [`Self::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        field::DATA + self.data.0.len()
    }

    /// Writes the header.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Self::buffer_len`].
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_next_header(self.next_header);
        field::LENGTH.set_u8(packet.buffer.as_mut(), (self.buffer_len() / 8 - 1) as u8);
        packet.data_mut().copy_from_slice(self.data.0);
    }
}

impl fmt::Display for Repr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IPv6 extension len={} next={}", self.buffer_len(), self.next_header)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// A routing header of type 4 with one segment left and 16 bytes in all, and a byte of payload.
    const BYTES: [u8; 17] = [17, 1, 4, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xaa];

    fn repr_of_bytes() -> Repr<'static> {
        Repr {
            next_header: Protocol::UDP,
            data: Data::new(&[4, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap(),
        }
    }

    #[test]
    fn deconstruct() {
        let header = Packet::new_checked(&BYTES[..]).unwrap();
        assert_eq!((header.next_header(), header.header_len()), (Protocol::UDP, 16));
        assert_eq!((header.routing_type(), header.segments_left()), (4, 1));
        assert_eq!((header.data(), header.payload()), (&BYTES[2..16], &BYTES[16..]));
    }

    #[test]
    fn construct() {
        let mut header = Packet::new_unchecked(BYTES);
        header.set_next_header(Protocol::TCP);
        header.data_mut().fill(0);
        let mut want = [0; 17];
        (want[0], want[1], want[16]) = (6, 1, 0xaa);
        assert_eq!(header.into_inner(), want);
    }

    #[test]
    fn parse() {
        assert_eq!(Repr::parse(&Packet::new_checked(&BYTES[..]).unwrap()), Ok(repr_of_bytes()));
        assert_eq!(repr_of_bytes().to_string(), "IPv6 extension len=16 next=UDP");
    }

    #[test]
    fn emit() {
        let mut bytes = [0xff; 16];
        repr_of_bytes().emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, BYTES[..16]);
    }

    #[test]
    fn a_header_cut_short_is_malformed() {
        for len in [0, 1, 7, 8, 15] {
            assert_eq!(Packet::new_checked(&BYTES[..len]).map(drop), Err(Malformed), "{len}");
        }
        assert_eq!(Data::new(&[0; 5]), Err(Malformed));
        assert_eq!(Data::new(&[]), Err(Malformed));
        assert!(Data::new(&[0; 2046]).is_ok());
        assert_eq!(Data::new(&[0; 2054]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn round_trip(
            next: u8, data in (1..=256usize).prop_flat_map(|n| prop::collection::vec(any::<u8>(), n * 8 - 2))
        ) {
            let repr = Repr { next_header: Protocol(next), data: Data::new(&data).unwrap() };
            let mut bytes = std::vec![0xff; repr.buffer_len()];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            let header = Packet::new_checked(&bytes).unwrap();
            prop_assert_eq!(Repr::parse(&header), Ok(repr));
        }
    }
}
