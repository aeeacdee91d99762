//! IPv4 headers with options (RFC 791 section 3.1).
//!
//! Options are carried, their structure is not interpreted; fragments are described, not put together.
//!
//! ```text
//!  0       1       2               4
//! +-------+-------+---------------+---------------+---------------+
//! |ver IHL| TOS   | total length  | identification| .DM offset    |
//! +-------+-------+---------------+---------------+---------------+
//! | TTL   | proto | checksum      | source                        |
//! +-------+-------+---------------+-------------------------------+
//! | destination                   | options, IHL·4 − 20 bytes …   |
//! +-------------------------------+-------------------------------+
//! ```
use core::fmt;
use core::net::Ipv4Addr;

use crate::{
    Malformed,
    checksum::Sum,
    ip::{FragmentOffset, Protocol},
};

mod field {
    use crate::field::Field;

    pub(super) const VERSION_IHL: Field<1> = Field::at(0);
    pub(super) const TOS: Field<1> = Field::at(1);
    pub(super) const TOTAL_LEN: Field<2> = Field::at(2);
    pub(super) const IDENT: Field<2> = Field::at(4);
    pub(super) const FRAGMENT: Field<2> = Field::at(6);
    pub(super) const TTL: Field<1> = Field::at(8);
    pub(super) const PROTOCOL: Field<1> = Field::at(9);
    pub(super) const CHECKSUM: Field<2> = Field::at(10);
    pub(super) const SRC: Field<4> = Field::at(12);
    pub(super) const DST: Field<4> = Field::at(16);
}

/// Length of a header without options.
pub const HEADER_LEN: usize = field::DST.end();

/// Most bytes of options.
pub const MAX_OPTIONS_LEN: usize = 40;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

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
    /// [`Malformed`]: unless 20 ≤ header length ≤ total length ≤ buffer. A longer buffer is padding.
    #[inline]
    pub fn check_len(&self) -> Result<(), Malformed> {
        let len = self.buffer.as_ref().len();
        if len < HEADER_LEN {
            return Err(Malformed);
        }
        let (header, total) = (self.header_len(), usize::from(self.total_len()));
        if HEADER_LEN <= header && header <= total && total <= len { Ok(()) } else { Err(Malformed) }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The version: 4, one hopes.
    #[inline]
    pub fn version(&self) -> u8 {
        field::VERSION_IHL.u8(self.buffer.as_ref()) >> 4
    }

    /// Length of the header in bytes, options included.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(field::VERSION_IHL.u8(self.buffer.as_ref()) & 0x0f) * 4
    }

    /// Type of service: DSCP and ECN.
    pub fn tos(&self) -> u8 {
        field::TOS.u8(self.buffer.as_ref())
    }

    /// Length of the packet.
    #[inline]
    pub fn total_len(&self) -> u16 {
        field::TOTAL_LEN.u16(self.buffer.as_ref())
    }

    /// The datagram's identification.
    pub fn ident(&self) -> u16 {
        field::IDENT.u16(self.buffer.as_ref())
    }

    /// Whether routers must not fragment it.
    pub fn dont_fragment(&self) -> bool {
        field::FRAGMENT.u16(self.buffer.as_ref()) & DONT_FRAGMENT != 0
    }

    /// Whether it is not the datagram's last fragment.
    pub fn more_fragments(&self) -> bool {
        field::FRAGMENT.u16(self.buffer.as_ref()) & MORE_FRAGMENTS != 0
    }

    /// Where the payload lies in the datagram.
    pub fn fragment_offset(&self) -> FragmentOffset {
        FragmentOffset::from_units(field::FRAGMENT.u16(self.buffer.as_ref()) & OFFSET_MASK)
    }

    /// Whether it is a part of a datagram.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        field::FRAGMENT.u16(self.buffer.as_ref()) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        field::TTL.u8(self.buffer.as_ref())
    }

    /// What the payload is.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        Protocol(field::PROTOCOL.u8(self.buffer.as_ref()))
    }

    /// The header's checksum.
    pub fn checksum(&self) -> u16 {
        field::CHECKSUM.u16(self.buffer.as_ref())
    }

    /// Whether the header is as it was sent.
    pub fn verify_checksum(&self) -> bool {
        Sum::of(&self.buffer.as_ref()[..self.header_len()]).is_intact()
    }

    /// The source.
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from(field::SRC.get(self.buffer.as_ref()))
    }

    /// The destination.
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from(field::DST.get(self.buffer.as_ref()))
    }

    /// The options.
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// From after the header to the end of the packet; padding is left out.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[self.header_len()..usize::from(self.total_len())]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the source; the checksum is not changed.
    pub fn set_src(&mut self, addr: Ipv4Addr) {
        field::SRC.set(self.buffer.as_mut(), addr.octets());
    }

    /// Sets the destination; the checksum is not changed.
    pub fn set_dst(&mut self, addr: Ipv4Addr) {
        field::DST.set(self.buffer.as_mut(), addr.octets());
    }

    /// Sets the time to live; the checksum is not changed.
    pub fn set_ttl(&mut self, ttl: u8) {
        field::TTL.set_u8(self.buffer.as_mut(), ttl);
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        field::CHECKSUM.set_u16(self.buffer.as_mut(), checksum);
    }

    /// Computes the checksum and sets it.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let len = self.header_len();
        self.set_checksum(Sum::of(&self.buffer.as_ref()[..len]).complement());
    }

    /// From after the header to the end of the packet; padding is left out.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let (header, total) = (self.header_len(), usize::from(self.total_len()));
        &mut self.buffer.as_mut()[header..total]
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
    /// The source.
    pub src: Ipv4Addr,
    /// The destination.
    pub dst: Ipv4Addr,
    /// What the payload is.
    pub protocol: Protocol,
    /// Time to live.
    pub ttl: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// How it is, or may be, fragmented.
    pub fragment: Fragment,
    /// The options.
    pub options: Options<'a>,
    /// Length of the payload; with the header at most 65,535.
    pub payload_len: u16,
}

/// The middle words of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The datagram's identification.
    pub ident: u16,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// Whether it is not the last one.
    pub more: bool,
    /// Where the payload lies in the datagram.
    pub offset: FragmentOffset,
}

impl<'a> Repr<'a> {
    /// Reads a header. The checksum is not verified.
    ///
    /// # Errors
    /// [`Malformed`]: lengths, or another version.
    pub fn parse<T: AsRef<[u8]>>(packet: &'a Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        if packet.version() != 4 {
            return Err(Malformed);
        }
        Ok(Self {
            src: packet.src(),
            dst: packet.dst(),
            protocol: packet.protocol(),
            ttl: packet.ttl(),
            tos: packet.tos(),
            fragment: Fragment {
                ident: packet.ident(),
                dont_fragment: packet.dont_fragment(),
                more: packet.more_fragments(),
                offset: packet.fragment_offset(),
            },
            options: Options::new(packet.options())?,
            payload_len: packet.total_len() - packet.header_len() as u16,
        })
    }

    /// Length of the header.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.options.0.len()
    }

    /// Length of header and payload: the buffer that [`Self::emit`] wants. Only the header is written.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        self.header_len() + self.payload_len as usize
    }

    /// Writes the header with its checksum.
    ///
    /// # Panics
    /// If the buffer is shorter than the header.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        debug_assert!(self.buffer_len() <= usize::from(u16::MAX), "an IPv4 packet has at most 65,535 bytes");
        let Fragment { ident, dont_fragment, more, offset } = self.fragment;
        let flags = if dont_fragment { DONT_FRAGMENT } else { 0 } | if more { MORE_FRAGMENTS } else { 0 };
        let header_len = self.header_len();
        let bytes = packet.buffer.as_mut();
        field::VERSION_IHL.set_u8(bytes, 0x40 | (header_len / 4) as u8);
        field::TOS.set_u8(bytes, self.tos);
        field::TOTAL_LEN.set_u16(bytes, self.buffer_len() as u16);
        field::IDENT.set_u16(bytes, ident);
        field::FRAGMENT.set_u16(bytes, flags | offset.units());
        field::TTL.set_u8(bytes, self.ttl);
        field::PROTOCOL.set_u8(bytes, self.protocol.0);
        field::SRC.set(bytes, self.src.octets());
        field::DST.set(bytes, self.dst.octets());
        bytes[HEADER_LEN..header_len].copy_from_slice(self.options.0);
        packet.fill_checksum();
    }
}

impl fmt::Display for Repr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, protocol, ttl, payload_len, .. } = self;
        write!(f, "IPv4 {src} > {dst} {protocol} ttl={ttl} len={payload_len}")?;
        if self.fragment.more || self.fragment.offset != FragmentOffset::ZERO {
            let more = if self.fragment.more { "+" } else { "" };
            write!(f, " frag={:#06x}@{}{more}", self.fragment.ident, self.fragment.offset.bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
