//! The fixed IPv6 header (RFC 8200 section 3).
//!
//! Extension headers belong to the payload here; [`crate::ipv6_ext`] walks them. Jumbograms (RFC 2675) are not read:
//! a payload length of 0 is an empty payload.
//!
//! ```text
//!  0                               4               6       7
//! +---+-------+-------------------+---------------+-------+-------+
//! |ver| class | flow label        | payload length| next  | limit |
//! +---+-------+-------------------+---------------+-------+-------+
//! | source, 16 bytes …            | destination, 16 bytes …       |
//! +-------------------------------+-------------------------------+
//! ```
use core::fmt;
use core::net::Ipv6Addr;

use crate::{Malformed, ip::Protocol};

mod field {
    use crate::field::Field;

    pub(super) const FIRST_WORD: Field<4> = Field::at(0);
    pub(super) const PAYLOAD_LEN: Field<2> = Field::at(4);
    pub(super) const NEXT_HEADER: Field<1> = Field::at(6);
    pub(super) const HOP_LIMIT: Field<1> = Field::at(7);
    pub(super) const SRC: Field<16> = Field::at(8);
    pub(super) const DST: Field<16> = Field::at(24);
}

/// Length of the fixed header.
pub const HEADER_LEN: usize = field::DST.end();

/// A flow label.
///
/// # Invariants
/// At most 20 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowLabel(u32);

impl FlowLabel {
    /// The label of this number, if it has only 20 bits.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number <= 0xf_ffff { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A view of a packet.
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
    /// [`Malformed`]: header or payload beyond the buffer. A longer buffer is padding.
    #[inline]
    pub fn check_len(&self) -> Result<(), Malformed> {
        let len = self.buffer.as_ref().len();
        if HEADER_LEN <= len && self.total_len() <= len { Ok(()) } else { Err(Malformed) }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The version: 6, one hopes.
    #[inline]
    pub fn version(&self) -> u8 {
        (field::FIRST_WORD.u32(self.buffer.as_ref()) >> 28) as u8
    }

    /// Traffic class: DSCP and ECN.
    pub fn traffic_class(&self) -> u8 {
        (field::FIRST_WORD.u32(self.buffer.as_ref()) >> 20) as u8
    }

    /// The flow label.
    pub fn flow_label(&self) -> FlowLabel {
        FlowLabel(field::FIRST_WORD.u32(self.buffer.as_ref()) & 0xf_ffff)
    }

    /// Length of the payload, extension headers included.
    #[inline]
    pub fn payload_len(&self) -> u16 {
        field::PAYLOAD_LEN.u16(self.buffer.as_ref())
    }

    /// Length of the packet.
    #[inline]
    pub fn total_len(&self) -> usize {
        HEADER_LEN + usize::from(self.payload_len())
    }

    /// What the payload begins with.
    #[inline]
    pub fn next_header(&self) -> Protocol {
        Protocol(field::NEXT_HEADER.u8(self.buffer.as_ref()))
    }

    /// Hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        field::HOP_LIMIT.u8(self.buffer.as_ref())
    }

    /// The source.
    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        Ipv6Addr::from(field::SRC.get(self.buffer.as_ref()))
    }

    /// The destination.
    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        Ipv6Addr::from(field::DST.get(self.buffer.as_ref()))
    }

    /// From after the fixed header to the end of the packet; padding is left out.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.total_len()]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source.
    pub fn set_src(&mut self, addr: Ipv6Addr) {
        field::SRC.set(self.buffer.as_mut(), addr.octets());
    }

    /// Sets the destination.
    pub fn set_dst(&mut self, addr: Ipv6Addr) {
        field::DST.set(self.buffer.as_mut(), addr.octets());
    }

    /// Sets the hop limit.
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        field::HOP_LIMIT.set_u8(self.buffer.as_mut(), hop_limit);
    }

    /// From after the fixed header to the end of the packet; padding is left out.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = self.total_len();
        &mut self.buffer.as_mut()[HEADER_LEN..end]
    }
}

/// A fixed header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The source.
    pub src: Ipv6Addr,
    /// The destination.
    pub dst: Ipv6Addr,
    /// What the payload begins with.
    pub next_header: Protocol,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// The flow label.
    pub flow_label: FlowLabel,
    /// Length of the payload, extension headers included.
    pub payload_len: u16,
}

impl Repr {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Malformed`]: lengths, or another version.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        if packet.version() != 6 {
            return Err(Malformed);
        }
        Ok(Self {
            src: packet.src(),
            dst: packet.dst(),
            next_header: packet.next_header(),
            hop_limit: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
            flow_label: packet.flow_label(),
            payload_len: packet.payload_len(),
        })
    }

    /// Length of header and payload: the buffer that [`Self::emit`] wants. Only the header is written.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.payload_len as usize
    }

    /// Writes the header.
    ///
    /// # Panics
    /// If the buffer is shorter than the header.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let first_word = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label.0;
        let bytes = packet.buffer.as_mut();
        field::FIRST_WORD.set_u32(bytes, first_word);
        field::PAYLOAD_LEN.set_u16(bytes, self.payload_len);
        field::NEXT_HEADER.set_u8(bytes, self.next_header.0);
        packet.set_hop_limit(self.hop_limit);
        packet.set_src(self.src);
        packet.set_dst(self.dst);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, next_header, hop_limit, payload_len, .. } = self;
        write!(f, "IPv6 {src} > {dst} {next_header} hops={hop_limit} len={payload_len}")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    /// Two bytes of payload, one of padding.
    const BYTES: [u8; 43] = [
        0x6b, 0x8a, 0xbc, 0xde, 0x00, 0x02, 0x11, 0x40, // to hop limit
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // source
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, // destination
        0xaa, 0xbb, 0xff,
    ];
    const REPR: Repr = Repr {
        src: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        dst: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
        next_header: Protocol::UDP,
        hop_limit: 64,
        traffic_class: 0xb8,
        flow_label: FlowLabel(0xabcde),
        payload_len: 2,
    };

    #[test]
    fn deconstruct() {
        let packet = Packet::new_checked(&BYTES[..]).unwrap();
        assert_eq!((packet.version(), packet.traffic_class(), packet.flow_label().get()), (6, 0xb8, 0xabcde));
        assert_eq!((packet.payload_len(), packet.total_len(), packet.next_header()), (2, 42, Protocol::UDP));
        assert_eq!((packet.hop_limit(), packet.src(), packet.dst()), (64, REPR.src, REPR.dst));
        assert_eq!(packet.payload(), [0xaa, 0xbb]);
    }

    #[test]
    fn construct() {
        let mut packet = Packet::new_unchecked(BYTES);
        packet.set_src(REPR.dst);
        packet.set_dst(REPR.src);
        packet.set_hop_limit(1);
        packet.payload_mut().fill(0);
        let mut want = BYTES;
        (want[7], want[23], want[39]) = (1, 2, 1);
        want[40..42].fill(0);
        assert_eq!(packet.into_inner(), want);
    }

    #[test]
    fn parse() {
        assert_eq!(Repr::parse(&Packet::new_checked(&BYTES[..]).unwrap()), Ok(REPR));
        assert_eq!(REPR.to_string(), "IPv6 2001:db8::1 > 2001:db8::2 UDP hops=64 len=2");
    }

    #[test]
    fn emit() {
        let mut bytes = [0xff; HEADER_LEN];
        REPR.emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, BYTES[..HEADER_LEN]);
    }

    #[test]
    fn a_payload_beyond_the_buffer_is_malformed() {
        assert_eq!(Packet::new_checked(&BYTES[..39]).map(drop), Err(Malformed));
        assert_eq!(Packet::new_checked(&BYTES[..41]).map(drop), Err(Malformed));
        assert!(Packet::new_checked(&BYTES[..42]).is_ok());
    }

    #[test]
    fn another_version_has_no_value() {
        let mut bytes = BYTES;
        bytes[0] = 0x4b;
        assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Err(Malformed));
        assert_eq!(FlowLabel::new(0x10_0000), None);
    }

    proptest! {
        #[test]
        fn round_trip(
            src: [u8; 16], dst: [u8; 16], next: u8, hop_limit: u8, traffic_class: u8, label in 0..=0xf_ffffu32, payload_len in 0..64u16,
        ) {
            let repr = Repr {
                src: src.into(), dst: dst.into(), next_header: Protocol(next), hop_limit, traffic_class,
                flow_label: FlowLabel::new(label).unwrap(), payload_len,
            };
            let mut bytes = std::vec![0xff; repr.buffer_len()];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert_eq!(packet.payload().len(), usize::from(payload_len));
            prop_assert_eq!(Repr::parse(&packet), Ok(repr));
        }
    }
}
