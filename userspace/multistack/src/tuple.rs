//! The 3-tuple somebody may own: transport protocol, local address or any, local port.
//!
//! A [`Tuple`] holds only what may be registered: it refuses protocols without ports, port 0 and every address
//! that is not a unicast address of one host.
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use abi::steer::{SteerKey, mapped};
use serde::{Deserialize, Serialize};

use crate::refusal::{Refusal, Unregistrable};

/// The transport protocols that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Proto {
    /// RFC 9293.
    Tcp = 6,
    /// RFC 768.
    Udp = 17,
    /// RFC 4340.
    Dccp = 33,
    /// RFC 9260.
    Sctp = 132,
    /// RFC 3828.
    UdpLite = 136,
}

impl Proto {
    /// Every one of them, by number.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Dccp, Self::Sctp, Self::UdpLite];

    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The protocol of this number, if it has ports.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|proto| proto.number() == number)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Dccp => "dccp",
            Self::Sctp => "sctp",
            Self::UdpLite => "udplite",
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Proto {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|proto| proto.name() == text).ok_or(Refusal::Protocol)
    }
}

/// The address part of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// Every local address, now and later: expanded to one key for each, never a wildcard entry.
    Any,
    /// One local address.
    Is(IpAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Is(IpAddr::V4(addr)) => write!(f, "{addr}"),
            Self::Is(IpAddr::V6(addr)) => write!(f, "[{addr}]"),
        }
    }
}

/// A 3-tuple that may be registered.
///
/// # Invariants
/// The address is [`registrable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    proto: Proto,
    port: NonZeroU16,
    addr: Address,
}

impl Tuple {
    /// A tuple, if it can be registered at all.
    ///
    /// # Errors
    /// [`Refusal::PortZero`], [`Refusal::Address`].
    pub fn new(proto: Proto, addr: Address, port: u16) -> Result<Self, Refusal> {
        let port = NonZeroU16::new(port).ok_or(Refusal::PortZero)?;
        if let Address::Is(ip) = addr {
            registrable(ip).map_err(Refusal::Address)?;
        }
        Ok(Self { proto, port, addr })
    }

    /// The protocol.
    #[must_use]
    pub const fn proto(&self) -> Proto {
        self.proto
    }

    /// The address, or any.
    #[must_use]
    pub const fn addr(&self) -> Address {
        self.addr
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.get()
    }

    /// Whether both cannot have owners at once.
    ///
    /// `any` meets every address of its protocol and port, local today or not: otherwise an address that comes
    /// back could find two owners. This is the rule of `bind(2)` without reuse flags.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let addr = match (self.addr, other.addr) {
            (Address::Is(a), Address::Is(b)) => a == b,
            (Address::Any, _) | (_, Address::Any) => true,
        };
        addr && self.proto == other.proto && self.port == other.port
    }

    /// The first of all tuples of this protocol and port, in their order.
    pub(crate) const fn at_any(&self) -> Self {
        Self { addr: Address::Any, ..*self }
    }

    /// Those of `addresses` that this tuple is about.
    pub(crate) fn addresses<'a>(
        &self,
        addresses: &'a BTreeSet<IpAddr>,
    ) -> impl Iterator<Item = IpAddr> + use<'a> {
        let (all, one) = match self.addr {
            Address::Any => (Some(addresses), None),
            Address::Is(addr) => (None, addresses.get(&addr)),
        };
        all.into_iter().flatten().chain(one).copied()
    }

    /// The steering key of this tuple's protocol and port at `addr`.
    pub(crate) fn key_at(&self, addr: IpAddr) -> SteerKey {
        let addr = match addr {
            IpAddr::V4(addr) => mapped(addr.octets()),
            IpAddr::V6(addr) => addr.octets(),
        };
        SteerKey::v6(self.proto.number(), addr, self.port())
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.proto, self.addr, self.port)
    }
}

/// Whether somebody may own a tuple at this address.
///
/// # Errors
/// The kind of address that it is instead.
pub fn registrable(addr: IpAddr) -> Result<(), Unregistrable> {
    match addr {
        IpAddr::V4(addr) => registrable_v4(addr),
        IpAddr::V6(addr) => registrable_v6(addr),
    }
}

fn registrable_v4(addr: Ipv4Addr) -> Result<(), Unregistrable> {
    match addr.octets() {
        [0, ..] => Err(Unregistrable::Unspecified),
        [127, ..] => Err(Unregistrable::Loopback),
        [169, 254, ..] => Err(Unregistrable::LinkLocal),
        [224..=239, ..] => Err(Unregistrable::Multicast),
        [240..=255, ..] => Err(Unregistrable::Reserved),
        _ => Ok(()),
    }
}

fn registrable_v6(addr: Ipv6Addr) -> Result<(), Unregistrable> {
    if addr.is_unspecified() {
        Err(Unregistrable::Unspecified)
    } else if addr.is_loopback() {
        Err(Unregistrable::Loopback)
    } else if addr.is_unicast_link_local() {
        Err(Unregistrable::LinkLocal)
    } else if addr.is_multicast() {
        Err(Unregistrable::Multicast)
    } else if addr.to_ipv4_mapped().is_some() {
        Err(Unregistrable::Mapped)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(addr: &str) -> Address {
        Address::Is(addr.parse().unwrap())
    }

    #[track_caller]
    fn refused(addr: &str, why: Unregistrable) {
        assert_eq!(Tuple::new(Proto::Udp, is(addr), 7), Err(Refusal::Address(why)), "{addr}");
    }

    #[test]
    fn only_unicast_addresses_of_one_host_make_a_tuple() {
        refused("0.0.0.0", Unregistrable::Unspecified);
        refused("0.1.2.3", Unregistrable::Unspecified);
        refused("127.255.0.1", Unregistrable::Loopback);
        refused("169.254.0.1", Unregistrable::LinkLocal);
        refused("224.0.0.1", Unregistrable::Multicast);
        refused("239.255.255.255", Unregistrable::Multicast);
        refused("240.0.0.1", Unregistrable::Reserved);
        refused("255.255.255.255", Unregistrable::Reserved);
        refused("::", Unregistrable::Unspecified);
        refused("::1", Unregistrable::Loopback);
        refused("fe80::1", Unregistrable::LinkLocal);
        refused("febf::1", Unregistrable::LinkLocal);
        refused("ff02::1", Unregistrable::Multicast);
        refused("::ffff:192.0.2.1", Unregistrable::Mapped);
        for addr in [
            "1.0.0.1",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "223.255.255.255",
            "2001:db8::1",
            "fec0::1",
            "::2",
        ] {
            assert!(Tuple::new(Proto::Udp, is(addr), 7).is_ok(), "{addr}");
        }
    }

    #[test]
    fn port_zero_is_refused_before_the_address() {
        assert_eq!(Tuple::new(Proto::Tcp, is("224.0.0.1"), 0), Err(Refusal::PortZero));
    }

    #[test]
    fn names_and_numbers_lead_to_the_same_protocol() {
        for proto in Proto::ALL {
            assert_eq!(proto.to_string().parse(), Ok(proto));
            assert_eq!(Proto::from_number(proto.number()), Some(proto));
        }
        assert_eq!("icmp".parse::<Proto>(), Err(Refusal::Protocol));
        assert_eq!(Proto::from_number(1), None);
    }

    #[test]
    fn any_meets_every_address_of_its_protocol_and_port() {
        let tuple = |proto, addr, port| Tuple::new(proto, addr, port).unwrap();
        let any = tuple(Proto::Udp, Address::Any, 7);
        let one = tuple(Proto::Udp, is("192.0.2.1"), 7);
        assert!(any.meets(&one) && one.meets(&any) && one.meets(&one) && any.meets(&any));
        assert!(!one.meets(&tuple(Proto::Udp, is("192.0.2.2"), 7)));
        assert!(!any.meets(&tuple(Proto::Udp, is("192.0.2.1"), 8)));
        assert!(!any.meets(&tuple(Proto::Tcp, is("192.0.2.1"), 7)));
    }

    #[test]
    fn a_tuple_is_written_as_people_write_it() {
        let text = |addr| Tuple::new(Proto::Udp, addr, 7).unwrap().to_string();
        assert_eq!(text(Address::Any), "udp any:7");
        assert_eq!(text(is("192.0.2.1")), "udp 192.0.2.1:7");
        assert_eq!(text(is("2001:db8::1")), "udp [2001:db8::1]:7");
    }

    #[test]
    fn an_ipv4_key_is_spelled_mapped() {
        let tuple = Tuple::new(Proto::Udp, Address::Any, 7).unwrap();
        assert_eq!(tuple.key_at("192.0.2.1".parse().unwrap()), SteerKey::v4(17, [192, 0, 2, 1], 7));
        let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
        assert_eq!(tuple.key_at(v6.into()), SteerKey::v6(17, v6.octets(), 7));
    }
}
