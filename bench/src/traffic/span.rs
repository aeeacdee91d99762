//! Ranges of addresses and ports, as a user writes them: one value, `first-last`, or a prefix.
//!
//! A range is never empty and never mixes address families.
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

/// Most addresses in a range.
pub const MAX_ADDRESSES: u64 = 1 << 24;

/// Consecutive addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrSpan {
    first: IpAddr,
    count: u32,
}

/// Consecutive ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSpan {
    first: u16,
    last: u16,
}

/// What is not a range.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SpanError {
    /// Not an address.
    #[error("an address range is \"a\", \"a-b\" or \"a/length\" with IPv4 or IPv6 addresses")]
    Address,
    /// Two families.
    #[error("both ends of an address range are IPv4, or both IPv6")]
    Family,
    /// Not a port.
    #[error("a port range is \"p\" or \"p-q\" with numbers from 1 to 65535")]
    Port,
    /// Last before first.
    #[error("the range ends before it begins")]
    Backwards,
    /// A prefix longer than an address.
    #[error("the prefix length is 0 to {limit}, not {given}")]
    Prefix {
        /// What was asked for.
        given: u32,
        /// Bits of an address.
        limit: u32,
    },
    /// More than [`MAX_ADDRESSES`].
    #[error("a range has at most {MAX_ADDRESSES} addresses")]
    TooMany,
}

impl AddrSpan {
    /// One address.
    #[must_use]
    pub const fn one(addr: IpAddr) -> Self {
        Self { first: addr, count: 1 }
    }

    /// The first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// How many addresses.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count as u64
    }

    /// Whether the addresses are IPv6.
    #[must_use]
    pub const fn is_v6(&self) -> bool {
        self.first.is_ipv6()
    }

    /// Address number `index`, counted round and round.
    #[must_use]
    pub fn nth(&self, index: u64) -> IpAddr {
        let by = index % self.count();
        match self.first {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits().wrapping_add(by as u32))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits().wrapping_add(u128::from(by)))),
        }
    }

    fn between(first: IpAddr, last: IpAddr) -> Result<Self, SpanError> {
        let (low, high) = match (first, last) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits())),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits()),
            _ => return Err(SpanError::Family),
        };
        let steps = high.checked_sub(low).ok_or(SpanError::Backwards)?;
        if u128::from(MAX_ADDRESSES) <= steps {
            return Err(SpanError::TooMany);
        }
        Ok(Self { first, count: steps as u32 + 1 })
    }

    fn prefix(addr: IpAddr, length: u32) -> Result<Self, SpanError> {
        let limit: u32 = if addr.is_ipv4() { 32 } else { 128 };
        let host = limit.checked_sub(length).ok_or(SpanError::Prefix { given: length, limit })?;
        if MAX_ADDRESSES.ilog2() < host {
            return Err(SpanError::TooMany);
        }
        let hosts = (1_u128 << host) - 1;
        let first = match addr {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & !(hosts as u32))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & !hosts)),
        };
        Ok(Self { first, count: hosts as u32 + 1 })
    }
}

impl FromStr for AddrSpan {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let address = |t: &str| t.trim().parse::<IpAddr>().map_err(|_| SpanError::Address);
        if let Some((addr, length)) = text.split_once('/') {
            return Self::prefix(address(addr)?, length.trim().parse().map_err(|_| SpanError::Address)?);
        }
        match text.split_once('-') {
            Some((first, last)) => Self::between(address(first)?, address(last)?),
            None => address(text).map(Self::one),
        }
    }
}

impl fmt::Display for AddrSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 1 {
            return self.first.fmt(f);
        }
        write!(f, "{}-{}", self.first, self.nth(self.count() - 1))
    }
}

impl PortSpan {
    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// How many ports.
    #[must_use]
    pub const fn count(&self) -> u64 {
        (self.last - self.first) as u64 + 1
    }

    /// Port number `index`, counted round and round.
    #[must_use]
    pub const fn nth(&self, index: u64) -> u16 {
        self.first + (index % self.count()) as u16
    }
}

impl FromStr for PortSpan {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let port = |t: &str| match t.trim().parse() {
            Ok(0) | Err(_) => Err(SpanError::Port),
            Ok(port) => Ok(port),
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if last < first {
            return Err(SpanError::Backwards);
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn addresses(text: &str, first: &str, last: &str, count: u64) {
        let span: AddrSpan = text.parse().expect(text);
        let ends = (span.nth(0).to_string(), span.nth(count - 1).to_string(), span.count());
        assert_eq!(ends, (first.into(), last.into(), count));
        assert_eq!(span.nth(count), span.nth(0), "counted round and round");
        assert_eq!(span.to_string().parse(), Ok(span));
    }

    #[test]
    fn the_three_spellings() {
        addresses("10.0.0.1", "10.0.0.1", "10.0.0.1", 1);
        addresses("10.0.0.250-10.0.1.3", "10.0.0.250", "10.0.1.3", 10);
        addresses("10.0.0.9/30", "10.0.0.8", "10.0.0.11", 4);
        addresses("fd00::1-fd00::1:0", "fd00::1", "fd00::1:0", 65_536);
        addresses("fd00::/120", "fd00::", "fd00::ff", 256);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        let address = |text: &str| text.parse::<AddrSpan>().unwrap_err();
        assert_eq!(address("10.0.0"), SpanError::Address);
        assert_eq!(address("10.0.0.2-10.0.0.1"), SpanError::Backwards);
        assert_eq!(address("10.0.0.2-fd00::"), SpanError::Family);
        assert_eq!(address("10.0.0.0/33"), SpanError::Prefix { given: 33, limit: 32 });
        assert_eq!(address("fd00::/64"), SpanError::TooMany);
        let port = |text: &str| text.parse::<PortSpan>().unwrap_err();
        assert_eq!([port("0"), port("65536"), port("1-")], [const { SpanError::Port }; 3]);
        assert_eq!(port("9-7"), SpanError::Backwards);
        assert_eq!("7-9".parse::<PortSpan>().map(|s| (s.count(), s.nth(4))), Ok((3, 8)));
    }
}
