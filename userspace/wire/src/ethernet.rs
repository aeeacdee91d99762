//! Ethernet II frames without preamble and FCS (IEEE 802.3 clause 3).
//!
//! A view ends at the EtherType: tags are [`crate::vlan`]'s, and no minimum length is asked for, because a veth
//! carries shorter frames than a wire does.
//!
//! ```text
//!  0             6             12          14
//! +-------------+-------------+-----------+---------
//! | destination | source      | EtherType | payload
//! +-------------+-------------+-----------+---------
//! ```
use core::fmt;

use crate::Malformed;

mod field {
    use crate::field::Field;

    pub(super) const DST: Field<6> = Field::at(0);
    pub(super) const SRC: Field<6> = Field::at(6);
    pub(super) const ETHERTYPE: Field<2> = Field::at(12);
}

/// Length of the header.
pub const HEADER_LEN: usize = field::ETHERTYPE.end();

/// A MAC address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set: multicast or broadcast.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What the payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// RFC 894.
    pub const IPV4: Self = Self(0x0800);
    /// RFC 826.
    pub const ARP: Self = Self(0x0806);
    /// A customer tag, IEEE 802.1Q.
    pub const VLAN: Self = Self(0x8100);
    /// RFC 2464.
    pub const IPV6: Self = Self(0x86dd);
    /// A service tag, IEEE 802.1ad.
    pub const SERVICE_VLAN: Self = Self(0x88a8);

    /// Whether a VLAN tag follows.
    #[must_use]
    #[inline]
    pub const fn is_tag(self) -> bool {
        self.0 == Self::VLAN.0 || self.0 == Self::SERVICE_VLAN.0
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IPV4 => f.write_str("IPv4"),
            Self::ARP => f.write_str("ARP"),
            Self::VLAN => f.write_str("802.1Q"),
            Self::IPV6 => f.write_str("IPv6"),
            Self::SERVICE_VLAN => f.write_str("802.1ad"),
            Self(other) => write!(f, "0x{other:04x}"),
        }
    }
}

/// A view of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Frame<T> {
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
        let frame = Self::new_unchecked(buffer);
        frame.check_len()?;
        Ok(frame)
    }

    /// `Ok` means that no accessor panics.
    ///
    /// # Errors
    /// [`Malformed`]: shorter than the header.
    #[inline]
    pub fn check_len(&self) -> Result<(), Malformed> {
        if HEADER_LEN <= self.buffer.as_ref().len() { Ok(()) } else { Err(Malformed) }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The destination.
    #[inline]
    pub fn dst(&self) -> Mac {
        Mac(field::DST.get(self.buffer.as_ref()))
    }

    /// The source.
    #[inline]
    pub fn src(&self) -> Mac {
        Mac(field::SRC.get(self.buffer.as_ref()))
    }

    /// What follows: a tag or the payload.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(field::ETHERTYPE.u16(self.buffer.as_ref()))
    }

    /// Everything after the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Frame<T> {
    /// Sets the destination.
    #[inline]
    pub fn set_dst(&mut self, mac: Mac) {
        field::DST.set(self.buffer.as_mut(), mac.0);
    }

    /// Sets the source.
    #[inline]
    pub fn set_src(&mut self, mac: Mac) {
        field::SRC.set(self.buffer.as_mut(), mac.0);
    }

    /// Sets what follows.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        field::ETHERTYPE.set_u16(self.buffer.as_mut(), ethertype.0);
    }

    /// Everything after the header.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }
}

/// The header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// The destination.
    pub dst: Mac,
    /// The source.
    pub src: Mac,
    /// What follows.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Malformed`]: too short.
    pub fn parse<T: AsRef<[u8]>>(frame: &Frame<T>) -> Result<Self, Malformed> {
        frame.check_len()?;
        Ok(Self { dst: frame.dst(), src: frame.src(), ethertype: frame.ethertype() })
    }

    /// How many bytes [`Self::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Self::buffer_len`].
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, frame: &mut Frame<T>) {
        frame.set_dst(self.dst);
        frame.set_src(self.src);
        frame.set_ethertype(self.ethertype);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ethernet {} > {} {}", self.src, self.dst, self.ethertype)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const BYTES: [u8; 18] = [
        0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02, 0x08, 0x06, // header
        0xaa, 0xbb, 0xcc, 0xdd,
    ];
    const REPR: Repr =
        Repr { dst: Mac([2, 0, 0, 0, 0, 1]), src: Mac([2, 0, 0, 0, 0, 2]), ethertype: EtherType::ARP };

    #[test]
    fn deconstruct() {
        let frame = Frame::new_checked(&BYTES[..]).unwrap();
        assert_eq!((frame.dst(), frame.src(), frame.ethertype()), (REPR.dst, REPR.src, REPR.ethertype));
        assert_eq!(frame.payload(), [0xaa, 0xbb, 0xcc, 0xdd]);
    }

    #[test]
    fn construct() {
        let mut frame = Frame::new_unchecked([0xff; 18]);
        frame.set_dst(REPR.dst);
        frame.set_src(REPR.src);
        frame.set_ethertype(REPR.ethertype);
        frame.payload_mut().copy_from_slice(&[0xaa, 0xbb, 0xcc, 0xdd]);
        assert_eq!(frame.into_inner(), BYTES);
    }

    #[test]
    fn parse() {
        assert_eq!(Repr::parse(&Frame::new_checked(&BYTES[..]).unwrap()), Ok(REPR));
        assert_eq!(REPR.to_string(), "Ethernet 02:00:00:00:00:02 > 02:00:00:00:00:01 ARP");
    }

    #[test]
    fn emit() {
        let mut bytes = [0xff; HEADER_LEN];
        REPR.emit(&mut Frame::new_unchecked(&mut bytes));
        assert_eq!(bytes, BYTES[..HEADER_LEN]);
    }

    #[test]
    fn thirteen_bytes_are_no_frame() {
        assert_eq!(Frame::new_checked(&BYTES[..13]).map(drop), Err(Malformed));
        assert_eq!(Frame::new_checked(&BYTES[..14]).map(|f| f.payload().len()), Ok(0));
    }

    #[test]
    fn groups_are_told_by_one_bit() {
        assert!(Mac::BROADCAST.is_group() && Mac([0x33, 0x33, 0, 0, 0, 1]).is_group());
        assert!(!REPR.dst.is_group());
    }

    fn repr() -> impl Strategy<Value = Repr> {
        (any::<[u8; 6]>(), any::<[u8; 6]>(), any::<u16>()).prop_map(|(dst, src, ethertype)| Repr {
            dst: Mac(dst),
            src: Mac(src),
            ethertype: EtherType(ethertype),
        })
    }

    proptest! {
        #[test]
        fn round_trip(repr in repr()) {
            let mut bytes = [0xff; HEADER_LEN];
            repr.emit(&mut Frame::new_unchecked(&mut bytes));
            prop_assert_eq!(Repr::parse(&Frame::new_unchecked(&bytes)), Ok(repr));
        }
    }
}
