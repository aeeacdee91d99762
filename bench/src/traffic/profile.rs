//! What a user asks the generator for, before anything is made of it.
//!
//! A profile is plain data. [`crate::traffic::plan::Plan::new`] checks it whole and says what is wrong with it.
use thiserror::Error;
pub use wire::ethernet::Mac;

use super::{
    size::Mix,
    span::{AddrSpan, PortSpan},
};

/// Most VLAN tags on a frame.
pub const MAX_TAGS: usize = 2;

/// Not an Ethernet address.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an Ethernet address is six hexadecimal bytes, such as 02:00:00:00:00:01")]
pub struct MacError;

/// What carries the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    #[default]
    Udp,
    /// TCP segments with ACK set: they belong to no connection.
    Tcp,
}

/// In which order a round visits the flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// 0, 1, 2, …
    #[default]
    RoundRobin,
    /// By a stride that depends on the seed, so that neighbours in time are not neighbours in a table.
    Scattered,
}

/// The traffic asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Source of every frame.
    pub src_mac: Mac,
    /// Destination of every frame.
    pub dst_mac: Mac,
    /// VLAN ids, outermost first; the outer of two is a service tag (802.1ad).
    pub tags: Vec<u16>,
    /// UDP or TCP.
    pub transport: Transport,
    /// Source addresses.
    pub src: AddrSpan,
    /// Destination addresses.
    pub dst: AddrSpan,
    /// Source ports.
    pub sport: PortSpan,
    /// Destination ports.
    pub dport: PortSpan,
    /// How many flows: distinct (source, destination) pairs. Destination ports vary first, then destination
    /// addresses, source ports and source addresses: what is steered by is what differs most.
    pub flows: u32,
    /// In which order.
    pub order: Order,
    /// Frame sizes.
    pub mix: Mix,
    /// What everything random depends on.
    pub seed: u64,
}

/// Reads an Ethernet address.
///
/// # Errors
/// [`MacError`] if it is none.
pub fn parse_mac(text: &str) -> Result<Mac, MacError> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let digits = |p: &&str| (1..=2).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_hexdigit());
        let part = parts.next().filter(digits).ok_or(MacError)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| MacError)?;
    }
    if parts.next().is_some() { Err(MacError) } else { Ok(Mac(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(parse_mac("02:0:a:FF:00:1"), Ok(Mac([2, 0, 10, 255, 0, 1])));
        for bad in
            ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "002:0:0:0:0:0", "+2:0:0:0:0:0:0", "g:0:0:0:0:0"]
        {
            assert_eq!(parse_mac(bad), Err(MacError), "{bad}");
        }
    }
}
