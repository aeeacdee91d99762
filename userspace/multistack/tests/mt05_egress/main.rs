//! Egress: every row of the rules with its counter and no other, and random packets against a slow checker.
//!
//! The slow checker parses with etherparse, keeps owners in a plain map and looks routes up by scanning a list; it
//! knows the rules of `multistack::egress` and nothing of how they are carried out.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
#[path = "../../../../tests/src/corpus/rng.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses its part of a shared file")]
mod rng;
#[path = "../../../../tests/src/scale.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses its part of a shared file")]
mod scale;
mod slow;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use abi::port::PortConfig;
use abi::rxmeta::RxMeta;
use abi::shm::counter::ChannelCounter::{self, *};
use abi::shm::desc::{Form, TxDesc as Desc};
use abi::shm::layout::{Shape, SlotSize, Slots};
use etherparse::{EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice};
use multistack::books::Book;
use multistack::egress::{Admitted, Flows, ROOM, Sender, Verdict, World, admit, check};
use multistack::mirror::Owned;
use multistack::neighbour::{Facts, Link, LinkNo, Local, Neighbour, Network, NextHop, Route, Upkeep, Via};
use multistack::policy::{Credentials, Kernel};
use multistack::registry::{
    Builtin, IcmpErrors, Lease, Limits, Name, OnCrash, Open, Registration, Registry, Reserve, SessionId, Want,
};
use multistack::steer::{Outcome, steer};
use multistack::tuple::{Address, Proto, Tuple};
use rng::Rng;
use scale::Seed;
use slow::{Slow, random, slow};
use wire::ethernet::Mac;

const OUR_MACS: [[u8; 6]; 3] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]];
const ROUTER: [u8; 6] = [2, 0, 0, 0, 1, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 1, 2];
const TAGS: [&[u16]; 3] = [&[], &[7], &[100, 200]];
const MTU: u16 = 1500;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Three interfaces, of which one is plain, one tagged once and one twice; each with a subnet of both families.
fn facts() -> Facts {
    let mut facts = Facts::default();
    for (n, (mac, tags)) in OUR_MACS.iter().zip(TAGS).enumerate() {
        let mut config = PortConfig { mac: *mac, tags: tags.len() as u8, ..PortConfig::default() };
        config.vlan[..tags.len()].copy_from_slice(tags);
        // The third carries less than the session was told.
        facts.links.push(Link { config, mtu: if n == 2 { 1400 } else { MTU } });
        let (link, net) = (LinkNo(n as u16), n + 1);
        let local = |addr: String, local| (ip(&addr), local);
        facts.locals.extend([
            local(format!("10.0.{net}.1"), Local::On(link)),
            local(format!("10.0.{net}.255"), Local::Broadcast),
            local(format!("2001:db8:{net}::1"), Local::On(link)),
        ]);
        let route = |dst: String, via| Route::new(link, dst.parse().unwrap(), via);
        facts.routes.extend([
            route(format!("10.0.{net}.0/24"), Via::OnLink),
            route(format!("2001:db8:{net}::/64"), Via::OnLink),
            route("198.51.100.0/24".into(), Via::Gateway(ip(&format!("10.0.{net}.254")))),
            route("198.51.100.128/25".into(), Via::Nowhere),
            route("2001:db8:f::/48".into(), Via::Gateway(ip("fe80::1"))),
            route("203.0.113.0/24".into(), Via::Gateway(ip(&format!("10.0.{net}.253")))),
        ]);
        let neighbour =
            |addr: String, mac: [u8; 6], upkeep| Neighbour { link, addr: ip(&addr), mac: Mac(mac), upkeep };
        facts.neighbours.extend([
            neighbour(format!("10.0.{net}.254"), ROUTER, Upkeep::Kept),
            neighbour("fe80::1".into(), ROUTER, Upkeep::Ageing),
            neighbour(format!("10.0.{net}.2"), PEER, Upkeep::Kept),
            neighbour(format!("2001:db8:{net}::2"), PEER, Upkeep::Kept),
        ]);
    }
    facts.locals.push((ip("172.16.0.1"), Local::Elsewhere));
    facts
}

/// A host with two applications and an echo, and who owns what in a plain map.
struct Host {
    registry: Registry,
    facts: Facts,
    network: Network,
    /// A worker's memory of the flows that the applications sent.
    flows: RefCell<Flows>,
    owners: BTreeMap<(IpAddr, u16, u8), Option<Owned>>,
    apps: [SessionId; 2],
}

const MINE: u16 = 5000;
const THEIRS: u16 = 6000;
const ECHO: u16 = 7;

impl Host {
    fn new() -> Self {
        let facts = facts();
        let network = Network::new(&facts, 3).unwrap();
        let on_served = |(addr, local): &(IpAddr, Local)| matches!(local, Local::On(_)).then_some(*addr);
        let addresses: Vec<IpAddr> = facts.locals.iter().filter_map(on_served).collect();
        let mut registry = Registry::new(Limits::default()).seeded(5);
        let done = |_: &_| Ok::<(), std::fmt::Error>(());
        registry.set_addresses(&addresses).unwrap().carry_out(done).unwrap();
        let mut owners = BTreeMap::new();
        let slots = Slots::default();
        let shape = Shape::new(1, slots, slots, SlotSize::new(2048).unwrap()).unwrap();
        let caller = Credentials { uid: 0, gids: vec![], pid: 1 };
        let apps = [MINE, THEIRS].map(|port| {
            let open = Open {
                caller: caller.clone(),
                name: Name::new("app").unwrap(),
                shape,
                form: Form::L2,
                lease: Lease::new(u128::from(port)),
            };
            let id = registry.open(open).unwrap().carry_out(done).unwrap();
            for proto in [Proto::Udp, Proto::Tcp] {
                let want = Want {
                    proto,
                    addr: Address::Any,
                    port,
                    reserve: Reserve::Daemon,
                    on_crash: OnCrash::Drop,
                    icmp: IcmpErrors::Kept,
                };
                let kernel = Kernel {
                    unprivileged_port_start: 1024,
                    ephemeral: 32_768..=60_999,
                    protocols: Proto::ALL.to_vec(),
                };
                let change = registry.register(id, &want, &kernel, 0).unwrap();
                let tuple = change.carry_out(done).unwrap().number;
                for &addr in &addresses {
                    owners.insert((addr, port, proto.number()), Some(Owned { session: id, tuple }));
                }
            }
            id
        });
        let tuple = Tuple::new(Proto::Udp, Address::Any, ECHO).unwrap();
        let echo = Registration { tuple, builtin: Builtin::Echo, on_crash: OnCrash::Drop };
        registry.add(echo).unwrap().carry_out(done).unwrap();
        owners.extend(addresses.iter().map(|&addr| ((addr, ECHO, 17), None)));
        Self { registry, facts, network, flows: RefCell::default(), owners, apps }
    }

    fn sender(&self) -> Sender {
        Sender { session: self.apps[0], form: Form::L2, mtu: MTU }
    }

    /// Has an application send `bytes`, as a worker would: descriptor, copy, check.
    fn send(&self, bytes: &[u8], desc: Desc, sender: &Sender) -> (Verdict, Vec<u8>) {
        let admitted = match admit(&desc, sender, &self.network) {
            Ok(admitted) => admitted,
            Err(counter) => return (Verdict::Drop(counter.into()), Vec::new()),
        };
        assert_eq!(admitted, Admitted { form: desc.form().unwrap(), len: bytes.len() });
        let mut buffer = vec![0xee; admitted.room()];
        buffer.extend_from_slice(bytes);
        let world = World { mirror: self.registry.mirror(), network: &self.network };
        let (mut again, mut once_more) = (buffer.clone(), buffer.clone());
        let verdict = check(&mut buffer, admitted.form, sender, world);
        let frame = frame(&verdict, &buffer);
        // A worker that may know the flow, and one that does if it can be known, say and write the same.
        for buffer in [&mut again, &mut once_more] {
            let remembered = self.flows.borrow_mut().check(1, buffer, admitted.form, sender, world);
            assert_eq!((&remembered, self::frame(&remembered, buffer)), (&verdict, frame.clone()));
        }
        (verdict, frame)
    }
}

/// The frame that leaves, or crosses.
fn frame(verdict: &Verdict, buffer: &[u8]) -> Vec<u8> {
    match verdict {
        Verdict::Send(sent) => buffer[sent.start..sent.end].to_vec(),
        Verdict::Hairpin(hairpin) => buffer[hairpin.start..hairpin.end].to_vec(),
        Verdict::Drop(_) => Vec::new(),
    }
}

/// A packet to be made. What is wrong with it is written into its bytes.
#[derive(Clone, Debug)]
struct Packet {
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    proto: u8,
    payload: usize,
}

impl Packet {
    fn from_mine(dst: &str) -> Self {
        let src = if dst.contains(':') { "2001:db8:1::1" } else { "10.0.1.1" };
        Self { src: (ip(src), MINE), dst: (ip(dst), 9), proto: 17, payload: 20 }
    }

    fn at_port(self, port: u16) -> Self {
        Self { dst: (self.dst.0, port), ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut segment = vec![0; 8 + self.payload];
        segment[..2].copy_from_slice(&self.src.1.to_be_bytes());
        segment[2..4].copy_from_slice(&self.dst.1.to_be_bytes());
        segment[4..6].copy_from_slice(&(8 + self.payload as u16).to_be_bytes());
        let mut packet = match (self.src.0, self.dst.0) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, self.proto, 0, 0];
                ip.extend(src.octets());
                ip.extend(dst.octets());
                let total = (20 + segment.len()) as u16;
                ip[2..4].copy_from_slice(&total.to_be_bytes());
                ip
            }
            (src, dst) => {
                let v6 = |addr| match addr {
                    IpAddr::V4(addr) => addr.to_ipv6_mapped(),
                    IpAddr::V6(addr) => addr,
                };
                let mut ip = vec![0x60, 0, 0, 0, 0, 0, self.proto, 64];
                ip.extend(v6(src).octets());
                ip.extend(v6(dst).octets());
                ip[4..6].copy_from_slice(&(segment.len() as u16).to_be_bytes());
                ip
            }
        };
        packet.append(&mut segment);
        packet
    }
}

/// A frame around a packet, with tags.
fn framed(src: [u8; 6], dst: [u8; 6], tags: &[u16], packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 6 { 0x86dd_u16 } else { 0x0800 };
    let mut frame = [dst, src].concat();
    for tci in tags {
        frame.extend(0x8100_u16.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

fn desc(bytes: &[u8], form: Form) -> Desc {
    Desc::new(bytes.len() as u32, form)
}

/// Sends a packet and requires that exactly `counter` moves, for the tuple too where that must be known.
#[track_caller]
fn counts(bytes: &[u8], form: Form, counter: ChannelCounter) -> Verdict {
    counts_desc(bytes, desc(bytes, form), counter)
}

#[track_caller]
fn counts_desc(bytes: &[u8], desc: Desc, counter: ChannelCounter) -> Verdict {
    let host = Host::new();
    let (verdict, _) = host.send(bytes, desc, &host.sender());
    let (counted, tuple) = outcome(&verdict);
    let mut book = Book::default();
    count_read(&mut book, counted);
    for (row, value) in book.rows() {
        assert_eq!(value, u64::from(row == counter || row == TxRead), "{}: {verdict:?}", row.name());
    }
    book.balance().unwrap();
    let known = matches!(counter, TxSent | TxHairpin | TxDestination | TxLocalOs | TxNoRoute | TxNoNeighbour);
    assert!(!known || tuple == Some(0), "{verdict:?}");
    verdict
}

fn count_read(book: &mut Book, counter: ChannelCounter) {
    book.count(TxRead);
    book.count(counter);
}

fn outcome(verdict: &Verdict) -> (ChannelCounter, Option<u16>) {
    match verdict {
        Verdict::Send(sent) => (TxSent, Some(sent.tuple)),
        Verdict::Hairpin(hairpin) => (TxHairpin, Some(hairpin.tuple)),
        Verdict::Drop(refused) => (refused.counter, refused.tuple),
    }
}

fn edited(mut bytes: Vec<u8>, edits: &[(usize, u8)]) -> Vec<u8> {
    edits.iter().for_each(|&(at, byte)| bytes[at] = byte);
    bytes
}

const OUT: &str = "198.51.100.1";
const OUT6: &str = "2001:db8:f::1";

fn v4() -> Vec<u8> {
    Packet::from_mine(OUT).bytes()
}

fn v6() -> Vec<u8> {
    Packet::from_mine(OUT6).bytes()
}

#[test]
fn mt05_row_1_a_descriptor_is_judged_before_the_copy() {
    let bytes = v4();
    for wrong in [
        Desc { zero: 1, ..desc(&bytes, Form::L3) },
        Desc { zero_too: 1, ..desc(&bytes, Form::L3) },
        Desc { flags: 2, ..desc(&bytes, Form::L3) },
        Desc { len: 19, ..desc(&bytes, Form::L3) },
        Desc { len: 0, ..desc(&bytes, Form::L3) },
        Desc { len: 1501, ..desc(&bytes, Form::L3) },
        Desc { len: u32::MAX, ..desc(&bytes, Form::L3) },
        Desc { len: 33, ..desc(&bytes, Form::L2) },
        Desc { len: 1500 + 14 + 8 + 1, ..desc(&bytes, Form::L2) },
    ] {
        counts_desc(&bytes, wrong, TxDesc);
    }
    let longest = Packet { payload: 1500 - 28, ..Packet::from_mine(OUT) }.bytes();
    counts(&longest, Form::L3, TxSent);
    counts(&[0x45; 20], Form::L3, TxMalformed);
}

#[test]
fn mt05_row_1_only_a_session_that_may_brings_ethernet_headers() {
    let host = Host::new();
    let frame = framed(OUR_MACS[0], PEER, &[], &v4());
    let plain = Sender { form: Form::L3, ..host.sender() };
    assert_eq!(outcome(&host.send(&frame, desc(&frame, Form::L2), &plain).0), (TxDesc, None));
    assert_eq!(outcome(&host.send(&v4(), desc(&v4(), Form::L3), &plain).0), (TxSent, Some(0)));
}

#[test]
fn mt05_row_2_addresses_of_a_frame() {
    let frame = |src, dst| framed(src, dst, &[], &v4());
    let multicast = [1, 0, 0x5e, 0, 0, 1];
    for (src, dst) in [
        (PEER, ROUTER),
        ([0; 6], ROUTER),
        (OUR_MACS[0], [0; 6]),
        (OUR_MACS[0], [0xff; 6]),
        (OUR_MACS[0], multicast),
        (OUR_MACS[0], OUR_MACS[0]),
        (OUR_MACS[0], OUR_MACS[1]),
    ] {
        counts(&frame(src, dst), Form::L2, TxMac);
    }
    counts(&frame(OUR_MACS[0], ROUTER), Form::L2, TxSent);
}

#[test]
fn mt05_row_3_tags_of_a_frame() {
    let from = |net: usize, tags: &[u16]| {
        let packet = Packet { src: (ip(&format!("10.0.{net}.1")), MINE), ..Packet::from_mine(OUT) };
        framed(OUR_MACS[net - 1], ROUTER, tags, &packet.bytes())
    };
    counts(&from(1, &[]), Form::L2, TxSent);
    counts(&from(2, &[7]), Form::L2, TxSent);
    counts(&from(2, &[0xf007]), Form::L2, TxSent);
    counts(&from(3, &[100, 200]), Form::L2, TxSent);
    for (net, tags) in [
        (1, &[7][..]),
        (1, &[0]),
        (2, &[]),
        (2, &[8]),
        (2, &[7, 7]),
        (2, &[0, 7]),
        (3, &[100]),
        (3, &[200, 100]),
        (3, &[100, 200, 300]),
    ] {
        counts(&from(net, tags), Form::L2, TxVlan);
    }
    for ethertype in [[0x08, 0x06], [0x86, 0xdd], [0x81, 0x00]] {
        let frame = edited(from(1, &[]), &[(12, ethertype[0]), (13, ethertype[1])]);
        counts(&frame, Form::L2, TxVlan);
    }
    counts(&edited(framed(OUR_MACS[0], ROUTER, &[], &v6()), &[(14, 0x40)]), Form::L2, TxVlan);
}

#[test]
fn mt05_row_4_lengths_and_lifetimes() {
    for edits in [
        [(0, 0x05), (1, 0)],
        [(0, 0x75), (1, 0)],
        [(0, 0x44), (1, 0)],
        [(0, 0x4f), (1, 0)],
        [(2, 0), (3, 27)],
        [(2, 0), (3, 49)],
        [(2, 0xff), (3, 0xff)],
        [(8, 0), (1, 0)],
    ] {
        counts(&edited(v4(), &edits), Form::L3, TxMalformed);
    }
    for edits in [[(4, 0), (5, 7)], [(4, 0), (5, 0)], [(4, 0), (5, 29)], [(7, 0), (0, 0x60)]] {
        counts(&edited(v6(), &edits), Form::L3, TxMalformed);
    }
    counts(&v6()[..39], Form::L3, TxMalformed);
    // Eight bytes of transport are enough.
    counts(&edited(v4(), &[(3, 28)]), Form::L3, TxSent);
    counts(&edited(v6(), &[(5, 8)]), Form::L3, TxSent);
}

#[test]
fn mt05_row_4_what_follows_the_packet_is_cut_off() {
    let host = Host::new();
    for bytes in [v4(), v6()] {
        let mut longer = bytes.clone();
        longer.extend([0xaa; 9]);
        let (_, frame) = host.send(&longer, desc(&longer, Form::L3), &host.sender());
        assert_eq!(frame[14..], bytes);
        let framed = framed(OUR_MACS[0], ROUTER, &[], &longer);
        let (_, frame) = host.send(&framed, desc(&framed, Form::L2), &host.sender());
        assert_eq!(frame[14..], bytes);
    }
}

#[test]
fn mt05_row_5_fragments_and_extension_headers() {
    for edits in [[(6, 0x20), (7, 0)], [(6, 0), (7, 1)], [(6, 0x1f), (7, 0xff)]] {
        counts(&edited(v4(), &edits), Form::L3, TxFragment);
    }
    counts(&edited(v4(), &[(6, 0x40)]), Form::L3, TxSent);
    counts(&edited(v6(), &[(6, 44)]), Form::L3, TxFragment);
    for next in [0, 43, 50, 51, 60, 135, 139, 140, 253, 254] {
        counts(&edited(v6(), &[(6, next)]), Form::L3, TxExtHeader);
    }
}

#[test]
fn mt05_row_6_only_protocols_with_ports() {
    for proto in [0, 1, 2, 4, 41, 44, 47, 50, 51, 58, 59, 60, 255] {
        counts(&edited(v4(), &[(9, proto)]), Form::L3, TxProtocol);
    }
    for proto in [1, 2, 4, 41, 58, 59, 255] {
        counts(&edited(v6(), &[(6, proto)]), Form::L3, TxProtocol);
    }
}

#[test]
fn mt05_row_7_every_spoofed_source_is_refused() {
    let mine = || Packet::from_mine(OUT);
    let from = |addr: &str, port| Packet { src: (ip(addr), port), ..mine() };
    for spoofed in [
        from("10.0.1.1", THEIRS),
        from("10.0.1.1", MINE + 1),
        from("10.0.1.1", 0),
        from("10.0.1.1", ECHO),
        from("10.0.1.2", MINE),
        from("127.0.0.1", MINE),
        from("0.0.0.0", MINE),
        from("172.16.0.1", MINE),
        Packet { proto: 132, ..mine() },
    ] {
        counts(&spoofed.bytes(), Form::L3, TxNotOwner);
        counts(&framed(OUR_MACS[0], ROUTER, &[], &spoofed.bytes()), Form::L2, TxNotOwner);
    }
    let mapped = Packet { src: (ip("::ffff:10.0.1.1"), MINE), ..Packet::from_mine(OUT6) };
    counts(&mapped.bytes(), Form::L3, TxNotOwner);
    let host = Host::new();
    let later = SessionId { generation: host.apps[0].generation + 1, ..host.apps[0] };
    let sender = Sender { session: later, ..host.sender() };
    let (verdict, _) = host.send(&v4(), desc(&v4(), Form::L3), &sender);
    assert_eq!(outcome(&verdict), (TxNotOwner, None), "a successor of the slot");
}

#[test]
fn mt05_row_7a_a_frame_leaves_by_the_interface_of_its_source() {
    let packet = Packet { src: (ip("10.0.2.1"), MINE), ..Packet::from_mine(OUT) }.bytes();
    counts(&framed(OUR_MACS[0], ROUTER, &[], &packet), Form::L2, TxMac);
    let long = Packet { src: (ip("10.0.3.1"), MINE), payload: 1401 - 28, ..Packet::from_mine(OUT) };
    counts(&long.bytes(), Form::L3, TxDesc);
    counts(&Packet { payload: 1400 - 28, ..long }.bytes(), Form::L3, TxSent);
}

#[test]
fn mt05_row_8_destinations_that_are_nobodys() {
    for dst in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "10.0.1.255",
        "10.0.2.255",
        "::",
        "::1",
        "ff02::1",
    ] {
        counts(&Packet::from_mine(dst).bytes(), Form::L3, TxDestination);
    }
    let mapped = Packet { dst: (ip("::ffff:198.51.100.1"), 9), ..Packet::from_mine(OUT6) };
    counts(&mapped.bytes(), Form::L3, TxDestination);
}

#[test]
fn mt05_row_9_local_destinations_are_applications_or_refused() {
    let host = Host::new();
    for (dst, to) in
        [("10.0.1.1", THEIRS), ("10.0.2.1", THEIRS), ("10.0.1.1", MINE), ("2001:db8:3::1", THEIRS)]
    {
        let bytes = Packet::from_mine(dst).at_port(to).bytes();
        let Verdict::Hairpin(hairpin) = counts(&bytes, Form::L3, TxHairpin) else { panic!() };
        let session = if to == MINE { host.apps[0] } else { host.apps[1] };
        assert_eq!(hairpin.to, Owned { session, tuple: 0 });
    }
    for dst in ["10.0.1.1", "10.0.3.1", "172.16.0.1", "2001:db8:1::1"] {
        counts(&Packet::from_mine(dst).at_port(80).bytes(), Form::L3, TxLocalOs);
    }
    counts(&Packet::from_mine("10.0.1.1").at_port(ECHO).bytes(), Form::L3, TxLocalOs);
}

#[test]
fn mt05_row_9_a_hairpin_is_what_xdp_would_have_steered() {
    let host = Host::new();
    for (net, link) in host.facts.links.iter().enumerate() {
        let net = net + 1;
        for (addr, dst) in [
            (format!("10.0.{net}.1"), format!("10.0.{net}.1")),
            (format!("2001:db8:{net}::1"), format!("2001:db8:{net}::1")),
        ] {
            let packet = Packet { src: (ip(&addr), MINE), ..Packet::from_mine(&dst).at_port(THEIRS) };
            let bytes = packet.bytes();
            let options = [&[0x46, 0, 0, 52][..], &bytes[4..20], &[1, 1, 1, 0], &bytes[20..]].concat();
            let l2 = framed(link.config.mac, PEER, TAGS[net - 1], &bytes);
            let mut sent = vec![(bytes, Form::L3), (l2, Form::L2)];
            sent.extend(dst.contains('.').then_some((options, Form::L3)));
            for (bytes, form) in sent {
                let (verdict, frame) = host.send(&bytes, desc(&bytes, form), &host.sender());
                let Verdict::Hairpin(hairpin) = verdict else { panic!("{verdict:?}") };
                assert_eq!(frame[..12], [link.config.mac, link.config.mac].concat());
                let Outcome::Redirect { meta, target } = steer_as_xdp(&frame, &link.config, &host.registry)
                else {
                    panic!("not steered: {frame:x?}")
                };
                assert_eq!(Owned::by(&target), Some(hairpin.to));
                assert_eq!(RxMeta { magic: meta.magic, ..hairpin.meta }, meta);
                assert_eq!(host.registry.mirror().session_of(&hairpin.meta), Some(host.apps[1]));
            }
        }
    }
}

fn steer_as_xdp(frame: &[u8], config: &PortConfig, registry: &Registry) -> Outcome {
    steer(frame, config, &**registry.mirror())
}

#[test]
fn mt05_row_10_routes_and_next_hops() {
    counts(&Packet::from_mine("198.51.100.200").bytes(), Form::L3, TxNoRoute);
    counts(&Packet::from_mine("192.0.2.1").bytes(), Form::L3, TxNoRoute);
    counts(&Packet::from_mine("10.0.2.2").bytes(), Form::L3, TxNoRoute);
    let hop = |addr: &str| Some(NextHop { link: LinkNo(0), addr: ip(addr) });
    for (dst, next) in
        [("203.0.113.9", "10.0.1.253"), ("10.0.1.9", "10.0.1.9"), ("2001:db8:1::9", "2001:db8:1::9")]
    {
        let verdict = counts(&Packet::from_mine(dst).bytes(), Form::L3, TxNoNeighbour);
        let Verdict::Drop(refused) = verdict else { panic!() };
        assert_eq!(refused.unresolved, hop(next));
    }
    let Verdict::Send(sent) = counts(&v6(), Form::L3, TxSent) else { panic!() };
    assert_eq!(sent.ageing, hop("fe80::1"), "good to use, and to be asked for");
    let Verdict::Send(sent) = counts(&v4(), Form::L3, TxSent) else { panic!() };
    assert_eq!(sent.ageing, None);
}

#[test]
fn mt05_row_10_the_ethernet_header_is_written() {
    let host = Host::new();
    let heads = ["", "8100 0007", "88a8 0064 8100 00c8"].map(|head| {
        let digits: Vec<u8> = head.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    });
    for (n, head) in heads.iter().enumerate() {
        let tags: &Vec<u8> = head;
        for (src, dst, ethertype) in [
            (format!("10.0.{}.1", n + 1), OUT, [0x08, 0x00]),
            (format!("2001:db8:{}::1", n + 1), OUT6, [0x86, 0xdd]),
        ] {
            let packet = Packet { src: (ip(&src), MINE), ..Packet::from_mine(dst) }.bytes();
            let (verdict, frame) = host.send(&packet, desc(&packet, Form::L3), &host.sender());
            let Verdict::Send(sent) = verdict else { panic!("{verdict:?}") };
            assert_eq!(sent.link, LinkNo(n as u16));
            assert_eq!(sent.start, ROOM - 14 - tags.len());
            let expected = [&ROUTER[..], &OUR_MACS[n], tags, &ethertype, &packet].concat();
            assert_eq!(frame, expected);
        }
    }
}

#[test]
fn mt05_random_packets_get_what_the_slow_checker_says() {
    let (host, seed) = (Host::new(), Seed::get());
    let mut rng = Rng::new(seed);
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut book = Book::default();
    for n in 0..scale::MT05_PACKETS.count() {
        let (bytes, form) = random(&mut rng);
        let expected = slow(&host, &bytes, form);
        let (verdict, frame) = host.send(&bytes, desc(&bytes, form), &host.sender());
        let (counter, _) = outcome(&verdict);
        let (link, mac) = match &verdict {
            Verdict::Send(sent) => (Some(usize::from(sent.link.0)), frame[..6].try_into().ok()),
            Verdict::Hairpin(_) | Verdict::Drop(_) => (None, None),
        };
        assert_eq!(Slow { counter, link, mac }, expected, "{seed}, packet {n}, {form:?}: {bytes:02x?}");
        count_read(&mut book, counter);
        *seen.entry(counter.name()).or_default() += 1;
    }
    book.balance().unwrap();
    // Random input that never meets a rule has tested nothing of it.
    assert_eq!(seen.len(), 14, "{seen:?}");
    assert!(seen.values().all(|&n| 20 <= n), "{seen:?}");
}
