//! TCP headers (RFC 9293 section 3.1).
//!
//! Options are carried, not interpreted: what a connection does is a stack's business.
//!
//! ```text
//!  0               2               4
//! +---------------+---------------+-------------------------------+
//! | source port   | dest. port    | sequence number               |
//! +---------------+---------------+---------------+---------------+
//! | acknowledgement number        |off|0 | flags  | window        |
//! +---------------+---------------+---------------+---------------+
//! | checksum      | urgent        | options, off·4 − 20 bytes …   |
//! +---------------+---------------+-------------------------------+
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
    pub(super) const SEQ: Field<4> = Field::at(4);
    pub(super) const ACK: Field<4> = Field::at(8);
    pub(super) const OFFSET: Field<1> = Field::at(12);
    pub(super) const FLAGS: Field<1> = Field::at(13);
    pub(super) const WINDOW: Field<2> = Field::at(14);
    pub(super) const CHECKSUM: Field<2> = Field::at(16);
    pub(super) const URGENT: Field<2> = Field::at(18);
}

/// Length of a header without options.
pub const HEADER_LEN: usize = field::URGENT.end();

/// Most bytes of options.
pub const MAX_OPTIONS_LEN: usize = 40;

/// The control bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(1 << 0);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(1 << 1);
    /// Reset the connection.
    pub const RST: Self = Self(1 << 2);
    /// Push.
    pub const PSH: Self = Self(1 << 3);
    /// The acknowledgement number is valid.
    pub const ACK: Self = Self(1 << 4);
    /// The urgent pointer is valid.
    pub const URG: Self = Self(1 << 5);
    /// ECN echo.
    pub const ECE: Self = Self(1 << 6);
    /// Congestion window reduced.
    pub const CWR: Self = Self(1 << 7);

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'].into_iter().enumerate() {
            if self.0 >> bit & 1 != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// A view of a segment.
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
    /// [`Malformed`]: unless 20 ≤ header length ≤ buffer.
    pub fn check_len(&self) -> Result<(), Malformed> {
        let len = self.buffer.as_ref().len();
        if HEADER_LEN <= len && HEADER_LEN <= self.header_len() && self.header_len() <= len {
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

    /// The sequence number.
    pub fn seq(&self) -> u32 {
        field::SEQ.u32(self.buffer.as_ref())
    }

    /// The acknowledgement number.
    pub fn ack(&self) -> u32 {
        field::ACK.u32(self.buffer.as_ref())
    }

    /// Length of the header in bytes, options included.
    pub fn header_len(&self) -> usize {
        usize::from(field::OFFSET.u8(self.buffer.as_ref()) >> 4) * 4
    }

    /// The control bits.
    pub fn flags(&self) -> Flags {
        Flags(field::FLAGS.u8(self.buffer.as_ref()))
    }

    /// The window, unscaled.
    pub fn window(&self) -> u16 {
        field::WINDOW.u16(self.buffer.as_ref())
    }

    /// The checksum.
    pub fn checksum(&self) -> u16 {
        field::CHECKSUM.u16(self.buffer.as_ref())
    }

    /// The urgent pointer.
    pub fn urgent(&self) -> u16 {
        field::URGENT.u16(self.buffer.as_ref())
    }

    /// The options.
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// The payload: everything after the header, for a segment has no length of its own.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[self.header_len()..]
    }

    /// Whether the segment, which is the whole buffer, is as it was sent.
    pub fn verify_checksum(&self, addresses: &Addresses) -> bool {
        self.sum(addresses).is_intact()
    }

    fn sum(&self, addresses: &Addresses) -> Sum {
        let bytes = self.buffer.as_ref();
        addresses.pseudo_header(Protocol::TCP, bytes.len() as u32).plus(Sum::of(bytes))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source port; the checksum is not changed.
    pub fn set_src_port(&mut self, port: u16) {
        field::SRC_PORT.set_u16(self.buffer.as_mut(), port);
    }

    /// Sets the destination port; the checksum is not changed.
    pub fn set_dst_port(&mut self, port: u16) {
        field::DST_PORT.set_u16(self.buffer.as_mut(), port);
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        field::CHECKSUM.set_u16(self.buffer.as_mut(), checksum);
    }

    /// Computes the checksum over the whole buffer and sets it.
    pub fn fill_checksum(&mut self, addresses: &Addresses) {
        self.set_checksum(0);
        self.set_checksum(self.sum(addresses).complement());
    }

    /// The payload.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let begin = self.header_len();
        &mut self.buffer.as_mut()[begin..]
    }
}

/// Options that a header can hold.
///
/// # Invariants
/// A multiple of 4 bytes, at most [`MAX_OPTIONS_LEN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// These bytes, if they fit.
    ///
    /// # Errors
    /// [`Malformed`]: too many, or not padded to a multiple of 4.
    pub const fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() <= MAX_OPTIONS_LEN && bytes.len().is_multiple_of(4) {
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
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgement number.
    pub ack: u32,
    /// The control bits.
    pub flags: Flags,
    /// The window, unscaled.
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// The options.
    pub options: Options<'a>,
}

impl<'a> Repr<'a> {
    /// Reads a header. The checksum is not verified, the reserved bits are ignored.
    ///
    /// # Errors
    /// [`Malformed`]: lengths.
    pub fn parse<T: AsRef<[u8]>>(packet: &'a Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        Ok(Self {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            seq: packet.seq(),
            ack: packet.ack(),
            flags: packet.flags(),
            window: packet.window(),
            urgent: packet.urgent(),
            options: Options::new(packet.options())?,
        })
    }

    /// Length of the header.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.options.0.len()
    }

    /// Writes the header over a payload that is already there, and the checksum over the whole buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Self::header_len`].
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>, addresses: &Addresses) {
        let header_len = self.header_len();
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        let bytes = packet.buffer.as_mut();
        field::SEQ.set_u32(bytes, self.seq);
        field::ACK.set_u32(bytes, self.ack);
        field::OFFSET.set_u8(bytes, (header_len as u8 / 4) << 4);
        field::FLAGS.set_u8(bytes, self.flags.0);
        field::WINDOW.set_u16(bytes, self.window);
        field::URGENT.set_u16(bytes, self.urgent);
        bytes[HEADER_LEN..header_len].copy_from_slice(self.options.0);
        packet.fill_checksum(addresses);
    }
}

impl fmt::Display for Repr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src_port, dst_port, seq, ack, flags, window, .. } = self;
        write!(f, "TCP {src_port} > {dst_port} [{flags}] seq={seq} ack={ack} win={window}")
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// FIN with a maximum segment size and three bytes of payload.
    const BYTES: [u8; 27] = [
        0xc0, 0x01, 0x00, 0x50, 0x00, 0x01, 0x02, 0x03, 0xf0, 0xe0, 0xd0, 0xc0, // ports and numbers
        0x60, 0x19, 0x20, 0x00, 0x6c, 0x8e, 0x00, 0x05, 0x02, 0x04, 0x05,
        0xb4, // to the end of the option
        b'G', b'E', b'T',
    ];
    const ADDRESSES: Addresses = Addresses::V4(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
    const V6: Addresses = Addresses::V6(Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);

    fn repr_of_bytes() -> Repr<'static> {
        Repr {
            src_port: 49_153,
            dst_port: 80,
            seq: 0x0001_0203,
            ack: 0xf0e0_d0c0,
            flags: Flags::FIN.with(Flags::PSH).with(Flags::ACK),
            window: 0x2000,
            urgent: 5,
            options: Options::new(&[2, 4, 5, 0xb4]).unwrap(),
        }
    }

    #[test]
    fn deconstruct() {
        let packet = Packet::new_checked(&BYTES[..]).unwrap();
        assert_eq!((packet.src_port(), packet.dst_port()), (49_153, 80));
        assert_eq!((packet.seq(), packet.ack(), packet.header_len()), (0x0001_0203, 0xf0e0_d0c0, 24));
        assert_eq!((packet.flags(), packet.window()), (repr_of_bytes().flags, 0x2000));
        assert!(packet.flags().contains(Flags::ACK) && !packet.flags().contains(Flags::SYN.with(Flags::ACK)));
        assert_eq!((packet.checksum(), packet.urgent()), (0x6c8e, 5));
        assert_eq!((packet.options(), packet.payload()), (&BYTES[20..24], &BYTES[24..]));
        assert!(packet.verify_checksum(&ADDRESSES));
    }

    #[test]
    fn construct() {
        let mut packet = Packet::new_unchecked(BYTES);
        packet.set_src_port(7);
        packet.set_dst_port(9);
        packet.payload_mut().fill(0);
        assert!(!packet.verify_checksum(&ADDRESSES));
        packet.fill_checksum(&ADDRESSES);
        assert!(packet.verify_checksum(&ADDRESSES));
        packet.set_checksum(0xbeef);
        let mut want = BYTES;
        want[..4].copy_from_slice(&[0, 7, 0, 9]);
        want[16..18].copy_from_slice(&[0xbe, 0xef]);
        want[24..].fill(0);
        assert_eq!(packet.into_inner(), want);
    }

    #[test]
    fn parse() {
        assert_eq!(Repr::parse(&Packet::new_checked(&BYTES[..]).unwrap()), Ok(repr_of_bytes()));
        let text = "TCP 49153 > 80 [FP.] seq=66051 ack=4041265344 win=8192";
        assert_eq!(repr_of_bytes().to_string(), text);
    }

    #[test]
    fn emit() {
        let mut bytes = [0xff; 27];
        bytes[24..].copy_from_slice(&BYTES[24..]);
        repr_of_bytes().emit(&mut Packet::new_unchecked(&mut bytes), &ADDRESSES);
        assert_eq!(bytes, BYTES);
    }

    #[test]
    fn a_header_length_out_of_bounds_is_malformed() {
        for offset in [0x00, 0x40, 0x80] {
            let mut bytes = BYTES;
            bytes[12] = offset;
            assert_eq!(Packet::new_checked(&bytes).map(drop), Err(Malformed), "{offset:#x}");
        }
        assert_eq!(Packet::new_checked(&BYTES[..19]).map(drop), Err(Malformed));
        assert_eq!(Options::new(&[0; 44]), Err(Malformed));
        assert_eq!(Options::new(&[0; 2]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn round_trip(
            ports: (u16, u16), seq: u32, ack: u32, flags: u8, window: u16, urgent: u16,
            options in (0..=10usize).prop_flat_map(|words| prop::collection::vec(any::<u8>(), words * 4)),
            payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let repr = Repr {
                src_port: ports.0, dst_port: ports.1, seq, ack, flags: Flags(flags), window, urgent,
                options: Options::new(&options).unwrap(),
            };
            for addresses in [ADDRESSES, V6] {
                let mut bytes = std::vec![0xff; repr.header_len()];
                bytes.extend(&payload);
                repr.emit(&mut Packet::new_unchecked(&mut bytes), &addresses);
                let packet = Packet::new_checked(&bytes).unwrap();
                prop_assert!(packet.verify_checksum(&addresses));
                prop_assert_eq!(packet.payload(), &payload);
                prop_assert_eq!(Repr::parse(&packet), Ok(repr));
            }
        }

        #[test]
        fn b14_no_accessor_panics_on_what_check_len_accepts(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = Packet::new_checked(&bytes) {
                prop_assert_eq!([packet.options(), packet.payload()].concat(), &bytes[20..]);
            }
        }
    }
}
