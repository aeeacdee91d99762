//! ICMP: echo, and the errors that quote a packet (RFC 792, RFC 1191, RFC 4884).
//!
//! Redirects, timestamps and router discovery have no value here; the view still reads their first eight bytes.
//!
//! ```text
//!  0       1       2               4                               8
//! +-------+-------+---------------+-------------------------------+--------
//! | type  | code  | checksum      | ident, sequence | 0, MTU | …  | payload: data, or the packet quoted
//! +-------+-------+---------------+-------------------------------+--------
//! ```
use core::fmt;

use crate::{Malformed, checksum::Sum};

mod field {
    use crate::field::Field;

    pub(super) const TYPE: Field<1> = Field::at(0);
    pub(super) const CODE: Field<1> = Field::at(1);
    pub(super) const CHECKSUM: Field<2> = Field::at(2);
    pub(super) const REST: Field<4> = Field::at(4);
    pub(super) const POINTER: Field<1> = Field::at(4);
    pub(super) const IDENT: Field<2> = Field::at(4);
    pub(super) const SEQ: Field<2> = Field::at(6);
    pub(super) const MTU: Field<2> = Field::at(6);
}

/// Length of the part that every message has.
pub const HEADER_LEN: usize = field::REST.end();

/// Message types.
pub mod kind {
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// The code of an [`kind::UNREACHABLE`] that carries an MTU.
pub const FRAGMENTATION_NEEDED: u8 = 4;

/// A view of a message.
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
    /// [`Malformed`]: shorter than 8 bytes.
    pub fn check_len(&self) -> Result<(), Malformed> {
        if HEADER_LEN <= self.buffer.as_ref().len() { Ok(()) } else { Err(Malformed) }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// One of [`kind`], or another.
    pub fn message_type(&self) -> u8 {
        field::TYPE.u8(self.buffer.as_ref())
    }

    /// What it means depends on the type.
    pub fn code(&self) -> u8 {
        field::CODE.u8(self.buffer.as_ref())
    }

    /// The checksum.
    pub fn checksum(&self) -> u16 {
        field::CHECKSUM.u16(self.buffer.as_ref())
    }

    /// Of an echo: who asked.
    pub fn ident(&self) -> u16 {
        field::IDENT.u16(self.buffer.as_ref())
    }

    /// Of an echo: which one.
    pub fn seq(&self) -> u16 {
        field::SEQ.u16(self.buffer.as_ref())
    }

    /// Of [`FRAGMENTATION_NEEDED`]: what the next hop can take.
    pub fn mtu(&self) -> u16 {
        field::MTU.u16(self.buffer.as_ref())
    }

    /// Of a parameter problem: which byte.
    pub fn pointer(&self) -> u8 {
        field::POINTER.u8(self.buffer.as_ref())
    }

    /// Whether the message is an error: its payload quotes the packet that caused it.
    pub fn is_error(&self) -> bool {
        matches!(self.message_type(), kind::UNREACHABLE | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM)
    }

    /// Data, or the packet quoted: its IP header and at least 8 bytes more, if the sender was honest.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }

    /// Whether the message, which is the whole buffer, is as it was sent.
    pub fn verify_checksum(&self) -> bool {
        Sum::of(self.buffer.as_ref()).is_intact()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        field::CHECKSUM.set_u16(self.buffer.as_mut(), checksum);
    }

    /// Computes the checksum over the whole buffer and sets it.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        self.set_checksum(Sum::of(self.buffer.as_ref()).complement());
    }

    /// Data, or the packet quoted.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[HEADER_LEN..]
    }
}

/// A message's header as a value; the payload stays with the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repr {
    /// Answer me.
    EchoRequest {
        /// Who asks.
        ident: u16,
        /// Which one.
        seq: u16,
    },
    /// The answer.
    EchoReply {
        /// Who asked.
        ident: u16,
        /// Which one.
        seq: u16,
    },
    /// The packet quoted did not reach its destination.
    Unreachable {
        /// Why: 0 net, 1 host, 2 protocol, 3 port, …
        code: u8,
        /// With [`FRAGMENTATION_NEEDED`], what the next hop can take; else 0.
        mtu: u16,
    },
    /// The packet quoted lived too long.
    TimeExceeded {
        /// 0 in transit, 1 during reassembly.
        code: u8,
    },
    /// A header of the packet quoted is wrong.
    ParameterProblem {
        /// 0: the pointer says where.
        code: u8,
        /// The byte of the quoted packet.
        pointer: u8,
    },
}

impl Repr {
    /// Reads a header. The checksum is not verified.
    ///
    /// # Errors
    /// [`Malformed`]: too short, or of a type that has no value here.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        let (ident, seq, code) = (packet.ident(), packet.seq(), packet.code());
        match packet.message_type() {
            kind::ECHO_REQUEST if code == 0 => Ok(Self::EchoRequest { ident, seq }),
            kind::ECHO_REPLY if code == 0 => Ok(Self::EchoReply { ident, seq }),
            kind::UNREACHABLE => Ok(Self::Unreachable {
                code,
                mtu: if code == FRAGMENTATION_NEEDED { packet.mtu() } else { 0 },
            }),
            kind::TIME_EXCEEDED => Ok(Self::TimeExceeded { code }),
            kind::PARAMETER_PROBLEM => Ok(Self::ParameterProblem { code, pointer: packet.pointer() }),
            _ => Err(Malformed),
        }
    }

    /// How many bytes [`Self::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header before a payload that is already there, and the checksum over the whole buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Self::buffer_len`].
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let (kind, code, rest) = match *self {
            Self::EchoRequest { ident, seq } => (kind::ECHO_REQUEST, 0, pair(ident, seq)),
            Self::EchoReply { ident, seq } => (kind::ECHO_REPLY, 0, pair(ident, seq)),
            Self::Unreachable { code, mtu } => (kind::UNREACHABLE, code, pair(0, mtu)),
            Self::TimeExceeded { code } => (kind::TIME_EXCEEDED, code, [0; 4]),
            Self::ParameterProblem { code, pointer } => (kind::PARAMETER_PROBLEM, code, [pointer, 0, 0, 0]),
        };
        let bytes = packet.buffer.as_mut();
        field::TYPE.set_u8(bytes, kind);
        field::CODE.set_u8(bytes, code);
        field::REST.set(bytes, rest);
        packet.fill_checksum();
    }
}

const fn pair(high: u16, low: u16) -> [u8; 4] {
    ((high as u32) << 16 | low as u32).to_be_bytes()
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EchoRequest { ident, seq } => write!(f, "ICMP echo request id={ident} seq={seq}"),
            Self::EchoReply { ident, seq } => write!(f, "ICMP echo reply id={ident} seq={seq}"),
            Self::Unreachable { code, mtu: 0 } => write!(f, "ICMP unreachable code={code}"),
            Self::Unreachable { code, mtu } => write!(f, "ICMP unreachable code={code} mtu={mtu}"),
            Self::TimeExceeded { code } => write!(f, "ICMP time exceeded code={code}"),
            Self::ParameterProblem { code, pointer } => {
                write!(f, "ICMP parameter problem code={code} at={pointer}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const ECHO: [u8; 12] = *b"\x08\x00\x15\x29\x01\x02\x03\x04ping";
    const TOO_BIG: [u8; 9] = [0x03, 0x04, 0xb2, 0x23, 0x00, 0x00, 0x05, 0xd8, 0x45];

    #[test]
    fn deconstruct() {
        let echo = Packet::new_checked(&ECHO[..]).unwrap();
        assert_eq!((echo.message_type(), echo.code(), echo.checksum()), (kind::ECHO_REQUEST, 0, 0x1529));
        assert_eq!((echo.ident(), echo.seq(), echo.payload()), (0x0102, 0x0304, &ECHO[8..]));
        assert!(echo.verify_checksum() && !echo.is_error());
        let error = Packet::new_checked(&TOO_BIG[..]).unwrap();
        assert_eq!((error.mtu(), error.pointer(), error.payload()), (1496, 0, &[0x45][..]));
        assert!(error.is_error());
    }

    #[test]
    fn construct() {
        let mut packet = Packet::new_unchecked(ECHO);
        packet.payload_mut().fill(0);
        packet.set_checksum(0);
        assert!(!packet.verify_checksum());
        packet.fill_checksum();
        assert!(packet.verify_checksum());
        packet.payload_mut().copy_from_slice(&ECHO[8..]);
        packet.fill_checksum();
        assert_eq!(packet.into_inner(), ECHO);
    }

    #[test]
    fn parse() {
        let echo = Repr::EchoRequest { ident: 0x0102, seq: 0x0304 };
        assert_eq!(Repr::parse(&Packet::new_checked(&ECHO[..]).unwrap()), Ok(echo));
        assert_eq!(echo.to_string(), "ICMP echo request id=258 seq=772");
        let error = Repr::Unreachable { code: 4, mtu: 1496 };
        assert_eq!(Repr::parse(&Packet::new_checked(&TOO_BIG[..]).unwrap()), Ok(error));
        assert_eq!(error.to_string(), "ICMP unreachable code=4 mtu=1496");
    }

    #[test]
    fn emit() {
        let mut bytes = ECHO;
        bytes[..8].fill(0xff);
        Repr::EchoRequest { ident: 0x0102, seq: 0x0304 }.emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, ECHO);
        let mut bytes = TOO_BIG;
        bytes[..8].fill(0xff);
        Repr::Unreachable { code: 4, mtu: 1496 }.emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, TOO_BIG);
    }

    #[test]
    fn other_types_and_short_messages_have_no_value() {
        for kind in [1, 5, 9, 13, 255] {
            let mut bytes = ECHO;
            bytes[0] = kind;
            assert_eq!(Repr::parse(&Packet::new_unchecked(bytes)), Err(Malformed), "{kind}");
        }
        let mut bytes = ECHO;
        bytes[1] = 1;
        assert_eq!(Repr::parse(&Packet::new_unchecked(bytes)), Err(Malformed));
        assert_eq!(Packet::new_checked(&ECHO[..7]).map(drop), Err(Malformed));
    }

    fn repr() -> impl Strategy<Value = Repr> {
        (0..5u8, any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(kind, code, a, b)| match kind {
            0 => Repr::EchoRequest { ident: a, seq: b },
            1 => Repr::EchoReply { ident: a, seq: b },
            2 => Repr::Unreachable { code, mtu: if code == FRAGMENTATION_NEEDED { a } else { 0 } },
            3 => Repr::TimeExceeded { code },
            _ => Repr::ParameterProblem { code, pointer: b as u8 },
        })
    }

    proptest! {
        #[test]
        fn round_trip(repr in repr(), payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = std::vec![0xff; HEADER_LEN];
            bytes.extend(&payload);
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert!(packet.verify_checksum());
            prop_assert_eq!(packet.payload(), &payload);
            prop_assert_eq!(Repr::parse(&packet), Ok(repr));
        }
    }
}
