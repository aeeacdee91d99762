//! UDP (RFC 768; over IPv6, RFC 8200 section 8.1).
//!
//! A datagram whose length field is 0 (a jumbogram's, RFC 2675) is not read.
//!
//! ```text
//!  0               2               4               6               8
//! +---------------+---------------+---------------+---------------+--------
//! | source port   | dest. port    | length        | checksum      | payload
//! +---------------+---------------+---------------+---------------+--------
//! ```
use core::fmt;

use crate::{
    Malformed,
    checksum::Sum,
    ip::{Addresses, Protocol},
};

mod field {
    use crate::field::Field;

    pub(super) const SRC_PORT: Field<2> = Field::at(0);
    pub(super) const DST_PORT: Field<2> = Field::at(2);
    pub(super) const LENGTH: Field<2> = Field::at(4);
    pub(super) const CHECKSUM: Field<2> = Field::at(6);
}

/// Length of the header.
pub const HEADER_LEN: usize = field::CHECKSUM.end();

/// A view of a datagram.
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
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let packet = Self::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// `Ok` means that no accessor panics.
    ///
    /// # Errors
    /// [`Malformed`]: unless 8 ≤ length field ≤ buffer.
    #[inline]
    pub fn check_len(&self) -> Result<(), Malformed> {
        let len = self.buffer.as_ref().len();
        if HEADER_LEN <= len && HEADER_LEN <= self.len() && self.len() <= len {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The source port.
    #[inline]
    pub fn src_port(&self) -> u16 {
        field::SRC_PORT.u16(self.buffer.as_ref())
    }

    /// The destination port.
    #[inline]
    pub fn dst_port(&self) -> u16 {
        field::DST_PORT.u16(self.buffer.as_ref())
    }

    /// The length field: header and payload.
    #[expect(clippy::len_without_is_empty, reason = "a datagram has its header and is never empty")]
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(field::LENGTH.u16(self.buffer.as_ref()))
    }

    /// The checksum; 0 says that there is none.
    pub fn checksum(&self) -> u16 {
        field::CHECKSUM.u16(self.buffer.as_ref())
    }

    /// Whether the datagram is as it was sent. Over IPv4 one without a checksum is believed, over IPv6 it is not.
    pub fn verify_checksum(&self, addresses: &Addresses) -> bool {
        if self.checksum() == 0 {
            return matches!(addresses, Addresses::V4(..));
        }
        self.sum(addresses).is_intact()
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.len()]
    }

    fn sum(&self, addresses: &Addresses) -> Sum {
        let pseudo = addresses.pseudo_header(Protocol::UDP, self.len() as u32);
        pseudo.plus(Sum::of(&self.buffer.as_ref()[..self.len()]))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source port; the checksum is not changed.
    #[inline]
    pub fn set_src_port(&mut self, port: u16) {
        field::SRC_PORT.set_u16(self.buffer.as_mut(), port);
    }

    /// Sets the destination port; the checksum is not changed.
    #[inline]
    pub fn set_dst_port(&mut self, port: u16) {
        field::DST_PORT.set_u16(self.buffer.as_mut(), port);
    }

    /// Sets the length field.
    pub fn set_len(&mut self, len: u16) {
        field::LENGTH.set_u16(self.buffer.as_mut(), len);
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        field::CHECKSUM.set_u16(self.buffer.as_mut(), checksum);
    }

    /// Computes the checksum and sets it. A sum of 0 is sent as 0xffff, for 0 says that there is none.
    pub fn fill_checksum(&mut self, addresses: &Addresses) {
        self.set_checksum(0);
        let checksum = match self.sum(addresses).complement() {
            0 => 0xffff,
            other => other,
        };
        self.set_checksum(checksum);
    }

    /// The payload.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = self.len();
        &mut self.buffer.as_mut()[HEADER_LEN..end]
    }
}

/// A header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// Length of the payload, at most 65,527.
    pub payload_len: u16,
}

impl Repr {
    /// Reads a header. The checksum is not verified.
    ///
    /// # Errors
    /// [`Malformed`]: lengths.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        let payload_len = (packet.len() - HEADER_LEN) as u16;
        Ok(Self { src_port: packet.src_port(), dst_port: packet.dst_port(), payload_len })
    }

    /// Length of header and payload: the buffer that [`Self::emit`] wants.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.payload_len as usize
    }

    /// Writes the header over a payload that is already there, and the checksum over both.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Self::buffer_len`].
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>, addresses: &Addresses) {
        debug_assert!(self.buffer_len() <= usize::from(u16::MAX), "a datagram has at most 65,535 bytes");
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        packet.set_len(self.buffer_len() as u16);
        packet.fill_checksum(addresses);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UDP {} > {} len={}", self.src_port, self.dst_port, self.payload_len)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const BYTES: [u8; 13] = *b"\xc0\x01\x00\x07\x00\x0d\x0f\xbdhello";
    const ADDRESSES: Addresses = Addresses::V4(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
    const V6: Addresses = Addresses::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    const REPR: Repr = Repr { src_port: 49_153, dst_port: 7, payload_len: 5 };

    #[test]
    fn deconstruct() {
        let packet = Packet::new_checked(&BYTES[..]).unwrap();
        assert_eq!((packet.src_port(), packet.dst_port(), packet.len()), (49_153, 7, 13));
        assert_eq!((packet.checksum(), packet.payload()), (0x0fbd, &BYTES[8..]));
        assert!(packet.verify_checksum(&ADDRESSES));
    }

    #[test]
    fn construct() {
        let mut packet = Packet::new_unchecked([0xff; 13]);
        packet.set_src_port(49_153);
        packet.set_dst_port(7);
        packet.set_len(13);
        packet.payload_mut().copy_from_slice(&BYTES[8..]);
        packet.fill_checksum(&ADDRESSES);
        assert_eq!(packet.into_inner(), BYTES);
    }

    #[test]
    fn parse() {
        assert_eq!(Repr::parse(&Packet::new_checked(&BYTES[..]).unwrap()), Ok(REPR));
        assert_eq!(REPR.to_string(), "UDP 49153 > 7 len=5");
    }

    #[test]
    fn emit() {
        let mut bytes = [0xff; 13];
        bytes[8..].copy_from_slice(&BYTES[8..]);
        REPR.emit(&mut Packet::new_unchecked(&mut bytes), &ADDRESSES);
        assert_eq!(bytes, BYTES);
    }

    #[test]
    fn lengths_that_contradict_each_other_are_malformed() {
        for len in [0u16, 7, 14] {
            let mut bytes = BYTES;
            bytes[4..6].copy_from_slice(&len.to_be_bytes());
            assert_eq!(Packet::new_checked(&bytes).map(drop), Err(Malformed), "{len}");
        }
        assert_eq!(Packet::new_checked(&BYTES[..7]).map(drop), Err(Malformed));
    }

    #[test]
    fn no_checksum_is_believed_over_ipv4_only() {
        let mut packet = Packet::new_unchecked(BYTES);
        packet.set_checksum(0);
        assert!(packet.verify_checksum(&ADDRESSES));
        assert!(!packet.verify_checksum(&V6));
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_minus_zero() {
        // The payload is chosen so that everything else sums up to 0xffff.
        let mut packet = Packet::new_unchecked([0, 0, 0, 0, 0, 10, 0, 0, 0, 0]);
        packet.fill_checksum(&ADDRESSES);
        let filler = packet.checksum();
        packet.payload_mut().copy_from_slice(&filler.to_be_bytes());
        packet.fill_checksum(&ADDRESSES);
        assert_eq!(packet.checksum(), 0xffff);
        assert!(packet.verify_checksum(&ADDRESSES));
    }

    proptest! {
        #[test]
        fn round_trip(src_port: u16, dst_port: u16, payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let repr = Repr { src_port, dst_port, payload_len: payload.len() as u16 };
            for addresses in [ADDRESSES, V6] {
                let mut bytes = std::vec![0xff; HEADER_LEN];
                bytes.extend(&payload);
                repr.emit(&mut Packet::new_unchecked(&mut bytes), &addresses);
                let packet = Packet::new_checked(&bytes).unwrap();
                prop_assert!(packet.verify_checksum(&addresses));
                prop_assert_eq!(packet.payload(), &payload);
                prop_assert_eq!(Repr::parse(&packet), Ok(repr));
            }
        }
    }
}
