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

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn route(dst: &str, via: Via) -> Route {
    Route::new(LINK, prefix(dst), via)
}

fn neighbour(addr: &str, n: u8) -> Neighbour {
    Neighbour { link: LINK, addr: ip(addr), mac: mac(n), upkeep: Upkeep::Kept }
}

/// Two interfaces, each with two addresses of either family.
fn facts(routes: Vec<Route>, neighbours: Vec<Neighbour>) -> Facts {
    let links = vec![link(1, &[]), link(2, &[])];
    let own = |n: u16| {
        (1..=2).flat_map(move |host| [v4(n, host), v6(n, host)]).map(move |a| (a, Local::On(LinkNo(n))))
    };
    Facts { links, locals: (0..2).flat_map(own).collect(), routes, neighbours, ..Facts::default() }
}

fn v4(link: u16, host: u8) -> IpAddr {
    IpAddr::from([172, 16, link as u8, host])
}

fn v6(link: u16, host: u8) -> IpAddr {
    IpAddr::from([0x2001, 0xdb9, link, 0, 0, 0, 0, host.into()])
}

fn network(routes: Vec<Route>, neighbours: Vec<Neighbour>) -> Network {
    Network::new(&facts(routes, neighbours), 1).unwrap()
}

/// The next hop from the interface's first address of the destination's family.
fn hop(network: &Network, link: LinkNo, dst: &str) -> Result<Reach, Miss> {
    let dst = ip(dst);
    let from = if dst.is_ipv4() { v4(link.0, 1) } else { v6(link.0, 1) };
    network.next_hop(network.source(from).unwrap(), dst)
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
    let hop = |dst| super::tests::hop(&network, LINK, dst);
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
    assert_eq!(super::tests::hop(&network, LinkNo(1), "192.0.2.7"), Err(Miss::NoRoute));
    assert_eq!(network.source(ip("192.0.2.7")), None, "nobody's here");
}

#[test]
fn of_equal_prefixes_the_smallest_metric_counts() {
    let by = |gateway, metric| Route { metric, ..route("0.0.0.0/0", Via::Gateway(ip(gateway))) };
    let known = vec![neighbour("192.0.2.1", 1), neighbour("192.0.2.2", 2)];
    for routes in [[by("192.0.2.1", 100), by("192.0.2.2", 5)], [by("192.0.2.2", 5), by("192.0.2.1", 100)]] {
        assert_eq!(hop(&network(routes.to_vec(), known.clone()), LINK, "203.0.113.1"), reach(2));
    }
}

#[test]
fn mt05_a_rule_for_a_source_leads_its_packets_through_another_table() {
    let other = TableNo(100);
    let routes = vec![
        route("0.0.0.0/0", Via::Gateway(ip("192.0.2.1"))),
        route("192.0.2.0/24", Via::OnLink),
        Route { table: other, ..route("0.0.0.0/0", Via::Gateway(ip("192.0.2.2"))) },
        Route { table: other, ..route("203.0.113.0/24", Via::Throw) },
        Route { table: other, ..route("198.51.100.0/24", Via::Nowhere) },
    ];
    let known = vec![neighbour("192.0.2.1", 1), neighbour("192.0.2.2", 2)];
    let from = |host, action| Rule { from: Some(Prefix::host(v4(0, host))), action, ..Rule::look(other) };
    let look = Rule::look(other).action;
    let to = Rule { to: Some(prefix("8.8.4.0/24")), action: Action::Nowhere, ..Rule::look(other) };
    let v4_rules = vec![to, from(2, look), Rule::look(TableNo::MAIN)];
    let rules = Rules { v4: v4_rules, ..Rules::default() };
    let network = Network::new(&Facts { rules, ..facts(routes, known) }, 1).unwrap();
    let hop = |host, dst| network.next_hop(network.source(v4(0, host)).unwrap(), ip(dst));
    for (dst, first, second) in [
        ("8.8.8.8", reach(1), reach(2)),
        ("8.8.4.4", Err(Miss::NoRoute), Err(Miss::NoRoute)),
        ("203.0.113.9", reach(1), reach(1)),
        ("198.51.100.9", reach(1), Err(Miss::NoRoute)),
        ("192.0.2.9", unresolved("192.0.2.9"), reach(2)),
    ] {
        assert_eq!((hop(1, dst), hop(2, dst)), (first, second), "{dst}");
    }
}

#[test]
fn mt05_a_default_route_that_is_suppressed_leaves_the_others() {
    // As WireGuard's scripts write it: everything by a tunnel, but for what main knows better than by default.
    let routes = vec![
        route("0.0.0.0/0", Via::Gateway(ip("192.0.2.1"))),
        route("192.0.2.0/24", Via::OnLink),
        Route { table: TableNo(51820), ..route("0.0.0.0/0", Via::OnLink) },
    ];
    let main = Action::Look { table: TableNo::MAIN, longer_than: Some(0) };
    let v4 = vec![
        Rule { action: main, ..Rule::look(TableNo::MAIN) },
        Rule { sense: Sense::Others, link: Some(LinkNo(1)), ..Rule::look(TableNo(51820)) },
        Rule::look(TableNo::MAIN),
    ];
    let rules = Rules { v4, ..Rules::default() };
    let known = vec![neighbour("192.0.2.1", 1), neighbour("203.0.113.9", 3), neighbour("192.0.2.9", 9)];
    let network = Network::new(&Facts { rules, ..facts(routes, known) }, 1).unwrap();
    assert_eq!(hop(&network, LINK, "192.0.2.9"), reach(9));
    assert_eq!(hop(&network, LINK, "203.0.113.9"), reach(3));
}

#[test]
fn addresses_of_which_the_same_is_said_share_their_ways() {
    let network = network(vec![route("0.0.0.0/0", Via::OnLink)], vec![]);
    assert_eq!(network.ways.len(), 4, "two interfaces, two families");
    let sources = [v4(0, 1), v4(0, 2), v6(0, 1)].map(|addr| network.source(addr).unwrap());
    assert_eq!(sources[0], sources[1]);
    assert_ne!(sources[0], sources[2]);
}

#[test]
fn an_ageing_neighbour_is_used_and_asked_for() {
    let known = vec![Neighbour { upkeep: Upkeep::Ageing, ..neighbour("192.0.2.7", 7) }];
    let network = network(vec![route("192.0.2.0/24", Via::OnLink)], known);
    let ageing = Some(NextHop { link: LINK, addr: ip("192.0.2.7") });
    assert_eq!(hop(&network, LINK, "192.0.2.7"), Ok(Reach { mac: mac(7), ageing }));
}

#[test]
fn a_neighbour_is_one_on_its_own_interface() {
    let elsewhere = Neighbour { link: LinkNo(1), ..neighbour("192.0.2.7", 7) };
    let network = network(vec![route("192.0.2.0/24", Via::OnLink)], vec![elsewhere]);
    assert_eq!(hop(&network, LINK, "192.0.2.7"), unresolved("192.0.2.7"));
}

#[test]
fn limits_are_named() {
    let facts = Facts { links: vec![link(1, &[]); MAX_LINKS + 1], ..Facts::default() };
    let refused = Network::new(&facts, 0).unwrap_err();
    assert_eq!(refused, TooMany { what: "interfaces", given: 65, limit: 64 });
    assert_eq!(refused.to_string(), "65 interfaces, the limit is 64");
    let v4 = vec![Rule::look(TableNo::MAIN); MAX_RULES];
    let facts = Facts { rules: Rules { v4, ..Rules::default() }, ..Facts::default() };
    let refused = Network::new(&facts, 0).unwrap_err();
    assert_eq!(refused, TooMany { what: "routing rules", given: 1025, limit: 1024 });
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
    let via = prop_oneof![
        3 => Just(Via::OnLink),
        1 => Just(Via::Nowhere),
        1 => Just(Via::Throw),
        4 => close().prop_map(Via::Gateway),
    ];
    let bits = prop_oneof![Just(0u8), 0..=24u8, 16..=32u8];
    let src = prop::option::weighted(0.2, (0..2u16, 1..=2u8, 30..=32u8));
    ((0..2u16, 0..3u32), close(), bits, via, 0..3u32, src).prop_map(
        |((link, table), addr, bits, via, metric, src)| {
            let scale = if addr.is_ipv4() { 1 } else { 4 };
            let src = src.map(|(link, host, bits)| {
                let own = if addr.is_ipv4() { v4(link, host) } else { v6(link, host) };
                Prefix::new(own, bits * scale).unwrap()
            });
            let dst = Prefix::new(addr, bits * scale).unwrap();
            Route { link: LinkNo(link), table: table_no(table), dst, src, via, metric }
        },
    )
}

fn table_no(n: u32) -> TableNo {
    [TableNo::MAIN, TableNo(100), TableNo(101)][n as usize]
}

/// Rules of one family.
fn any_rules(is_v4: bool) -> impl Strategy<Value = Vec<Rule>> {
    let own = (0..2u16, 1..=2u8, 29..=32u8).prop_map(move |(link, host, bits)| {
        let (addr, scale) = if is_v4 { (v4(link, host), 1) } else { (v6(link, host), 4) };
        Prefix::new(addr, bits * scale).unwrap()
    });
    let to = (close(), 16..=32u8).prop_filter_map("the family", move |(addr, bits)| {
        let scale = if is_v4 { 1 } else { 4 };
        (addr.is_ipv4() == is_v4).then(|| Prefix::new(addr, bits * scale).unwrap())
    });
    let look = (0..3u32, prop::option::weighted(0.2, 0..=20u8))
        .prop_map(|(table, longer_than)| Action::Look { table: table_no(table), longer_than });
    let action = prop_oneof![6 => look, 1 => Just(Action::Nowhere)];
    let sense = prop_oneof![4 => Just(Sense::These), 1 => Just(Sense::Others)];
    let link = prop::option::weighted(0.2, (0..2u16).prop_map(LinkNo));
    let rule = (prop::option::of(own), prop::option::weighted(0.3, to), link, sense, action)
        .prop_map(|(from, to, link, sense, action)| Rule { from, to, link, sense, action });
    prop::collection::vec(rule, 0..5)
}

/// The obviously right lookup: rule by rule, route by route.
fn scan(facts: &Facts, link: LinkNo, source: IpAddr, dst: IpAddr) -> Result<Reach, Miss> {
    for rule in if dst.is_ipv4() { &facts.rules.v4 } else { &facts.rules.v6 } {
        let is_so = rule.from.is_none_or(|from| from.contains(source))
            && rule.to.is_none_or(|to| to.contains(dst))
            && rule.link.is_none_or(|own| own == link);
        if is_so != (rule.sense == Sense::These) {
            continue;
        }
        let Action::Look { table, longer_than } = rule.action else { return Err(Miss::NoRoute) };
        let fits = |r: &&Route| {
            r.link == link
                && r.table == table
                && r.dst.contains(dst)
                && r.src.is_none_or(|src| src.contains(source))
        };
        let better =
            |r: &&Route| (r.dst.bits(), r.src.map_or(0, |src| src.bits()), std::cmp::Reverse(r.metric));
        let Some(best) = facts.routes.iter().filter(fits).max_by_key(better) else { continue };
        let addr = match best.via {
            Via::Nowhere => return Err(Miss::NoRoute),
            Via::Throw => continue,
            _ if longer_than.is_some_and(|bits| best.dst.bits() <= bits) => continue,
            Via::OnLink => dst,
            Via::Gateway(addr) => addr,
        };
        let next = NextHop { link, addr };
        let known = facts.neighbours.iter().find(|n| n.link == link && n.addr == addr);
        let known = known.ok_or(Miss::Unresolved(next))?;
        return Ok(Reach { mac: known.mac, ageing: (known.upkeep == Upkeep::Ageing).then_some(next) });
    }
    Err(Miss::NoRoute)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn mt05_flattened_ways_are_a_scan_of_rules_and_routes(
        mut routes in prop::collection::vec(any_route(), 0..24),
        rules in prop_oneof![
            1 => Just(Rules::default()),
            3 => (any_rules(true), any_rules(false)).prop_map(|(v4, v6)| Rules { v4, v6 }),
        ],
        known in prop::collection::vec((0..2u16, close(), any::<u8>(), any::<bool>()), 0..12),
        wanted in prop::collection::vec((0..2u16, 1..=2u8, close()), 32),
    ) {
        // Two of one prefix and metric say nothing of which counts.
        let place = |r: &Route| (r.link, r.table, r.dst, r.src.map_or(0, |src| src.bits()), r.metric);
        routes.sort_by_key(place);
        routes.dedup_by_key(|r| place(r));
        let neighbours = known.into_iter().map(|(link, addr, n, ageing)| Neighbour {
            link: LinkNo(link),
            addr,
            mac: mac(n),
            upkeep: if ageing { Upkeep::Ageing } else { Upkeep::Kept },
        });
        let facts = Facts { rules, ..facts(routes, neighbours.collect()) };
        let network = Network::new(&facts, 7).unwrap();
        for (link, host, dst) in wanted {
            let from = if dst.is_ipv4() { v4(link, host) } else { v6(link, host) };
            let source = network.source(from).unwrap();
            prop_assert_eq!(source.link, LinkNo(link));
            prop_assert_eq!(network.next_hop(source, dst), scan(&facts, LinkNo(link), from, dst));
        }
    }
}
