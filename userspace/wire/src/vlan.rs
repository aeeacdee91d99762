//! A VLAN tag (IEEE 802.1Q clause 9): the four bytes between a tag's EtherType and what follows.
//!
//! The view begins *after* the EtherType that announced the tag, and ends with the EtherType it announces itself, so
//! stacked tags are read by reading the payload again. Which tags are acceptable is the caller's question.
//!
//! ```text
//!  0                            2           4
//! +-----+-----+----------------+-----------+---------
//! | PCP | DEI | VID            | EtherType | payload
//! +-----+-----+----------------+-----------+---------
//!    3     1     12 bits
//! ```
use core::fmt;

use crate::{Malformed, ethernet::EtherType};

mod field {
    use crate::field::Field;

    pub(super) const TCI: Field<2> = Field::at(0);
    pub(super) const ETHERTYPE: Field<2> = Field::at(2);
}

/// Length of a tag.
pub const TAG_LEN: usize = field::ETHERTYPE.end();

/// A VLAN id.
///
/// # Invariants
/// At most 0xfff. 0 means "no VLAN, only a priority"; 0xfff is reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vid(u16);

impl Vid {
    /// A priority tag's.
    pub const NONE: Self = Self(0);

    /// The id of this number, if it has only 12 bits.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number <= 0xfff { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Priority, drop eligibility and VLAN id in one word; every word is a legal one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tci(pub u16);

impl Tci {
    /// The VLAN id.
    #[must_use]
    #[inline]
    pub const fn vid(self) -> Vid {
        Vid(self.0 & 0xfff)
    }

    /// The priority code point, 0 to 7.
    #[must_use]
    pub const fn pcp(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// Whether the frame may be dropped first.
    #[must_use]
    pub const fn is_drop_eligible(self) -> bool {
        self.0 & 0x1000 != 0
    }
}

impl From<Vid> for Tci {
    fn from(vid: Vid) -> Self {
        Self(vid.0)
    }
}

/// A view of a tag and what follows it.
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
    /// [`Malformed`]: a tag cut short.
    #[inline]
    pub fn check_len(&self) -> Result<(), Malformed> {
        if TAG_LEN <= self.buffer.as_ref().len() { Ok(()) } else { Err(Malformed) }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Priority and id.
    #[inline]
    pub fn tci(&self) -> Tci {
        Tci(field::TCI.u16(self.buffer.as_ref()))
    }

    /// What follows: another tag or the payload.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(field::ETHERTYPE.u16(self.buffer.as_ref()))
    }

    /// Everything after the tag.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[TAG_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets priority and id.
    #[inline]
    pub fn set_tci(&mut self, tci: Tci) {
        field::TCI.set_u16(self.buffer.as_mut(), tci.0);
    }

    /// Sets what follows.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        field::ETHERTYPE.set_u16(self.buffer.as_mut(), ethertype.0);
    }

    /// Everything after the tag.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[TAG_LEN..]
    }
}

/// A tag as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Priority and id.
    pub tci: Tci,
    /// What follows.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads a tag.
    ///
    /// # Errors
    /// [`Malformed`]: too short.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        Ok(Self { tci: packet.tci(), ethertype: packet.ethertype() })
    }

    /// How many bytes [`Self::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        TAG_LEN
    }

    /// Writes the tag.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Self::buffer_len`].
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_tci(self.tci);
        packet.set_ethertype(self.ethertype);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VLAN {} pcp={} {}", self.tci.vid().get(), self.tci.pcp(), self.ethertype)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const BYTES: [u8; 6] = [0xb0, 0x07, 0x08, 0x00, 0x45, 0x00];
    const REPR: Repr = Repr { tci: Tci(0xb007), ethertype: EtherType::IPV4 };

    #[test]
    fn deconstruct() {
        let tag = Packet::new_checked(&BYTES[..]).unwrap();
        assert_eq!((tag.tci().pcp(), tag.tci().is_drop_eligible(), tag.tci().vid().get()), (5, true, 7));
        assert_eq!((tag.ethertype(), tag.payload()), (EtherType::IPV4, &BYTES[4..]));
    }

    #[test]
    fn construct() {
        let mut tag = Packet::new_unchecked([0xff; 6]);
        tag.set_tci(Tci(0xb007));
        tag.set_ethertype(EtherType::IPV4);
        tag.payload_mut().copy_from_slice(&[0x45, 0x00]);
        assert_eq!(tag.into_inner(), BYTES);
    }

    #[test]
    fn parse() {
        assert_eq!(Repr::parse(&Packet::new_checked(&BYTES[..]).unwrap()), Ok(REPR));
        assert_eq!(REPR.to_string(), "VLAN 7 pcp=5 IPv4");
    }

    #[test]
    fn emit() {
        let mut bytes = [0xff; TAG_LEN];
        REPR.emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, BYTES[..TAG_LEN]);
    }

    #[test]
    fn a_tag_cut_in_half_is_malformed() {
        for len in 0..TAG_LEN {
            assert_eq!(Packet::new_checked(&BYTES[..len]).map(drop), Err(Malformed), "{len}");
        }
    }

    #[test]
    fn an_id_has_twelve_bits() {
        assert_eq!(Vid::new(0xfff).map(Vid::get), Some(0xfff));
        assert_eq!(Vid::new(0x1000), None);
        assert_eq!(Vid::new(7).map(Tci::from), Some(Tci(7)));
    }

    proptest! {
        #[test]
        fn round_trip(tci: u16, ethertype: u16) {
            let repr = Repr { tci: Tci(tci), ethertype: EtherType(ethertype) };
            let mut bytes = [0xff; TAG_LEN];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            prop_assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(repr));
        }
    }
}
