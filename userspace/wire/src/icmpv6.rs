//! ICMPv6: echo, and the errors that quote a packet (RFC 4443).
//!
//! Neighbour discovery and multicast listening belong to the OS and have no value here; the view still reads their
//! first eight bytes.
//!
//! ```text
//!  0       1       2               4                               8
//! +-------+-------+---------------+-------------------------------+--------
//! | type  | code  | checksum      | ident, sequence | MTU | …     | payload: data, or the packet quoted
//! +-------+-------+---------------+-------------------------------+--------
//! ```
use core::fmt;
use core::net::Ipv6Addr;

use crate::{
    Malformed,
    checksum::Sum,
    ip::{Addresses, Protocol},
};

mod field {
    use crate::field::Field;

    pub(super) const TYPE: Field<1> = Field::at(0);
    pub(super) const CODE: Field<1> = Field::at(1);
    pub(super) const CHECKSUM: Field<2> = Field::at(2);
    pub(super) const REST: Field<4> = Field::at(4);
}

/// Length of the part that every message has.
pub const HEADER_LEN: usize = field::REST.end();

/// Message types.
pub mod kind {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 129;
}

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

    /// The word whose meaning depends on the type: ident and sequence, MTU, pointer, or nothing.
    pub fn word(&self) -> u32 {
        field::REST.u32(self.buffer.as_ref())
    }

    /// Whether the message is an error: its payload quotes the packet that caused it.
    pub fn is_error(&self) -> bool {
        self.message_type() < 128
    }

    /// Data, or the packet quoted: as much of it as fitted, if the sender was honest.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..]
    }

    /// Whether the message, which is the whole buffer, is as it was sent.
    pub fn verify_checksum(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        self.sum(src, dst).is_intact()
    }

    fn sum(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Sum {
        let bytes = self.buffer.as_ref();
        Addresses::V6(src, dst).pseudo_header(Protocol::ICMPV6, bytes.len() as u32).plus(Sum::of(bytes))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        field::CHECKSUM.set_u16(self.buffer.as_mut(), checksum);
    }

    /// Computes the checksum over the whole buffer and sets it.
    pub fn fill_checksum(&mut self, src: Ipv6Addr, dst: Ipv6Addr) {
        self.set_checksum(0);
        self.set_checksum(self.sum(src, dst).complement());
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
        /// Why: 0 no route, 1 prohibited, 3 address, 4 port, …
        code: u8,
    },
    /// The packet quoted is larger than the next hop can take.
    PacketTooBig {
        /// What it can take.
        mtu: u32,
    },
    /// The packet quoted lived too long.
    TimeExceeded {
        /// 0 in transit, 1 during reassembly.
        code: u8,
    },
    /// A header of the packet quoted is wrong.
    ParameterProblem {
        /// 0 field, 1 next header, 2 option.
        code: u8,
        /// The byte of the quoted packet.
        pointer: u32,
    },
}

impl Repr {
    /// Reads a header. The checksum is not verified.
    ///
    /// # Errors
    /// [`Malformed`]: too short, or of a type that has no value here.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        let (code, word) = (packet.code(), packet.word());
        let (ident, seq) = ((word >> 16) as u16, word as u16);
        match packet.message_type() {
            kind::ECHO_REQUEST if code == 0 => Ok(Self::EchoRequest { ident, seq }),
            kind::ECHO_REPLY if code == 0 => Ok(Self::EchoReply { ident, seq }),
            kind::UNREACHABLE => Ok(Self::Unreachable { code }),
            // RFC 4443 section 3.2: the code is 0 when sent and ignored when received.
            kind::PACKET_TOO_BIG => Ok(Self::PacketTooBig { mtu: word }),
            kind::TIME_EXCEEDED => Ok(Self::TimeExceeded { code }),
            kind::PARAMETER_PROBLEM => Ok(Self::ParameterProblem { code, pointer: word }),
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
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>, src: Ipv6Addr, dst: Ipv6Addr) {
        let echo = |ident, seq| u32::from(ident) << 16 | u32::from(seq);
        let (kind, code, word) = match *self {
            Self::EchoRequest { ident, seq } => (kind::ECHO_REQUEST, 0, echo(ident, seq)),
            Self::EchoReply { ident, seq } => (kind::ECHO_REPLY, 0, echo(ident, seq)),
            Self::Unreachable { code } => (kind::UNREACHABLE, code, 0),
            Self::PacketTooBig { mtu } => (kind::PACKET_TOO_BIG, 0, mtu),
            Self::TimeExceeded { code } => (kind::TIME_EXCEEDED, code, 0),
            Self::ParameterProblem { code, pointer } => (kind::PARAMETER_PROBLEM, code, pointer),
        };
        let bytes = packet.buffer.as_mut();
        field::TYPE.set_u8(bytes, kind);
        field::CODE.set_u8(bytes, code);
        field::REST.set_u32(bytes, word);
        packet.fill_checksum(src, dst);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EchoRequest { ident, seq } => write!(f, "ICMPv6 echo request id={ident} seq={seq}"),
            Self::EchoReply { ident, seq } => write!(f, "ICMPv6 echo reply id={ident} seq={seq}"),
            Self::Unreachable { code } => write!(f, "ICMPv6 unreachable code={code}"),
            Self::PacketTooBig { mtu } => write!(f, "ICMPv6 packet too big mtu={mtu}"),
            Self::TimeExceeded { code } => write!(f, "ICMPv6 time exceeded code={code}"),
            Self::ParameterProblem { code, pointer } => {
                write!(f, "ICMPv6 parameter problem code={code} at={pointer}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const SRC: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const DST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    const ECHO: [u8; 12] = *b"\x80\x00\x9f\xdd\x01\x02\x03\x04ping";
    const TOO_BIG: [u8; 9] = [0x02, 0x00, 0x9b, 0xb7, 0x00, 0x00, 0x05, 0x00, 0x60];

    #[test]
    fn deconstruct() {
        let echo = Packet::new_checked(&ECHO[..]).unwrap();
        assert_eq!((echo.message_type(), echo.code(), echo.checksum()), (kind::ECHO_REQUEST, 0, 0x9fdd));
        assert_eq!((echo.word(), echo.payload()), (0x0102_0304, &ECHO[8..]));
        assert!(echo.verify_checksum(SRC, DST) && !echo.verify_checksum(SRC, Ipv6Addr::LOCALHOST));
        assert!(!echo.is_error() && Packet::new_checked(&TOO_BIG[..]).unwrap().is_error());
    }

    #[test]
    fn construct() {
        let mut packet = Packet::new_unchecked(ECHO);
        packet.payload_mut().fill(0);
        assert!(!packet.verify_checksum(SRC, DST));
        packet.payload_mut().copy_from_slice(&ECHO[8..]);
        packet.set_checksum(0);
        packet.fill_checksum(SRC, DST);
        assert_eq!(packet.into_inner(), ECHO);
    }

    #[test]
    fn parse() {
        let echo = Repr::EchoRequest { ident: 0x0102, seq: 0x0304 };
        assert_eq!(Repr::parse(&Packet::new_checked(&ECHO[..]).unwrap()), Ok(echo));
        assert_eq!(echo.to_string(), "ICMPv6 echo request id=258 seq=772");
        let too_big = Repr::PacketTooBig { mtu: 1280 };
        assert_eq!(Repr::parse(&Packet::new_checked(&TOO_BIG[..]).unwrap()), Ok(too_big));
        assert_eq!(too_big.to_string(), "ICMPv6 packet too big mtu=1280");
    }

    #[test]
    fn emit() {
        let mut bytes = ECHO;
        bytes[..8].fill(0xff);
        Repr::EchoRequest { ident: 0x0102, seq: 0x0304 }.emit(
            &mut Packet::new_unchecked(&mut bytes),
            SRC,
            DST,
        );
        assert_eq!(bytes, ECHO);
        let mut bytes = TOO_BIG;
        bytes[..8].fill(0xff);
        Repr::PacketTooBig { mtu: 1280 }.emit(&mut Packet::new_unchecked(&mut bytes), SRC, DST);
        assert_eq!(bytes, TOO_BIG);
    }

    #[test]
    fn other_types_and_short_messages_have_no_value() {
        for kind in [0, 5, 127, 130, 135, 255] {
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
        (0..6u8, any::<u8>(), any::<u16>(), any::<u32>()).prop_map(|(kind, code, ident, word)| match kind {
            0 => Repr::EchoRequest { ident, seq: word as u16 },
            1 => Repr::EchoReply { ident, seq: word as u16 },
            2 => Repr::Unreachable { code },
            3 => Repr::PacketTooBig { mtu: word },
            4 => Repr::TimeExceeded { code },
            _ => Repr::ParameterProblem { code, pointer: word },
        })
    }

    proptest! {
        #[test]
        fn round_trip(
            repr in repr(), src: [u8; 16], dst: [u8; 16], payload in prop::collection::vec(any::<u8>(), 0..64)
        ) {
            let (src, dst) = (src.into(), dst.into());
            let mut bytes = std::vec![0xff; HEADER_LEN];
            bytes.extend(&payload);
            repr.emit(&mut Packet::new_unchecked(&mut bytes), src, dst);
            let packet = Packet::new_checked(&bytes).unwrap();
            prop_assert!(packet.verify_checksum(src, dst));
            prop_assert_eq!(packet.payload(), &payload);
            prop_assert_eq!(Repr::parse(&packet), Ok(repr));
        }
    }
}
