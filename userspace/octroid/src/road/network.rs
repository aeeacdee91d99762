//! What the engines must know of the network: the kernel's links, addresses, routes and neighbours as one picture.
//!
//! [`facts`] is pure: everything that was read goes in, what applications' packets are judged by comes out. An interface
//! keeps its number, that of the configuration, whatever becomes of the device.
use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use abi::port::PortConfig;
use multistack::{
    neighbour::{
        self, Asked, Facts, Link, LinkNo, Local, Neighbour, Network, NextHop, Route, Rules, TableNo, TooMany,
        Upkeep, Via,
    },
    prefix::Prefix,
};
use wire::ethernet::Mac;

use super::ways;
use crate::netlink::{
    fib::{Entry, Hop, To},
    neighbour::{self as kernel, Kept},
    route::Address,
    rule::Rule,
};

/// Next hops that the kernel is asked to resolve in a second, for all applications together.
const ASKS: usize = 1024;

/// A served interface: its number is its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The device, while it is there.
    pub index: Option<u32>,
    /// The device's name.
    pub name: String,
    /// Its MAC address and tags.
    pub config: PortConfig,
    /// Its MTU.
    pub mtu: u32,
}

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Served interfaces, as configured.
    pub served: Vec<Served>,
    /// All local addresses.
    pub addresses: Vec<Address>,
    /// All routing rules.
    pub rules: Vec<Rule>,
    /// All routes.
    pub entries: Vec<Entry>,
    /// All neighbours.
    pub neighbours: Vec<kernel::Neighbour>,
}

/// The picture in force, and who was asked for.
#[derive(Debug)]
pub struct View {
    facts: Facts,
    network: Arc<Network>,
    seed: u64,
    asked: Asked,
}

impl View {
    /// Nothing is known yet. The seed is nobody's business: it spreads what LAN neighbours choose over hash tables.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { facts: Facts::default(), network: Arc::default(), seed, asked: Asked::new(ASKS) }
    }

    /// The picture in force.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// Takes these facts in. `true` if they are others than before, and the picture another.
    ///
    /// # Errors
    /// There are more of something than a picture holds; the old one stays.
    pub fn take(&mut self, facts: Facts) -> Result<bool, TooMany> {
        if facts == self.facts {
            return Ok(false);
        }
        self.network = Arc::new(Network::new(&facts, self.seed)?);
        self.facts = facts;
        Ok(true)
    }

    /// Whether the kernel is to be asked for this next hop now; at most once a second.
    pub fn ask(&mut self, hop: NextHop, now: Duration) -> bool {
        self.asked.ask(hop, now).is_some()
    }

    /// Longest IP packet that one of the served interfaces carries.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.facts.links.iter().map(|link| link.mtu).max().unwrap_or(0)
    }
}

/// What engines are told of all this.
#[must_use]
pub fn facts(seen: &Seen) -> Facts {
    let links = seen
        .served
        .iter()
        .map(|served| Link { config: served.config, mtu: u16::try_from(served.mtu).unwrap_or(u16::MAX) });
    let number = |index: u32| {
        let at = seen.served.iter().position(|served| served.index == Some(index))?;
        Some(LinkNo(at as u16))
    };
    let named = |name: &str| {
        let at = seen.served.iter().position(|served| served.index.is_some() && served.name == name)?;
        Some(LinkNo(at as u16))
    };
    let all = (0..seen.served.len() as u16).map(LinkNo);
    let rules = ways::rules(&seen.rules, &named);
    let tables = tables(&rules);
    let asked = seen.entries.iter().filter(|entry| tables.contains(&TableNo(entry.table)));
    let mut facts = Facts {
        links: links.collect(),
        locals: locals(seen, &number),
        routes: asked.flat_map(|entry| routes(entry, &number, all.clone())).collect(),
        rules,
        neighbours: seen.neighbours.iter().filter_map(|n| neighbour(n, &number)).collect(),
    };
    // The kernel lists a table in no order that lasts: equal networks are to be equal facts.
    facts.neighbours.sort_unstable_by_key(|n| (n.link, n.addr));
    facts.routes.sort_by_key(|r| (r.link, r.table, r.dst, r.src, r.metric));
    facts
}

/// Tables that some rule leads to: what is in others, and it may be much, leads nobody anywhere.
fn tables(rules: &Rules) -> BTreeSet<TableNo> {
    let table = |rule: &neighbour::Rule| match rule.action {
        neighbour::Action::Look { table, .. } => Some(table),
        neighbour::Action::Nowhere => None,
    };
    rules.v4.iter().chain(&rules.v6).filter_map(table).collect()
}

type Number<'a> = &'a dyn Fn(u32) -> Option<LinkNo>;

/// Addresses first: of what is said twice, the first counts.
fn locals(seen: &Seen, number: Number<'_>) -> Vec<(IpAddr, Local)> {
    let mut own: Vec<_> = seen
        .addresses
        .iter()
        .map(|a| (a.addr, number(a.index).map_or(Local::Elsewhere, Local::On)))
        .collect();
    // An address on a served interface and on another one is the served one's.
    own.sort_by_key(|&(addr, local)| (addr, local == Local::Elsewhere));
    let single = |e: &&Entry| e.bits == single(e.dst) && ways::is_of_host(e.table);
    let mut more: Vec<_> = seen
        .entries
        .iter()
        .filter(single)
        .filter_map(|entry| match entry.to {
            To::Here => Some((entry.dst, Local::Elsewhere)),
            To::Broadcast => Some((entry.dst, Local::Broadcast)),
            To::Hops(_) | To::Nowhere | To::Throw => None,
        })
        .collect();
    more.sort_by_key(|&(addr, local)| (addr, local == Local::Broadcast));
    own.extend(more);
    own.retain(|(addr, _)| !addr.is_loopback());
    own
}

fn routes(entry: &Entry, number: Number<'_>, all: impl Iterator<Item = LinkNo>) -> Vec<Route> {
    let Ok(dst) = Prefix::new(entry.dst, entry.bits) else { return Vec::new() };
    let Ok(src) = entry.src.map(|(addr, bits)| Prefix::new(addr, bits)).transpose() else {
        return Vec::new();
    };
    let (table, metric) = (TableNo(entry.table), entry.metric);
    let route = |link, via| Route { link, table, dst, src, via, metric };
    match &entry.to {
        To::Hops(hops) => {
            let mut routes: Vec<Route> = Vec::new();
            for Hop { index, gateway } in hops {
                let Some(link) = number(*index) else { continue };
                // Of several ways through one interface, the first: nobody balances here.
                if routes.iter().all(|known| known.link != link) {
                    routes.push(route(link, gateway.map_or(Via::OnLink, Via::Gateway)));
                }
            }
            routes
        }
        To::Nowhere => all.map(|link| route(link, Via::Nowhere)).collect(),
        To::Throw => all.map(|link| route(link, Via::Throw)).collect(),
        // A whole prefix that is this host's: no wire leads to it.
        To::Here if entry.bits != single(entry.dst) => all.map(|link| route(link, Via::Nowhere)).collect(),
        To::Here | To::Broadcast => Vec::new(),
    }
}

/// Bits of the prefix that holds one address alone.
const fn single(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn neighbour(seen: &kernel::Neighbour, number: Number<'_>) -> Option<Neighbour> {
    let upkeep = match seen.kept {
        Kept::Yes => Upkeep::Kept,
        Kept::No => Upkeep::Ageing,
    };
    let mac = Mac(seen.mac);
    let usable = !mac.is_group() && mac != Mac::default();
    Some(Neighbour { link: number(seen.index)?, addr: seen.addr, mac, upkeep }).filter(|_| usable)
}

#[cfg(test)]
mod tests {
    use multistack::neighbour::Miss;

    use super::*;
    use crate::netlink::rule::{Action, Family};

    const MAIN: u32 = 254;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn seen() -> Seen {
        let config = PortConfig { mac: [2; 6], ..PortConfig::default() };
        let served = Served { index: Some(5), name: "eth0".into(), mtu: 1500, config };
        let entry = |dst, bits, to| Entry { dst: ip(dst), bits, src: None, table: MAIN, metric: 0, to };
        let other = |entry| Entry { table: 100, ..entry };
        let hop = |index, gateway: Option<&str>| Hop { index, gateway: gateway.map(ip) };
        Seen {
            served: vec![served, Served::default()],
            addresses: [(5, "192.0.2.1"), (5, "192.0.2.3"), (6, "198.51.100.1"), (1, "127.0.0.1")]
                .map(|(index, addr)| Address { index, addr: ip(addr) })
                .into(),
            entries: vec![
                entry("192.0.2.0", 24, To::Hops(vec![hop(5, None)])),
                entry("0.0.0.0", 0, To::Hops(vec![hop(6, Some("198.51.100.9")), hop(5, Some("192.0.2.9"))])),
                entry("203.0.113.0", 24, To::Nowhere),
                entry("192.0.2.1", 32, To::Here),
                entry("192.0.2.255", 32, To::Broadcast),
                entry("127.0.0.0", 8, To::Here),
                entry("192.0.2.128", 25, To::Here),
                other(entry(
                    "0.0.0.0",
                    0,
                    To::Hops(vec![hop(5, Some("192.0.2.8")), hop(5, Some("192.0.2.9"))]),
                )),
                other(entry("203.0.113.128", 25, To::Throw)),
                Entry { table: 200, ..entry("203.0.113.0", 24, To::Hops(vec![hop(5, None)])) },
            ],
            rules: vec![
                Rule {
                    from: Some((ip("192.0.2.3"), 32)),
                    action: Action::Look { table: 100, longer_than: None },
                    ..Rule::main(Family::V4)
                },
                Rule::main(Family::V4),
            ],
            neighbours: vec![
                kernel::Neighbour { index: 5, addr: ip("192.0.2.9"), mac: [4; 6], kept: Kept::Yes },
                kernel::Neighbour { index: 5, addr: ip("192.0.2.8"), mac: [1; 6], kept: Kept::Yes },
                kernel::Neighbour { index: 6, addr: ip("198.51.100.9"), mac: [4; 6], kept: Kept::No },
            ],
        }
    }

    #[test]
    fn the_kernels_network_as_engines_see_it() {
        let network = Network::new(&facts(&seen()), 0).unwrap();
        let link = LinkNo(0);
        let local = |addr| network.local(ip(addr));
        assert_eq!(local("192.0.2.1"), Some(Local::On(link)));
        assert_eq!(local("198.51.100.1"), Some(Local::Elsewhere));
        assert_eq!(local("192.0.2.255"), Some(Local::Broadcast));
        assert_eq!((local("127.0.0.1"), local("192.0.2.9")), (None, None));
        let from = |own, addr| {
            let source = network.source(ip(own)).expect("a served interface's");
            network.next_hop(source, ip(addr)).map(|reach| reach.mac)
        };
        let reach = |addr| from("192.0.2.1", addr);
        assert_eq!(reach("8.8.8.8"), Ok(Mac([4; 6])), "by the router");
        assert_eq!(reach("192.0.2.9"), Ok(Mac([4; 6])));
        assert_eq!(
            reach("192.0.2.8"),
            Err(Miss::Unresolved(NextHop { link, addr: ip("192.0.2.8") })),
            "a group address"
        );
        assert_eq!(reach("203.0.113.1"), Err(Miss::NoRoute));
        assert_eq!(reach("192.0.2.129"), Err(Miss::NoRoute), "all of these are this host's");
        assert_eq!(network.source(ip("198.51.100.1")), None, "an interface that is not served");
        let unresolved = Err(Miss::Unresolved(NextHop { link, addr: ip("192.0.2.8") }));
        assert_eq!(
            from("192.0.2.3", "8.8.8.8"),
            unresolved,
            "by its own table, and there by the first router"
        );
        assert_eq!(from("192.0.2.3", "203.0.113.1"), unresolved);
        assert_eq!(from("192.0.2.3", "203.0.113.129"), Err(Miss::NoRoute), "thrown back, and there it ends");
    }

    #[test]
    fn the_same_network_in_another_order_is_no_news() {
        let mut view = View::new(7);
        assert_eq!(view.take(facts(&seen())), Ok(true));
        assert_eq!(view.mtu(), 1500);
        let mut other = seen();
        other.neighbours.reverse();
        other.entries.reverse();
        other.addresses.reverse();
        assert_eq!(view.take(facts(&other)), Ok(false));
        other.served[0].mtu = 9000;
        assert_eq!((view.take(facts(&other)), view.mtu()), (Ok(true), 9000));
    }

    #[test]
    fn a_next_hop_is_asked_for_once_a_second() {
        let mut view = View::new(7);
        let hop = NextHop { link: LinkNo(0), addr: ip("192.0.2.9") };
        let asked = [0, 500, 1000, 1999, 2000].map(|ms| view.ask(hop, Duration::from_millis(10_000 + ms)));
        assert_eq!(asked, [true, false, true, false, true]);
    }
}
