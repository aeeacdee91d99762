//! Where a packet goes next: an immutable picture of interfaces, local addresses, routes and neighbours.
//!
//! It is built from plain values and never changed; whoever hears of a change builds another. It resolves nothing: a
//! next hop without an address is a [`Miss`], and [`Asked`] says how often anybody is to be asked to resolve it.
//!
//! Route tables are flattened when it is built: prefixes become a sorted list of address ranges that do not overlap, each
//! with the next hop of the longest prefix that covers it. Rules that choose among tables are decided then, too: each
//! source address has *ways*, one list that says what all its rules and tables together say, and shares it with all
//! addresses of which the same is said. A lookup is one binary search, and a gateway's address was looked up when the list
//! was made.
//!
//! | file | idea |
//! |---|---|
//! | `rule` | which tables are asked, for whom |
//! | `ranges` | lists of address ranges, and how they are laid one over the other |
mod ranges;
mod rule;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use abi::port::PortConfig;
use wire::ethernet::{self, Mac};
use wire::vlan;

use crate::hash::Seeded;
use crate::prefix::Prefix;

use ranges::Ranges;
pub use rule::{Action, Rule, Rules, Sense, TableNo};
use rule::{Scope, Within};

/// Most interfaces.
pub const MAX_LINKS: usize = 64;
/// Most local addresses, broadcast addresses among them.
pub const MAX_LOCALS: usize = 16_384;
/// Most routes of all interfaces.
pub const MAX_ROUTES: usize = 65_536;
/// Most rules of both families.
pub const MAX_RULES: usize = 1024;
/// Most ways: source addresses whose packets find their way differently.
pub const MAX_WAYS: usize = 1024;
/// Most ranges of all ways together.
pub const MAX_RANGES: usize = 1 << 19;
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
    /// This table says nothing of the destination: the next rule is asked.
    Throw,
}

/// A route through one interface. Those that name no interface, as a blackhole does, are to be given for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface.
    pub link: LinkNo,
    /// In which table.
    pub table: TableNo,
    /// For which destinations.
    pub dst: Prefix,
    /// For which sources, if not for all: of routes with the same destinations the closest counts.
    pub src: Option<Prefix>,
    /// Where to.
    pub via: Via,
    /// Of routes with the same prefix, the one with the smallest metric counts.
    pub metric: u32,
}

impl Route {
    /// A route in the table main, for all sources, with metric 0.
    #[must_use]
    pub const fn new(link: LinkNo, dst: Prefix, via: Via) -> Self {
        Self { link, table: TableNo::MAIN, dst, src: None, via, metric: 0 }
    }
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
    /// Which tables are asked.
    pub rules: Rules,
    /// Routes through served interfaces.
    pub routes: Vec<Route>,
    /// Neighbours that can be sent to: an entry that is incomplete or failed is not one.
    pub neighbours: Vec<Neighbour>,
}

/// A local address that packets are sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The interface that has it.
    pub link: LinkNo,
    ways: u16,
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
    locals: HashMap<u128, Place, Seeded>,
    neighbours: Neighbours,
    ways: Box<[Ranges<Hop>]>,
}

type Neighbours = HashMap<(LinkNo, u128), (Mac, Upkeep), Seeded>;

/// What an address of this host is, and which ways lead from it: none, unless it is a served interface's.
#[derive(Clone, Copy, Debug)]
struct Place {
    local: Local,
    ways: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hop {
    /// Nothing is said.
    #[default]
    None,
    Nowhere,
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
        within("routing rules", facts.rules.len(), MAX_RULES)?;
        within("routes", facts.routes.len(), MAX_ROUTES)?;
        within("neighbours", facts.neighbours.len(), MAX_NEIGHBOURS)?;
        let mut neighbours = Neighbours::with_capacity_and_hasher(facts.neighbours.len(), Seeded::new(seed));
        for &Neighbour { link, addr, mac, upkeep } in &facts.neighbours {
            neighbours.entry((link, wide(addr))).or_insert((mac, upkeep));
        }
        let mut makes = WayMaker { facts, neighbours: &neighbours, known: BTreeMap::new(), ways: Vec::new() };
        let mut locals = HashMap::with_capacity_and_hasher(facts.locals.len(), Seeded::new(seed));
        for &(addr, local) in &facts.locals {
            if let std::collections::hash_map::Entry::Vacant(place) = locals.entry(wide(addr)) {
                let ways = match local {
                    Local::On(link) => makes.of(link, addr)?,
                    Local::Elsewhere | Local::Broadcast => 0,
                };
                place.insert(Place { local, ways });
            }
        }
        let ways = makes.ways.into();
        Ok(Self { links: facts.links.clone().into(), locals, neighbours, ways })
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
        self.locals.get(&wide(addr)).map(|place| place.local)
    }

    /// The address as a source of packets, if a served interface has it.
    #[must_use]
    #[inline]
    pub fn source(&self, addr: IpAddr) -> Option<Source> {
        let place = self.locals.get(&wide(addr))?;
        match place.local {
            Local::On(link) => Some(Source { link, ways: place.ways }),
            Local::Elsewhere | Local::Broadcast => None,
        }
    }

    /// The next hop to `dst` through the source's interface, as its rules and tables say.
    ///
    /// # Errors
    /// [`Miss`].
    #[inline]
    pub fn next_hop(&self, source: Source, dst: IpAddr) -> Result<Reach, Miss> {
        let link = source.link;
        let hop = self.ways.get(usize::from(source.ways)).map_or(Hop::None, |ways| ways.find(wide(dst)));
        let (addr, known) = match hop {
            Hop::None | Hop::Nowhere => return Err(Miss::NoRoute),
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

/// The first and the last address of a prefix.
fn span(prefix: &Prefix) -> (u128, u128) {
    let bits = if prefix.addr().is_ipv4() { 32 } else { 128 } - u32::from(prefix.bits());
    let first = wide(prefix.addr());
    (first, first | u128::MAX.checked_shr(128 - bits).unwrap_or(0))
}

/// What decides the ways of a source: equal ones share them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Decided {
    link: LinkNo,
    is_v4: bool,
    steps: Vec<(Scope, Action)>,
    /// Prefixes of routes that are only for some sources, and for this one.
    sources: BTreeSet<Prefix>,
}

/// Makes the ways of one source after the other.
struct WayMaker<'a> {
    facts: &'a Facts,
    neighbours: &'a Neighbours,
    known: BTreeMap<Decided, u16>,
    ways: Vec<Ranges<Hop>>,
}

impl WayMaker<'_> {
    fn of(&mut self, link: LinkNo, addr: IpAddr) -> Result<u16, TooMany> {
        let rules = self.facts.rules.of(addr).iter();
        let steps = rules.filter_map(|rule| Some((rule.scope(link, addr)?, rule.action))).collect();
        let narrow = self.facts.routes.iter().filter(|route| route.link == link).filter_map(|r| r.src);
        let sources = narrow.filter(|src| src.contains(addr)).collect();
        let decided = Decided { link, is_v4: addr.is_ipv4(), steps, sources };
        if let Some(&known) = self.known.get(&decided) {
            return Ok(known);
        }
        let ways = self.make(&decided);
        within("routing decisions", self.ways.len() + 1, MAX_WAYS)?;
        let ranges = self.ways.iter().map(Ranges::len).sum::<usize>() + ways.len();
        within("ranges of routes", ranges, MAX_RANGES)?;
        let number = self.ways.len() as u16;
        self.ways.push(ways);
        self.known.insert(decided, number);
        Ok(number)
    }

    /// The last rule at the bottom, each one before it over that.
    fn make(&self, decided: &Decided) -> Ranges<Hop> {
        let mut ways = Ranges::default();
        for (scope, action) in decided.steps.iter().rev() {
            let layer = match *action {
                Action::Look { table, longer_than } => self.table(decided, table, longer_than),
                Action::Nowhere => Ranges::nested([(0, u128::MAX, Hop::Nowhere)]),
            };
            if layer.len() == 0 {
                continue;
            }
            let layer = match scope {
                Scope::All => layer,
                _ => layer.merge(&scope.ranges(span), |hop, within| match within {
                    Within::Yes => hop,
                    Within::No => Hop::None,
                }),
            };
            ways = layer.over(&ways);
        }
        ways
    }

    fn table(&self, decided: &Decided, table: TableNo, longer_than: Option<u8>) -> Ranges<Hop> {
        let fits = |route: &&Route| {
            (route.link, route.table) == (decided.link, table)
                && route.dst.addr().is_ipv4() == decided.is_v4
                && route.src.is_none_or(|src| decided.sources.contains(&src))
        };
        let mut routes: Vec<_> = self.facts.routes.iter().filter(fits).collect();
        // Outer prefixes before those inside them, and of equal ones the best last, so that it has the last word.
        routes.sort_by_key(|r| {
            let sources = r.src.map_or(0, |src| src.bits());
            (wide(r.dst.addr()), r.dst.bits(), sources, std::cmp::Reverse(r.metric))
        });
        Ranges::nested(routes.into_iter().map(|route| {
            let counts = longer_than.is_none_or(|bits| bits < route.dst.bits());
            let hop = match route.via {
                Via::Nowhere => Hop::Nowhere,
                _ if !counts => Hop::None,
                Via::Throw => Hop::None,
                Via::OnLink => Hop::OnLink,
                Via::Gateway(addr) => {
                    Hop::Gateway(addr, self.neighbours.get(&(route.link, wide(addr))).copied())
                }
            };
            let (first, last) = span(&route.dst);
            (first, last, hop)
        }))
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
