//! Next hops against a scan of all routes, and how often one is asked for.
use proptest::prelude::*;

use super::*;

const LINK: LinkNo = LinkNo(0);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn link(n: u8, vlan: &[u16]) -> Link {
    let mut config = PortConfig { mac: mac(n).0, tags: vlan.len() as u8, ..PortConfig::default() };
    config.vlan[..vlan.len()].copy_from_slice(vlan);
    Link { config, mtu: 1500 }
}

fn route(dst: &str, via: Via) -> Route {
    Route { link: LINK, dst: dst.parse().unwrap(), via, metric: 0 }
}

fn neighbour(addr: &str, n: u8) -> Neighbour {
    Neighbour { link: LINK, addr: ip(addr), mac: mac(n), upkeep: Upkeep::Kept }
}

fn network(routes: Vec<Route>, neighbours: Vec<Neighbour>) -> Network {
    let links = vec![link(1, &[]), link(2, &[])];
    Network::new(&Facts { links, routes, neighbours, ..Facts::default() }, 1).unwrap()
}

fn reach(n: u8) -> Result<Reach, Miss> {
    Ok(Reach { mac: mac(n), ageing: None })
}

fn unresolved(addr: &str) -> Result<Reach, Miss> {
    Err(Miss::Unresolved(NextHop { link: LINK, addr: ip(addr) }))
}

#[test]
fn the_longest_prefix_says_where_to() {
    let routes = vec![
        route("0.0.0.0/0", Via::Gateway(ip("192.0.2.254"))),
        route("192.0.2.0/24", Via::OnLink),
        route("198.51.100.0/24", Via::Gateway(ip("192.0.2.253"))),
        route("198.51.100.128/25", Via::Nowhere),
        route("198.51.100.129/32", Via::OnLink),
        route("::/0", Via::Gateway(ip("fe80::1"))),
    ];
    let known = vec![neighbour("192.0.2.254", 9), neighbour("192.0.2.7", 7), neighbour("fe80::1", 6)];
    let network = network(routes, known);
    let hop = |dst| network.next_hop(LINK, ip(dst));
    assert_eq!(hop("203.0.113.1"), reach(9));
    assert_eq!(hop("0.0.0.0"), reach(9));
    assert_eq!(hop("255.255.255.255"), reach(9));
    assert_eq!(hop("192.0.2.7"), reach(7));
    assert_eq!(hop("192.0.2.8"), unresolved("192.0.2.8"));
    assert_eq!(hop("198.51.100.1"), unresolved("192.0.2.253"));
    assert_eq!(hop("198.51.100.128"), Err(Miss::NoRoute));
    assert_eq!(hop("198.51.100.129"), unresolved("198.51.100.129"));
    assert_eq!(hop("198.51.100.255"), Err(Miss::NoRoute));
    assert_eq!(hop("198.51.101.0"), reach(9), "what lies around goes on");
    assert_eq!(hop("2001:db8::9"), reach(6));
    assert_eq!(hop("::ffff:192.0.2.7"), reach(6), "IPv6, whatever it looks like");
    assert_eq!(network.next_hop(LinkNo(1), ip("192.0.2.7")), Err(Miss::NoRoute));
    assert_eq!(network.next_hop(LinkNo(2), ip("192.0.2.7")), Err(Miss::NoRoute), "no such interface");
}

#[test]
fn of_equal_prefixes_the_smallest_metric_counts() {
    let by = |gateway, metric| Route { metric, ..route("0.0.0.0/0", Via::Gateway(ip(gateway))) };
    let known = vec![neighbour("192.0.2.1", 1), neighbour("192.0.2.2", 2)];
    for routes in [[by("192.0.2.1", 100), by("192.0.2.2", 5)], [by("192.0.2.2", 5), by("192.0.2.1", 100)]] {
        assert_eq!(network(routes.to_vec(), known.clone()).next_hop(LINK, ip("203.0.113.1")), reach(2));
    }
}

#[test]
fn an_ageing_neighbour_is_used_and_asked_for() {
    let known = vec![Neighbour { upkeep: Upkeep::Ageing, ..neighbour("192.0.2.7", 7) }];
    let network = network(vec![route("192.0.2.0/24", Via::OnLink)], known);
    let ageing = Some(NextHop { link: LINK, addr: ip("192.0.2.7") });
    assert_eq!(network.next_hop(LINK, ip("192.0.2.7")), Ok(Reach { mac: mac(7), ageing }));
}

#[test]
fn a_neighbour_is_one_on_its_own_interface() {
    let elsewhere = Neighbour { link: LinkNo(1), ..neighbour("192.0.2.7", 7) };
    let network = network(vec![route("192.0.2.0/24", Via::OnLink)], vec![elsewhere]);
    assert_eq!(network.next_hop(LINK, ip("192.0.2.7")), unresolved("192.0.2.7"));
}

#[test]
fn limits_are_named() {
    let facts = Facts { links: vec![link(1, &[]); MAX_LINKS + 1], ..Facts::default() };
    let refused = Network::new(&facts, 0).unwrap_err();
    assert_eq!(refused, TooMany { what: "interfaces", given: 65, limit: 64 });
    assert_eq!(refused.to_string(), "65 interfaces, the limit is 64");
}

#[test]
fn a_next_hop_is_asked_for_once_a_second() {
    let mut asked = Asked::new(2);
    let hop = |n: u8| NextHop { link: LINK, addr: IpAddr::from([192, 0, 2, n]) };
    let ms = Duration::from_millis;
    assert_eq!(asked.ask(hop(1), ms(0)), Some(hop(1)));
    assert_eq!(asked.ask(hop(1), ms(999)), None);
    assert_eq!(asked.ask(hop(2), ms(500)), Some(hop(2)));
    assert_eq!(asked.ask(hop(3), ms(999)), None, "two in a second are as many as there may be");
    assert_eq!(asked.ask(hop(3), ms(1000)), Some(hop(3)));
    assert_eq!(asked.ask(hop(2), ms(1499)), None);
    assert_eq!(asked.ask(hop(2), ms(1500)), Some(hop(2)));
    assert_eq!(asked.ask(hop(2), ms(100)), None, "a clock set back asks for nothing");
    assert_eq!(Asked::new(0).ask(hop(1), ms(0)), None);
}

/// Addresses close together, so that prefixes nest.
fn close() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..4u8, any::<u8>()).prop_map(|(c, d)| IpAddr::from([10, 0, c, d])),
        (0..4u16, any::<u16>()).prop_map(|(c, d)| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, c, d])),
        Just(ip("0.0.0.0")),
        Just(ip("255.255.255.255")),
        Just(ip("::")),
        Just(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
    ]
}

fn any_route() -> impl Strategy<Value = Route> {
    let via = prop_oneof![Just(Via::OnLink), Just(Via::Nowhere), close().prop_map(Via::Gateway)];
    (0..2u16, close(), prop_oneof![Just(0u8), 0..=24u8, 16..=32u8], via, 0..3u32).prop_map(
        |(link, addr, bits, via, metric)| {
            let bits = if addr.is_ipv4() { bits } else { bits * 4 };
            Route { link: LinkNo(link), dst: Prefix::new(addr, bits).unwrap(), via, metric }
        },
    )
}

/// The obviously right lookup.
fn scan(facts: &Facts, link: LinkNo, dst: IpAddr) -> Result<Reach, Miss> {
    let covers = |r: &&Route| r.link == link && r.dst.contains(dst);
    let best = facts.routes.iter().filter(covers);
    let best = best.max_by_key(|r| (r.dst.bits(), std::cmp::Reverse(r.metric))).ok_or(Miss::NoRoute)?;
    let addr = match best.via {
        Via::OnLink => dst,
        Via::Gateway(addr) => addr,
        Via::Nowhere => return Err(Miss::NoRoute),
    };
    let next = NextHop { link, addr };
    let known = facts.neighbours.iter().find(|n| n.link == link && n.addr == addr);
    let known = known.ok_or(Miss::Unresolved(next))?;
    Ok(Reach { mac: known.mac, ageing: (known.upkeep == Upkeep::Ageing).then_some(next) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_flattened_table_is_a_scan_of_the_routes(
        mut routes in prop::collection::vec(any_route(), 0..24),
        known in prop::collection::vec((0..2u16, close(), any::<u8>(), any::<bool>()), 0..12),
        wanted in prop::collection::vec((0..3u16, close()), 32),
    ) {
        // Two of one prefix and metric say nothing of which counts.
        routes.sort_by_key(|r| (r.link, r.dst, r.metric));
        routes.dedup_by_key(|r| (r.link, r.dst, r.metric));
        let neighbours = known.into_iter().map(|(link, addr, n, ageing)| Neighbour {
            link: LinkNo(link),
            addr,
            mac: mac(n),
            upkeep: if ageing { Upkeep::Ageing } else { Upkeep::Kept },
        });
        let facts = Facts {
            links: vec![link(1, &[]), link(2, &[])],
            routes,
            neighbours: neighbours.collect(),
            ..Facts::default()
        };
        let network = Network::new(&facts, 7).unwrap();
        for (link, dst) in wanted {
            let link = LinkNo(link);
            prop_assert_eq!(network.next_hop(link, dst), scan(&facts, link, dst));
        }
    }
}
