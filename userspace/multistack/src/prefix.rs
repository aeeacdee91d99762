//! An address prefix: every address whose first bits are these.
//!
//! It never has bits set beyond its length, so that equal prefixes are equal values.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A prefix of IPv4 or IPv6 addresses.
///
/// # Invariants
/// Bits of `addr` beyond `len` are 0; `len` is at most the family's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

/// Not a prefix: not `address/length`, or longer than its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address prefix")]
pub struct NotAPrefix;

impl Prefix {
    /// The prefix of this length that `addr` is in.
    ///
    /// # Errors
    /// [`NotAPrefix`]: the address has fewer bits.
    pub const fn new(addr: IpAddr, len: u8) -> Result<Self, NotAPrefix> {
        let addr = match addr {
            IpAddr::V4(v4) if len <= 32 => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(len))),
            IpAddr::V6(v6) if len <= 128 => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(len))),
            _ => return Err(NotAPrefix),
        };
        Ok(Self { addr, len })
    }

    /// The prefix that holds this address alone.
    #[must_use]
    pub const fn host(addr: IpAddr) -> Self {
        let len = if addr.is_ipv4() { 32 } else { 128 };
        Self { addr, len }
    }

    /// Its first address.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many bits are given.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.len
    }

    /// Whether the address is in it.
    #[must_use]
    pub const fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(addr)) => own.to_bits() == addr.to_bits() & mask_v4(self.len),
            (IpAddr::V6(own), IpAddr::V6(addr)) => own.to_bits() == addr.to_bits() & mask_v6(self.len),
            _ => false,
        }
    }
}

const fn mask_v4(len: u8) -> u32 {
    match u32::MAX.checked_shl(32 - len as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

const fn mask_v6(len: u8) -> u128 {
    match u128::MAX.checked_shl(128 - len as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl FromStr for Prefix {
    type Err = NotAPrefix;

    /// `address/length`, or an address alone.
    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        match text.split_once('/') {
            Some((addr, len)) => {
                let addr = addr.parse().map_err(|_| NotAPrefix)?;
                Self::new(addr, len.parse().map_err(|_| NotAPrefix)?)
            }
            None => text.parse().map(Self::host).map_err(|_| NotAPrefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_length_do_not_count() {
        let prefix: Prefix = "192.0.2.77/24".parse().unwrap();
        assert_eq!(prefix.to_string(), "192.0.2.0/24");
        for (addr, inside) in
            [("192.0.2.0", true), ("192.0.2.255", true), ("192.0.3.0", false), ("::", false)]
        {
            assert_eq!(prefix.contains(addr.parse().unwrap()), inside, "{addr}");
        }
    }

    #[test]
    fn the_shortest_and_the_longest_are_prefixes_too() {
        for text in ["0.0.0.0/0", "::/0", "192.0.2.1/32", "2001:db8::1/128"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        assert!("0.0.0.0/0".parse::<Prefix>().unwrap().contains("255.255.255.255".parse().unwrap()));
        assert!("::/0".parse::<Prefix>().unwrap().contains("ffff::".parse().unwrap()));
        assert_eq!("192.0.2.1".parse(), Ok(Prefix::host("192.0.2.1".parse().unwrap())));
        for text in ["", "/8", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0/8", "10.0.0.0/"] {
            assert_eq!(text.parse::<Prefix>(), Err(NotAPrefix), "{text}");
        }
    }
}
