//! ARP for IPv4 over Ethernet (RFC 826); other pairs of hardware and protocol are not read.
//!
//! ```text
//!  0               2               4       5       6               8
//! +---------------+---------------+-------+-------+---------------+
//! | hardware 1    | proto 0x0800  | 6     | 4     | operation     |
//! +---------------+---------------+-------+-------+---------------+
//! | sender MAC, sender IP, target MAC, target IP: 6 + 4 + 6 + 4 … |
//! +---------------------------------------------------------------+
//! ```
use core::fmt;
use core::net::Ipv4Addr;

use crate::{Malformed, ethernet::Mac};

mod field {
    use crate::field::Field;

    pub(super) const KIND: Field<6> = Field::at(0);
    pub(super) const OPERATION: Field<2> = Field::at(6);
    pub(super) const SENDER_MAC: Field<6> = Field::at(8);
    pub(super) const SENDER_IP: Field<4> = Field::at(14);
    pub(super) const TARGET_MAC: Field<6> = Field::at(18);
    pub(super) const TARGET_IP: Field<4> = Field::at(24);
}

/// Length of a packet.
pub const PACKET_LEN: usize = field::TARGET_IP.end();

/// Hardware type, protocol type and both address lengths of IPv4 over Ethernet.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What a packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target's address?
    Request,
    /// The sender has it.
    Reply,
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
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let packet = Self::new_unchecked(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// `Ok` means that no accessor panics.
    ///
    /// # Errors
    /// [`Malformed`]: too short.
    pub fn check_len(&self) -> Result<(), Malformed> {
        if PACKET_LEN <= self.buffer.as_ref().len() { Ok(()) } else { Err(Malformed) }
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Whether hardware, protocol and address lengths are those of IPv4 over Ethernet.
    pub fn is_ethernet_ipv4(&self) -> bool {
        field::KIND.get(self.buffer.as_ref()) == ETHERNET_IPV4
    }

    /// The operation's number.
    pub fn operation(&self) -> u16 {
        field::OPERATION.u16(self.buffer.as_ref())
    }

    /// Who sends.
    pub fn sender_mac(&self) -> Mac {
        Mac(field::SENDER_MAC.get(self.buffer.as_ref()))
    }

    /// Who sends.
    pub fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(field::SENDER_IP.get(self.buffer.as_ref()))
    }

    /// Who is meant; of no meaning in a request.
    pub fn target_mac(&self) -> Mac {
        Mac(field::TARGET_MAC.get(self.buffer.as_ref()))
    }

    /// Who is meant.
    pub fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(field::TARGET_IP.get(self.buffer.as_ref()))
    }
}

/// A packet as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// What it wants.
    pub operation: Operation,
    /// Who sends.
    pub sender_mac: Mac,
    /// Who sends.
    pub sender_ip: Ipv4Addr,
    /// Who is meant; zero in a request.
    pub target_mac: Mac,
    /// Who is meant.
    pub target_ip: Ipv4Addr,
}

impl Repr {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`Malformed`]: too short, not IPv4 over Ethernet, neither request nor reply.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Self, Malformed> {
        packet.check_len()?;
        if !packet.is_ethernet_ipv4() {
            return Err(Malformed);
        }
        let operation = match packet.operation() {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Malformed),
        };
        Ok(Self {
            operation,
            sender_mac: packet.sender_mac(),
            sender_ip: packet.sender_ip(),
            target_mac: packet.target_mac(),
            target_ip: packet.target_ip(),
        })
    }

    /// How many bytes [`Self::emit`] writes.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        PACKET_LEN
    }

    /// Writes the packet.
    ///
    /// # Panics
    /// If the buffer is shorter than [`Self::buffer_len`].
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        let bytes = packet.buffer.as_mut();
        field::KIND.set(bytes, ETHERNET_IPV4);
        field::OPERATION.set_u16(bytes, operation);
        field::SENDER_MAC.set(bytes, self.sender_mac.0);
        field::SENDER_IP.set(bytes, self.sender_ip.octets());
        field::TARGET_MAC.set(bytes, self.target_mac.0);
        field::TARGET_IP.set(bytes, self.target_ip.octets());
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sender_ip, sender_mac, target_ip, .. } = self;
        match self.operation {
            Operation::Request => write!(f, "ARP who has {target_ip}? tell {sender_ip}"),
            Operation::Reply => write!(f, "ARP {sender_ip} is at {sender_mac}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const BYTES: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 2, // reply
        2, 0, 0, 0, 0, 1, 192, 0, 2, 1, // sender
        2, 0, 0, 0, 0, 2, 192, 0, 2, 2, // target
    ];
    const REPR: Repr = Repr {
        operation: Operation::Reply,
        sender_mac: Mac([2, 0, 0, 0, 0, 1]),
        sender_ip: Ipv4Addr::new(192, 0, 2, 1),
        target_mac: Mac([2, 0, 0, 0, 0, 2]),
        target_ip: Ipv4Addr::new(192, 0, 2, 2),
    };

    #[test]
    fn deconstruct() {
        let packet = Packet::new_checked(&BYTES[..]).unwrap();
        assert_eq!((packet.is_ethernet_ipv4(), packet.operation()), (true, 2));
        assert_eq!((packet.sender_mac(), packet.sender_ip()), (REPR.sender_mac, REPR.sender_ip));
        assert_eq!((packet.target_mac(), packet.target_ip()), (REPR.target_mac, REPR.target_ip));
        assert_eq!(packet.into_inner(), BYTES);
    }

    #[test]
    fn construct_and_emit() {
        let mut bytes = [0xff; PACKET_LEN];
        REPR.emit(&mut Packet::new_unchecked(&mut bytes));
        assert_eq!(bytes, BYTES);
    }

    #[test]
    fn parse() {
        assert_eq!(Repr::parse(&Packet::new_checked(&BYTES[..]).unwrap()), Ok(REPR));
        assert_eq!(REPR.to_string(), "ARP 192.0.2.1 is at 02:00:00:00:00:01");
        let request = Repr { operation: Operation::Request, ..REPR };
        assert_eq!(request.to_string(), "ARP who has 192.0.2.2? tell 192.0.2.1");
    }

    #[test]
    fn other_hardware_protocols_and_operations_have_no_value() {
        for (at, byte) in [(1, 6), (3, 1), (4, 8), (5, 16), (7, 3)] {
            let mut bytes = BYTES;
            bytes[at] = byte;
            assert_eq!(Repr::parse(&Packet::new_unchecked(bytes)), Err(Malformed), "{at}");
        }
        assert_eq!(Packet::new_checked(&BYTES[..27]).map(drop), Err(Malformed));
    }

    proptest! {
        #[test]
        fn round_trip(request: bool, sender: ([u8; 6], [u8; 4]), target: ([u8; 6], [u8; 4])) {
            let repr = Repr {
                operation: if request { Operation::Request } else { Operation::Reply },
                sender_mac: Mac(sender.0), sender_ip: sender.1.into(),
                target_mac: Mac(target.0), target_ip: target.1.into(),
            };
            let mut bytes = [0xff; PACKET_LEN];
            repr.emit(&mut Packet::new_unchecked(&mut bytes));
            prop_assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(repr));
        }
    }
}
