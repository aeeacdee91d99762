//! Two applications on one engine: what comes from the wire, goes to it, and crosses; each with the whole change of counters.
mod captured;
mod filtered;

use std::{collections::BTreeMap, sync::Arc};

use abi::{
    rxmeta::flag,
    shm::{
        desc::{Form, RxDesc, TxDesc},
        layout::{DownChannel, Shape, SlotSize, Slots, UpChannel},
        memory::{Memory as _, Writable as _},
        ring::{Consumer, Producer},
    },
};
use multistack::{
    books::NO_TUPLE,
    channel::counter_of,
    neighbour::{Facts, Link, LinkNo, Local, Neighbour, Network, Route, Upkeep, Via},
    policy::{Credentials, Kernel},
    prefix::Prefix,
    registry::{IcmpErrors, Lease, Name, OnCrash, Open, Reserve, Want},
    tuple::{Address, Proto},
};
use wire::ethernet::Mac;

use super::*;
use crate::{
    books::Books,
    capture::Off,
    clock::Nanos,
    engine::{Limits, RunToCompletion},
    engines::{EngineId, Row},
    filter::Filters,
    fixture::{CALLER, HOST, HOST6, Host, Packet, config},
    port::{
        PortId,
        memory::{FarEnd, MemoryPort, Options, memory_port},
    },
    region::Direction,
    role::{Command, Role},
    stage::stack_program,
    tables::{Published, Tables},
};

const PORT: PortId = PortId::new(4);
const SLOTS: u32 = 64;
const CALLER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

/// The application's end of a channel.
struct App {
    session: SessionId,
    down: Region,
    up: Region,
    down_at: DownChannel,
    up_at: UpChannel,
    rx: Consumer,
    tx: Producer,
}

impl App {
    fn receive(&mut self) -> Vec<(RxDesc, Vec<u8>)> {
        let waiting = self.rx.look(&self.down, self.down_at.rx_prod()).expect("an honest daemon");
        let packets = (0..waiting).map(|ahead| {
            let slot = self.rx.peek(ahead);
            let at = self.down_at.descriptor(slot);
            let desc = RxDesc::from_words([self.down.load_u64(at), self.down.load_u64(at + 8)]);
            let mut bytes = vec![0; desc.len as usize];
            self.down.copy_out(self.down_at.buffer(slot), &mut bytes);
            (desc, bytes)
        });
        let packets = packets.collect();
        self.rx.take(waiting);
        let _ = self.rx.publish(&self.up, self.up_at.rx_cons());
        packets
    }

    fn submit(&mut self, packet: &[u8]) {
        self.submit_as(Form::L3, packet);
    }

    fn submit_as(&mut self, form: Form, packet: &[u8]) {
        self.tx.look(&self.down, self.down_at.tx_cons()).expect("an honest daemon");
        let slot = self.tx.take().expect("room");
        self.up.copy_in(self.up_at.buffer(slot), packet);
        let at = self.up_at.descriptor(slot);
        let [first, second] = TxDesc::new(packet.len() as u32, form).words();
        self.up.store_u64(at, first);
        self.up.store_u64(at + 8, second);
        let _ = self.tx.publish(&self.up, self.up_at.tx_prod());
    }
}

fn kernel() -> Kernel {
    Kernel { unprivileged_port_start: 1024, ephemeral: 32_768..=60_999, protocols: vec![Proto::Udp] }
}

struct Rig {
    engine: RunToCompletion<MemoryPort>,
    far: FarEnd,
    published: Published,
    host: Host,
    filters: Filters,
    now: u64,
}

impl Rig {
    fn new() -> Self {
        Self::with(Options::new(PORT))
    }

    fn with(options: Options) -> Self {
        let published = Published::new(Tables::default()).expect("small");
        let program = stack_program().expect("a descriptor");
        let mut engine = RunToCompletion::new(program, &published, Limits::default());
        let (port, far) = memory_port(options).expect("small");
        engine.attach(port);
        Self { engine, far, published, host: Host::new(), filters: Filters::default(), now: 0 }
    }

    /// An application with UDP ports of its own.
    fn app(&mut self, ports: &[u16]) -> App {
        self.app_of(Form::L3, ports)
    }

    fn app_of(&mut self, form: Form, ports: &[u16]) -> App {
        let nothing = |_: &_| Ok::<(), std::convert::Infallible>(());
        let slots = Slots::new(SLOTS).expect("a power of two");
        let shape = Shape::new(1, slots, slots, SlotSize::new(2048).expect("a slot")).expect("small");
        let caller = Credentials { uid: 0, gids: vec![], pid: 1 };
        let (name, lease) = (Name::new("test").expect("a name"), Lease::new(7));
        let open = Open { caller, name, shape, form, lease };
        let session = self.host.registry.open(open).expect("room").carry_out(nothing).expect("cannot fail");
        for &port in ports {
            let want = Want {
                proto: Proto::Udp,
                addr: Address::Any,
                port,
                reserve: Reserve::Daemon,
                on_crash: OnCrash::Drop,
                icmp: IcmpErrors::Kept,
            };
            let change = self.host.registry.register(session, &want, &kernel(), 0).expect("free");
            change.carry_out(nothing).expect("cannot fail");
        }
        let (down, _) = Region::create(Direction::Down, shape.down_size()).expect("memory");
        let (up, _) = Region::create(Direction::Up, shape.up_size()).expect("memory");
        let channel = Channel::new(down.clone(), up.clone(), &shape, 0).expect("the shape fits");
        let (bell, _theirs) = Doorbell::pair().expect("descriptors");
        let sender = Sender { session, form, mtu: 1500 };
        let opened = StackChannel { session, channel, bell, sender, weight: Weight::ONE };
        let (answer, opening) = std::sync::mpsc::channel();
        Role::obey(&mut self.engine, Command::Open(Box::new(opened), answer), &mut Off);
        opening.recv().expect("an answer").expect("a free seat");
        self.publish();
        let (down_at, up_at) = (shape.down(0).expect("channel 0"), shape.up(0).expect("channel 0"));
        App { session, down, up, down_at, up_at, rx: Consumer::new(slots, 0), tx: Producer::new(slots, 0) }
    }

    fn publish(&self) {
        let facts = Facts {
            links: [&[][..], &[5]].map(|vlan| Link { config: config(vlan), mtu: 1500 }).into(),
            locals: vec![(HOST.into(), Local::On(LinkNo(0))), (HOST6.into(), Local::On(LinkNo(1)))],
            routes: vec![Route::new(LinkNo(0), Prefix::new(HOST.into(), 24).expect("a prefix"), Via::OnLink)],
            neighbours: vec![Neighbour {
                link: LinkNo(0),
                addr: CALLER.into(),
                mac: Mac(CALLER_MAC),
                upkeep: Upkeep::Kept,
            }],
            ..Facts::default()
        };
        let (mirror, filters) = (self.host.mirror(), self.filters.clone());
        let mut tables = Tables { mirror, filters, ..Tables::default() };
        tables.ports.set(PORT, config(&[]));
        tables.network = Arc::new(Network::new(&facts, 1).expect("few"));
        self.published.publish(tables).expect("small");
    }

    /// A round; the counters that it moved.
    fn turn(&mut self) -> BTreeMap<&'static str, u64> {
        let before = self.row();
        self.now += 1;
        self.engine.turn(Nanos::new(self.now));
        let after = self.row();
        let moved = before.counters().zip(after.counters());
        let moved = moved.map(|((c, old), (_, new))| (c.desc().name, new - old)).filter(|&(_, n)| n != 0);
        self.balance();
        moved.collect()
    }

    fn row(&self) -> Row {
        let counters = self.engine.ledger().port(PORT).expect("in range");
        let values = std::array::from_fn(|i| counters.get(Counter::ALL[i]));
        Row { engine: EngineId::new(0), port: PORT, values }
    }

    /// The books balance, and no chunk is missing.
    fn balance(&self) {
        let mut books = Books::default();
        books.add_engines(&[self.row()]);
        let balance = books.close();
        assert_eq!(balance.unaccounted(), 0, "{balance:?}");
        for report in self.engine.reports() {
            assert_eq!((report.census.missing(), report.census.out), (0, 0), "{report:?}");
        }
    }

    fn events(&mut self) -> Vec<StackEvent> {
        let mut events = Vec::new();
        Role::stack_events(&mut self.engine, &mut |event| events.push(event));
        events
    }
}

/// A datagram from a port of the host, as an application writes it.
fn datagram(from: u16, to: (std::net::IpAddr, u16)) -> Vec<u8> {
    Packet { src: (HOST.into(), from), dst: to, ..Packet::to(0) }.frame()[14..].to_vec()
}

#[test]
fn a_packet_for_a_session_lies_in_its_ring() {
    let mut rig = Rig::new();
    let (mut one, mut two) = (rig.app(&[5000, 5001]), rig.app(&[6000]));
    let frames = [5001, 6000, 5000].map(|port| Packet::to(port).frame());
    // With XDP's metadata and without.
    for (nth, frame) in frames.iter().enumerate() {
        let meta = (nth != 1).then(|| rig.host.meta(frame));
        rig.far.inject(frame, meta.as_ref()).expect("room");
    }
    let moved = [("delivered", 3), ("rx", 3), ("rx_from_meta", 2), ("rx_reparsed", 1)];
    assert_eq!(rig.turn(), BTreeMap::from(moved));
    let got: Vec<_> =
        one.receive().into_iter().map(|(desc, bytes)| (desc.tuple, desc.l3_off, bytes)).collect();
    assert_eq!(got, [(1, 14, frames[0].clone()), (0, 14, frames[2].clone())]);
    let got: Vec<_> =
        two.receive().into_iter().map(|(desc, bytes)| (desc.tuple, desc.l4_off, bytes)).collect();
    assert_eq!(got, [(0, 34, frames[1].clone())]);
}

#[test]
fn what_a_session_sends_gets_its_ethernet_header_and_leaves() {
    let mut rig = Rig::new();
    let mut app = rig.app(&[5000]);
    let packet = datagram(5000, (CALLER.into(), 4000));
    app.submit(&packet);
    assert_eq!(rig.turn(), BTreeMap::from([("submitted", 1), ("transmitted", 1)]));
    let mut sent = Vec::new();
    rig.far.collect(8, |frame| sent.push(frame.to_vec()));
    let header = [&CALLER_MAC[..], &config(&[]).mac, &[8, 0]].concat();
    assert_eq!(sent, [[header, packet].concat()]);
    rig.turn();
}

#[test]
fn a_foreign_source_and_an_unknown_neighbour_are_dropped_by_name() {
    let mut rig = Rig::new();
    let (mut one, _two) = (rig.app(&[5000]), rig.app(&[6000]));
    one.submit(&datagram(6000, (CALLER.into(), 4000)));
    assert_eq!(rig.turn(), BTreeMap::from([("submitted", 1), ("tx_not_owner", 1)]));
    let stranger = std::net::Ipv4Addr::new(192, 0, 2, 200).into();
    one.submit(&datagram(5000, (stranger, 4000)));
    one.submit(&datagram(5000, (stranger, 4000)));
    assert_eq!(rig.turn(), BTreeMap::from([("submitted", 2), ("tx_no_neighbour", 2)]));
    let hop = NextHop { link: LinkNo(0), addr: stranger };
    assert_eq!(rig.events(), [StackEvent::Unresolved(hop)], "asked once a second");
    assert_eq!(rig.far.collect(8, |_| {}), 0);
}

#[test]
fn sessions_reach_each_other_and_themselves() {
    let mut rig = Rig::new();
    let (mut one, mut two) = (rig.app(&[5000]), rig.app(&[6000]));
    one.submit(&datagram(5000, (HOST.into(), 6000)));
    one.submit(&datagram(5000, (HOST.into(), 5000)));
    one.submit(&datagram(5000, (HOST.into(), 22)));
    assert_eq!(rig.turn(), BTreeMap::from([("delivered", 2), ("submitted", 3), ("tx_local_os", 1)]));
    for app in [&mut one, &mut two] {
        let got: Vec<_> = app.receive().into_iter().map(|(desc, _)| (desc.tuple, desc.flags)).collect();
        assert_eq!(got, [(0, rx_flag::HAIRPIN)]);
    }
}

#[test]
fn f09_a_session_that_reads_nothing_loses_its_own_packets_alone() {
    let mut rig = Rig::new();
    let (mut idle, mut busy) = (rig.app(&[5000]), rig.app(&[6000]));
    let frames = [5000, 6000].map(|port| Packet::to(port).frame());
    let metas = frames.each_ref().map(|frame| rig.host.meta(frame));
    let mut full = 0;
    for _ in 0..2 * SLOTS {
        for (frame, meta) in frames.iter().zip(&metas) {
            rig.far.inject(frame, Some(meta)).expect("room");
        }
        full += rig.turn().get("rx_ring_full").copied().unwrap_or(0);
        assert_eq!(busy.receive().len(), 1);
    }
    assert_eq!(full, u64::from(SLOTS));
    assert_eq!(idle.receive().len(), SLOTS as usize);
}

#[test]
fn what_comes_for_a_session_that_was_closed_is_stale() {
    let mut rig = Rig::new();
    let app = rig.app(&[5000]);
    let frame = Packet::to(5000).frame();
    let meta = rig.host.meta(&frame);
    let (answer, closed) = std::sync::mpsc::channel();
    Role::obey(&mut rig.engine, Command::Shut(app.session, answer.clone()), &mut Off);
    Role::obey(&mut rig.engine, Command::Shut(app.session, answer), &mut Off);
    assert_eq!(closed.try_iter().collect::<Vec<_>>(), [true, false]);
    rig.far.inject(&frame, Some(&meta)).expect("room");
    assert_eq!(rig.turn(), BTreeMap::from([("rx", 1), ("rx_from_meta", 1), ("rx_stale", 1)]));
}

#[test]
fn h02_an_index_that_cannot_be_ends_the_session_and_nobody_else() {
    let mut rig = Rig::new();
    let (bad, mut good) = (rig.app(&[5000]), rig.app(&[6000]));
    bad.up.store_u32(bad.up_at.tx_prod(), SLOTS + 1, std::sync::atomic::Ordering::Release);
    good.submit(&datagram(6000, (CALLER.into(), 4000)));
    assert_eq!(rig.turn(), BTreeMap::from([("submitted", 1), ("transmitted", 1)]));
    assert_eq!(rig.events(), [StackEvent::Violation(bad.session)]);
    rig.far.collect(8, |_| {});
    good.submit(&datagram(6000, (CALLER.into(), 4000)));
    assert_eq!(rig.turn(), BTreeMap::from([("submitted", 1), ("transmitted", 1)]));
    assert_eq!(rig.events(), [], "said once, however often it is found");
    rig.far.collect(8, |_| {});
    rig.turn();
}

#[test]
fn a_packet_without_a_frame_stays_in_its_ring() {
    let mut rig = Rig::new();
    let mut app = rig.app(&[5000]);
    let packet = datagram(5000, (CALLER.into(), 4000));
    for _ in 0..SLOTS {
        app.submit(&packet);
    }
    let mut sent = 0;
    // The far end's ring is smaller than what is submitted over all rounds: what it does not take waits, and nothing is
    // lost.
    for _ in 0..SLOTS {
        let moved = rig.turn();
        assert!(!moved.keys().any(|name| name.starts_with("tx_")), "{moved:?}");
        sent += rig.far.collect(4, |_| {});
    }
    sent += rig.far.collect(usize::MAX, |_| {});
    assert_eq!(sent, SLOTS as usize);
    rig.turn();
}

#[test]
fn a_sleeping_engine_is_rung_and_a_late_packet_keeps_it_awake() {
    let mut rig = Rig::new();
    let mut app = rig.app(&[5000]);
    assert!(!Role::arm(&mut rig.engine), "nothing waits");
    let flags = app.down.load_u32(app.down_at.tx_flags(), std::sync::atomic::Ordering::Acquire);
    assert_eq!(flags, abi::shm::ring::tx_flags::NEED_WAKEUP);
    Role::disarm(&mut rig.engine);
    app.submit(&datagram(5000, (CALLER.into(), 4000)));
    assert!(Role::arm(&mut rig.engine), "a packet waits");
    let flags = app.down.load_u32(app.down_at.tx_flags(), std::sync::atomic::Ordering::Acquire);
    assert_eq!(flags, 0, "nobody is left to believe that the engine sleeps");
    assert_eq!(rig.turn(), BTreeMap::from([("submitted", 1), ("transmitted", 1)]));
    rig.far.collect(8, |_| {});
    rig.turn();
}

/// What an application must not send: how it differs from what it may, and the counter that this moves.
#[test]
fn each_refusal_moves_its_own_counter_and_no_other() {
    let mut rig = Rig::new();
    let mut app = rig.app_of(Form::L2, &[5000]);
    let good = datagram(5000, (CALLER.into(), 4000));
    let changed = |at: usize, byte: u8| {
        let mut packet = good.clone();
        packet[at] = byte;
        packet
    };
    let mut v6 = Packet::to(5000).v6().frame()[14..].to_vec();
    // Hop-by-hop options come next.
    v6[6] = 0;
    let to = |dst: [u8; 4]| datagram(5000, (std::net::Ipv4Addr::from(dst).into(), 4000));
    let normal = [
        (good[..19].to_vec(), "tx_desc"),
        (changed(0, 0x55), "tx_malformed"),
        (changed(6, 0x20), "tx_fragment"),
        (v6, "tx_ext_header"),
        (changed(9, 1), "tx_protocol"),
        (to([127, 0, 0, 1]), "tx_destination"),
        (to([203, 0, 113, 1]), "tx_no_route"),
    ];
    for (packet, counter) in normal {
        app.submit(&packet);
        assert_eq!(rig.turn(), BTreeMap::from([("submitted", 1), (counter, 1)]));
    }
    let frame = |src: [u8; 6], rest: &[u8]| [&CALLER_MAC[..], &src, rest].concat();
    let tagged = [&[0x81, 0, 0, 9, 8, 0][..], &good].concat();
    let ethernet = [
        (frame([2, 0, 0, 0, 0, 9], &[&[8, 0][..], &good].concat()), "tx_mac"),
        (frame(config(&[]).mac, &tagged), "tx_vlan"),
    ];
    for (packet, counter) in ethernet {
        app.submit_as(Form::L2, &packet);
        assert_eq!(rig.turn(), BTreeMap::from([("submitted", 1), (counter, 1)]));
    }
    app.submit_as(Form::L2, &frame(config(&[]).mac, &[&[8, 0][..], &good].concat()));
    assert_eq!(rig.turn(), BTreeMap::from([("submitted", 1), ("transmitted", 1)]));
    rig.far.collect(8, |_| {});
    rig.turn();
}

#[test]
fn a_packet_longer_than_a_slot_is_not_cut() {
    let geometry = crate::frame::Geometry { chunk: 4096, frames: 512 };
    let mut rig = Rig::with(Options { geometry, ..Options::new(PORT) });
    let mut app = rig.app(&[5000]);
    let frame = Packet { payload: vec![7; 3000], ..Packet::to(5000) }.frame();
    let meta = rig.host.meta(&frame);
    rig.far.inject(&frame, Some(&meta)).expect("room");
    assert_eq!(rig.turn(), BTreeMap::from([("rx", 1), ("rx_from_meta", 1), ("rx_too_long", 1)]));
    assert_eq!(app.receive(), []);
}

#[test]
fn a_drop_has_the_same_name_for_the_application_and_the_engine() {
    use abi::{counter::Role, shm::counter::ChannelCounter};
    for &reason in ChannelCounter::ALL {
        let drops = reason.role() == Role::Dropped && reason.name().starts_with("tx_");
        let named = super::originate::dropped(reason).map(|counter| counter.desc().name);
        assert_eq!(named, drops.then(|| reason.name()));
    }
}

#[test]
fn full_loops_write_the_books_now_and_then_and_any_other_at_once() {
    let mut rig = Rig::new();
    let mut app = rig.app(&[5000]);
    let frame = Packet::to(5000).frame();
    let meta = rig.host.meta(&frame);
    let shown = |app: &App| counter_of(&app.down, &app.down_at, ChannelCounter::RxDelivered);
    let full = |rig: &mut Rig, app: &mut App| {
        (0..FULL).for_each(|_| rig.far.inject(&frame, Some(&meta)).expect("room"));
        assert_eq!(rig.turn()["delivered"], FULL as u64);
        assert_eq!(app.receive().len(), FULL);
    };
    full(&mut rig, &mut app);
    assert_eq!(shown(&app), 0, "there is no time");
    rig.turn();
    assert_eq!(shown(&app), FULL as u64, "nothing came");
    (1..ENTER_EVERY).for_each(|_| full(&mut rig, &mut app));
    assert_eq!(shown(&app), FULL as u64);
    full(&mut rig, &mut app);
    let all = FULL as u64 * u64::from(1 + ENTER_EVERY);
    assert_eq!(shown(&app), all, "it is time");
    full(&mut rig, &mut app);
    drop(rig);
    assert_eq!(shown(&app), all + FULL as u64, "the engine stopped");
}

/// A full burst, shared by these ports.
fn burst(rig: &mut Rig, ports: &[u16]) {
    for nth in 0..64 {
        rig.far.inject(&Packet::to(ports[nth % ports.len()]).frame(), None).expect("room");
    }
}

#[test]
fn full_loops_show_packets_a_few_loops_later_and_a_loop_with_time_shows_all() {
    let mut rig = Rig::new();
    let ports: Vec<u16> = (5000..5064).collect();
    let mut apps: Vec<_> = ports.iter().map(|&port| rig.app(&[port])).collect();
    for loops in 1..=SHOW_EVERY {
        burst(&mut rig, &ports);
        rig.turn();
        let seen = if loops == SHOW_EVERY { SHOW_EVERY as usize } else { 0 };
        assert!(apps.iter_mut().all(|app| app.receive().len() == seen), "after {loops} full loops");
    }
    burst(&mut rig, &ports);
    rig.turn();
    rig.far.inject(&Packet::to(5000).frame(), None).expect("room");
    rig.turn();
    assert_eq!(apps[0].receive().len(), 2);
    assert!(apps[1..].iter_mut().all(|app| app.receive().len() == 1));
    // An empty loop is one with time.
    burst(&mut rig, &ports);
    rig.turn();
    rig.turn();
    assert!(apps.iter_mut().all(|app| app.receive().len() == 1));
}

#[test]
fn a_ring_that_fills_is_shown_at_once() {
    let mut rig = Rig::new();
    let (mut one, mut other) = (rig.app(&[5000]), rig.app(&[5001]));
    // A quarter of a ring for one of them.
    let mut ports = vec![5000; SLOTS as usize / 4];
    ports.resize(64, 9);
    ports[63] = 5001;
    burst(&mut rig, &ports);
    rig.turn();
    assert_eq!((one.receive().len(), other.receive().len()), (SLOTS as usize / 4, 1));
}

/// An IPv4 frame as a fragment with this field (RFC 791, section 3.1), its header repaired.
fn fragment(mut frame: Vec<u8>, field: u16) -> Vec<u8> {
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame[24..26].fill(0);
    let sum = wire::checksum::Sum::of(&frame[14..34]).complement();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn a_later_fragment_is_of_the_tuple_that_its_first_named_as_long_as_that_is_owned() {
    let mut rig = Rig::new();
    let mut app = rig.app(&[5000, 5001]);
    let session = app.session;
    let first = fragment(Packet::to(5001).frame(), 0x2000);
    let first_meta = rig.host.meta(&first);
    let later = fragment(Packet::to(5001).frame(), 0x0003);
    // As XDP makes it of what its map knows.
    let later_meta = RxMeta { flags: flag::FRAG_LATER, l4_off: 0, ..first_meta };
    let mut told = |rig: &mut Rig, frame: &[u8], meta: &RxMeta| {
        rig.far.inject(frame, Some(meta)).expect("room");
        rig.turn();
        app.receive().into_iter().map(|(desc, _)| desc.tuple).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut rig, &later, &later_meta), [NO_TUPLE], "its first was never here");
    assert_eq!(told(&mut rig, &first, &first_meta), [1]);
    assert_eq!(told(&mut rig, &later, &later_meta), [1]);
    // Of another datagram nothing is known.
    let mut other = later.clone();
    other[19] ^= 1;
    assert_eq!(told(&mut rig, &fragment(other, 0x0003), &later_meta), [NO_TUPLE]);
    let nothing = |_: &_| Ok::<(), std::convert::Infallible>(());
    rig.host.registry.release(session, 1).expect("its own").carry_out(nothing).expect("cannot fail");
    rig.publish();
    assert_eq!(told(&mut rig, &later, &later_meta), [], "nothing of a tuple after its release");
}
