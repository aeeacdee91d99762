//! Where a packet goes next: an immutable picture of interfaces, local addresses, routes and neighbours.
//!
//! It is built from plain values and never changed; whoever hears of a change builds another. It resolves nothing: a
//! next hop without an address is a [`Miss`], and [`Asked`] says how often anybody is to be asked to resolve it.
//!
//! A route table is flattened when it is built: prefixes become a sorted list of address ranges that do not overlap,
//! each with the next hop of the longest prefix that covers it. A lookup is one binary search, and a gateway's
//! address was looked up when the table was made.
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use abi::port::PortConfig;
use wire::ethernet::{self, Mac};
use wire::vlan;

use crate::hash::Seeded;
use crate::prefix::Prefix;

/// Most interfaces.
pub const MAX_LINKS: usize = 64;
/// Most local addresses, broadcast addresses among them.
pub const MAX_LOCALS: usize = 16_384;
/// Most routes of all interfaces.
pub const MAX_ROUTES: usize = 65_536;
/// Most neighbours.
pub const MAX_NEIGHBOURS: usize = 65_536;

/// Between two requests to resolve the same next hop.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);

/// An interface's place in [`Facts::links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkNo(pub u16);

/// A served interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its MAC address and VLAN tags.
    pub config: PortConfig,
    /// Longest IP packet that it carries.
    pub mtu: u16,
}

impl Link {
    /// Its MAC address.
    #[must_use]
    #[inline]
    pub const fn mac(&self) -> Mac {
        Mac(self.config.mac)
    }

    /// Its VLAN ids, outermost first.
    #[must_use]
    #[inline]
    pub fn vlan(&self) -> &[u16] {
        self.config.vlan.get(..usize::from(self.config.tags)).unwrap_or(&self.config.vlan)
    }

    /// Length of the Ethernet header of its frames, tags included.
    #[must_use]
    #[inline]
    pub fn header_len(&self) -> usize {
        ethernet::HEADER_LEN + self.vlan().len() * vlan::TAG_LEN
    }
}

/// What an address of this host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// A served interface's.
    On(LinkNo),
    /// An interface's that is not served.
    Elsewhere,
    /// A subnet's broadcast address.
    Broadcast,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The destination is on the link itself.
    OnLink,
    /// To this router.
    Gateway(IpAddr),
    /// Nowhere: blackhole, unreachable, prohibit.
    Nowhere,
}

/// A route through one interface. Those that name no interface, as a blackhole does, are to be given for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface.
    pub link: LinkNo,
    /// For which destinations.
    pub dst: Prefix,
    /// Where to.
    pub via: Via,
    /// Of routes with the same prefix, the one with the smallest metric counts.
    pub metric: u32,
}

/// Whether a neighbour's address is kept fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// By the kernel, without traffic that it sees: permanent, or `NTF_EXT_MANAGED`.
    Kept,
    /// By nobody: what we send, the kernel does not see. Good to use, and to be asked for.
    Ageing,
}

/// A neighbour whose address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface.
    pub link: LinkNo,
    /// Its IP address.
    pub addr: IpAddr,
    /// Its MAC address.
    pub mac: Mac,
    /// Whether it stays known.
    pub upkeep: Upkeep,
}

/// What a picture is made of. An address that is there twice counts as it was said first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Served interfaces.
    pub links: Vec<Link>,
    /// Every address of this host, loopback's aside.
    pub locals: Vec<(IpAddr, Local)>,
    /// Routes through served interfaces.
    pub routes: Vec<Route>,
    /// Neighbours that can be sent to: an entry that is incomplete or failed is not one.
    pub neighbours: Vec<Neighbour>,
}

/// Whom a packet is to be handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// On which interface.
    pub link: LinkNo,
    /// Its IP address.
    pub addr: IpAddr,
}

/// A next hop that can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Its MAC address.
    pub mac: Mac,
    /// Whom to ask for, lest the address be forgotten.
    pub ageing: Option<NextHop>,
}

/// Why a packet cannot be sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No route through this interface.
    NoRoute,
    /// The next hop's address is not known.
    Unresolved(NextHop),
}

/// More of something than a picture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} {what}, the limit is {limit}")]
pub struct TooMany {
    /// Of what.
    pub what: &'static str,
    /// How many there are.
    pub given: usize,
    /// How many there may be.
    pub limit: usize,
}

/// The picture.
#[derive(Clone, Debug, Default)]
pub struct Network {
    links: Box<[Link]>,
    locals: HashMap<u128, Local, Seeded>,
    neighbours: HashMap<(LinkNo, u128), (Mac, Upkeep), Seeded>,
    v4: Box<[Table]>,
    v6: Box<[Table]>,
}

/// One interface's routes of one family: ranges by their first address, each up to the next one's.
#[derive(Clone, Debug, Default)]
struct Table(Box<[(u128, Hop)]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hop {
    None,
    OnLink,
    Gateway(IpAddr, Option<(Mac, Upkeep)>),
}

impl Network {
    /// A picture of these facts. The seed is that of its hash tables: LAN neighbours choose what is in one of them.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn new(facts: &Facts, seed: u64) -> Result<Self, TooMany> {
        within("interfaces", facts.links.len(), MAX_LINKS)?;
        within("local addresses", facts.locals.len(), MAX_LOCALS)?;
        within("routes", facts.routes.len(), MAX_ROUTES)?;
        within("neighbours", facts.neighbours.len(), MAX_NEIGHBOURS)?;
        let mut locals = HashMap::with_capacity_and_hasher(facts.locals.len(), Seeded::new(seed));
        for &(addr, local) in &facts.locals {
            locals.entry(wide(addr)).or_insert(local);
        }
        let mut neighbours = HashMap::with_capacity_and_hasher(facts.neighbours.len(), Seeded::new(seed));
        for &Neighbour { link, addr, mac, upkeep } in &facts.neighbours {
            neighbours.entry((link, wide(addr))).or_insert((mac, upkeep));
        }
        let tables = |is_family: fn(&IpAddr) -> bool| {
            let of = |link| {
                let own = |r: &&Route| r.link == link && is_family(&r.dst.addr());
                Table::new(facts.routes.iter().filter(own), &neighbours)
            };
            (0..facts.links.len()).map(|n| of(LinkNo(n as u16))).collect()
        };
        let (v4, v6) = (tables(IpAddr::is_ipv4), tables(IpAddr::is_ipv6));
        Ok(Self { links: facts.links.clone().into(), locals, neighbours, v4, v6 })
    }

    /// The served interfaces, by number.
    #[must_use]
    #[inline]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// One of them.
    #[must_use]
    #[inline]
    pub fn link(&self, link: LinkNo) -> Option<&Link> {
        self.links.get(usize::from(link.0))
    }

    /// What an address of this host is; `None` if it is another host's.
    #[must_use]
    #[inline]
    pub fn local(&self, addr: IpAddr) -> Option<Local> {
        self.locals.get(&wide(addr)).copied()
    }

    /// The next hop to `dst` through one interface: that of its longest prefix.
    ///
    /// # Errors
    /// [`Miss`].
    #[inline]
    pub fn next_hop(&self, link: LinkNo, dst: IpAddr) -> Result<Reach, Miss> {
        let tables = if dst.is_ipv4() { &self.v4 } else { &self.v6 };
        let hop = tables.get(usize::from(link.0)).map_or(Hop::None, |table| table.find(wide(dst)));
        let (addr, known) = match hop {
            Hop::None => return Err(Miss::NoRoute),
            Hop::OnLink => (dst, self.neighbours.get(&(link, wide(dst))).copied()),
            Hop::Gateway(addr, known) => (addr, known),
        };
        let next = NextHop { link, addr };
        match known {
            Some((mac, Upkeep::Kept)) => Ok(Reach { mac, ageing: None }),
            Some((mac, Upkeep::Ageing)) => Ok(Reach { mac, ageing: Some(next) }),
            None => Err(Miss::Unresolved(next)),
        }
    }
}

/// One number for each address of both families. The families' tables are apart, so that ::/0 covers no IPv4.
#[inline]
fn wide(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => wide_v4(v4),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[inline]
const fn wide_v4(addr: Ipv4Addr) -> u128 {
    0xffff_0000_0000 | addr.to_bits() as u128
}

const fn within(what: &'static str, given: usize, limit: usize) -> Result<(), TooMany> {
    if given <= limit { Ok(()) } else { Err(TooMany { what, given, limit }) }
}

impl Table {
    fn new<'a>(
        routes: impl Iterator<Item = &'a Route>,
        neighbours: &HashMap<(LinkNo, u128), (Mac, Upkeep), Seeded>,
    ) -> Self {
        let mut routes: Vec<_> = routes.collect();
        // Outer prefixes before those inside them, and of equal ones the best last, so that it has the last word.
        routes.sort_by_key(|r| (wide(r.dst.addr()), r.dst.bits(), std::cmp::Reverse(r.metric)));
        let mut ranges = Ranges::default();
        for route in routes {
            let hop = match route.via {
                Via::Nowhere => Hop::None,
                Via::OnLink => Hop::OnLink,
                Via::Gateway(addr) => Hop::Gateway(addr, neighbours.get(&(route.link, wide(addr))).copied()),
            };
            ranges.open(wide(route.dst.addr()), last(&route.dst), hop);
        }
        Self(ranges.finish())
    }

    #[inline]
    fn find(&self, addr: u128) -> Hop {
        let after = self.0.partition_point(|&(first, _)| first <= addr);
        after.checked_sub(1).and_then(|at| self.0.get(at)).map_or(Hop::None, |&(_, hop)| hop)
    }
}

/// The last address of a prefix.
fn last(prefix: &Prefix) -> u128 {
    let bits = if prefix.addr().is_ipv4() { 32 } else { 128 } - u32::from(prefix.bits());
    wide(prefix.addr()) | u128::MAX.checked_shr(128 - bits).unwrap_or(0)
}

/// Ranges being flattened: those open around the current address, the innermost last.
#[derive(Debug, Default)]
struct Ranges {
    open: Vec<(u128, Hop)>,
    done: Vec<(u128, Hop)>,
}

impl Ranges {
    fn open(&mut self, first: u128, last: u128, hop: Hop) {
        self.close_before(first);
        self.begin(first, hop);
        self.open.push((last, hop));
    }

    /// Closes all that end before `first`; what lies around them goes on.
    fn close_before(&mut self, first: u128) {
        while let Some((last, _)) = self.open.pop_if(|&mut (last, _)| last < first) {
            self.resume_after(last);
        }
    }

    fn resume_after(&mut self, last: u128) {
        if let Some(next) = last.checked_add(1) {
            self.begin(next, self.open.last().map_or(Hop::None, |&(_, hop)| hop));
        }
    }

    fn begin(&mut self, first: u128, hop: Hop) {
        self.done.pop_if(|&mut (begun, _)| begun == first);
        self.done.push((first, hop));
    }

    fn finish(mut self) -> Box<[(u128, Hop)]> {
        while let Some((last, _)) = self.open.pop() {
            self.resume_after(last);
        }
        self.done.into()
    }
}

/// Who was asked for lately: at most once per [`ASK_AGAIN`] and next hop, and at most so many next hops in that time.
///
/// Each channel has one of its own, so that an application that sends to everybody uses up only its own questions.
/// The daemon has a larger one, since several channels ask for the same.
#[derive(Clone, Debug)]
pub struct Asked {
    entries: Box<[Option<(NextHop, Duration)>]>,
}

/// Next hops that one channel may ask for in [`ASK_AGAIN`].
pub const CHANNEL_ASKS: usize = 16;

impl Asked {
    /// Remembers up to `capacity` next hops.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { entries: vec![None; capacity].into() }
    }

    /// Whether `hop` is to be asked for now; then it counts as asked for. Allocates nothing.
    ///
    /// A clock that was set back asks for nothing until it is where it was.
    pub fn ask(&mut self, hop: NextHop, now: Duration) -> Option<NextHop> {
        let waiting = |at: Duration| now.saturating_sub(at) < ASK_AGAIN;
        let known = self.entries.iter().position(|e| e.is_some_and(|(asked, _)| asked == hop));
        let spare = || self.entries.iter().position(|e| e.is_none_or(|(_, at)| !waiting(at)));
        let entry = self.entries.get_mut(known.or_else(spare)?)?;
        match *entry {
            Some((_, at)) if waiting(at) => None,
            _ => {
                *entry = Some((hop, now));
                Some(hop)
            }
        }
    }
}

#[cfg(test)]
mod tests;
