//! What captures see of an engine with builtin targets: every point, every tuple, and what does not fit.
use std::{net::IpAddr, sync::Arc};

use abi::{
    capture::{Counts, MIN_RING, RingAt, Shape, ring::Reader},
    rxmeta::flag as meta_flag,
    steer::{Target, builtin, kind},
};

use super::{filter::Points, filter::Wanted, *};
use crate::{
    engine::{Limits, RunToCompletion},
    engines::{EngineId, Engines},
    fixture::{CALLER, ECHO, HOST, Host, Packet, SINK, config},
    port::memory::{FarEnd, MemoryPort, Options, memory_port},
    region::Direction,
    spec::{EngineSpec, Idle, Layout},
    stage::builtin_program,
    tables::{Published, Tables},
};

pub(crate) const UDP: u8 = 17;
const PORT: PortId = PortId::new(3);

/// The end of a program that captures.
pub(crate) struct View {
    down: Region,
    up: Region,
    at: RingAt,
    reader: Reader,
}

/// A record, told apart, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) record: Record,
    pub(crate) bytes: Vec<u8>,
}

impl View {
    /// A capture with a ring of its own, and who reads it.
    pub(crate) fn open(id: u32, filter: Filter) -> (EngineTap, Self) {
        let shape = Shape::new(1, MIN_RING).expect("a shape");
        let (down, _) = Region::create(Direction::Down, shape.down_size()).expect("memory");
        let (up, _) = Region::create(Direction::Up, shape.up_size()).expect("memory");
        let at = shape.ring(0).expect("the only one");
        let ring = Writer::new(down.clone(), up.clone(), at);
        let tap = EngineTap::new(CaptureId::new(id), filter, ring);
        (tap, Self { down, up, at, reader: Reader::new(at) })
    }

    pub(crate) fn read(&mut self) -> Vec<Shown> {
        let mut all = Vec::new();
        while let Some(record) = self.reader.peek(&self.down).expect("sense") {
            let mut bytes = vec![0; usize::from(record.captured)];
            self.reader.take(&self.down, &record, &mut bytes);
            all.push(Shown { record, bytes });
        }
        self.reader.publish(&self.up);
        all
    }

    pub(crate) fn counts(&self, point: Point) -> Counts {
        self.at.read_counts(&self.down, Line::of(point, 0))
    }
}

/// Everything at these points.
pub(crate) fn all_at(points: &[Point]) -> Filter {
    let points = points.iter().fold(Points::default(), |points, &point| points.and(point));
    Filter { points, wanted: Vec::new(), only: None, snaplen: u16::MAX }
}

/// What people would read of a record: point, reason, whether it went out, bytes.
pub(crate) fn told(shown: &Shown) -> (Point, Option<&'static str>, bool, &[u8]) {
    let point = Point::from_number(shown.record.point).expect("a point");
    let reason = (point == Point::Drop).then(|| Counter::ALL[usize::from(shown.record.reason)].desc().name);
    (point, reason, shown.record.flags & flag::OUTBOUND != 0, &shown.bytes)
}

struct Rig {
    engine: RunToCompletion<MemoryPort>,
    far: FarEnd,
    host: Host,
    taps: Taps,
    _published: Published,
}

fn tables(host: &Host) -> Tables {
    let mut tables = Tables { mirror: host.mirror(), ..Tables::default() };
    tables.ports.set(PORT, config(&[]));
    tables.ports.on_link(PORT, LinkNo(2));
    tables
}

impl Rig {
    fn new(limits: Limits, options: Options) -> Self {
        let host = Host::new();
        let published = Published::new(tables(&host)).expect("small");
        let mut engine = RunToCompletion::new(builtin_program(), &published, limits);
        let (port, far) = memory_port(options).expect("small");
        engine.attach(port);
        let taps = engine.taps();
        Self { engine, far, host, taps, _published: published }
    }

    fn plain() -> Self {
        Self::new(Limits::default(), Options::new(PORT))
    }

    fn capture(&mut self, filter: Filter) -> View {
        let (tap, view) = View::open(1, filter);
        self.taps.add(tap);
        view
    }

    fn inject(&mut self, packet: &Packet) -> Vec<u8> {
        let frame = packet.frame();
        self.far.inject(&frame, Some(&self.host.meta(&frame))).expect("room");
        frame
    }

    fn turn(&mut self, now: u64) {
        self.engine.turn_seen(Nanos::new(now), &mut self.taps);
    }

    fn counter(&self, counter: Counter) -> u64 {
        self.engine.ledger().port(PORT).expect("in range").get(counter)
    }
}

#[test]
fn every_point_of_a_packets_way_is_seen() {
    let mut rig = Rig::plain();
    let mut view = rig.capture(all_at(&Point::ALL));
    let refused = Packet { src: (CALLER.into(), 0), ..Packet::to(ECHO) };
    let [sunk, echoed, turned] = [&Packet::to(SINK), &Packet::to(ECHO), &refused].map(|p| rig.inject(p));
    rig.turn(77);
    let mut answer = Vec::new();
    rig.far.collect(8, |frame| answer = frame.to_vec());
    let shown = view.read();
    let told: Vec<_> = shown.iter().map(told).collect();
    assert_eq!(
        told,
        [
            (Point::Rx, None, false, &sunk[..]),
            (Point::Rx, None, false, &echoed[..]),
            (Point::Rx, None, false, &turned[..]),
            (Point::Tx, None, true, &answer[..]),
            (Point::Drop, Some("echo_refused"), false, &turned[..]),
        ]
    );
    for Shown { record, bytes } in &shown {
        assert_eq!((record.time_ns, record.port, record.link), (77, 3, 2));
        assert_eq!(usize::from(record.len), bytes.len());
    }
    let whose = |at: usize| (shown[at].record.kind, shown[at].record.id, shown[at].record.class);
    assert_eq!(whose(0), (kind::BUILTIN, builtin::SINK, CLASS_NONE));
    assert_eq!(whose(1), (kind::BUILTIN, builtin::ECHO, CLASS_NONE));
    assert_eq!(view.counts(Point::Rx), Counts::default(), "they are of another interface");
    let counts = |point| view.at.read_counts(&view.down, Line::of(point, 2));
    assert_eq!(Point::ALL.map(|point| counts(point).taken), [3, 1, 1]);
    assert_eq!(rig.counter(Counter::CaptureLost), 0);
}

#[test]
fn only_the_wanted_tuples_are_seen() {
    let wanted = |addr: Option<IpAddr>, port| Wanted::new(UDP, addr, port, None);
    for (tuples, expected) in [
        (vec![wanted(Some(HOST.into()), SINK)], vec![SINK]),
        (vec![wanted(None, ECHO)], vec![ECHO, ECHO]),
        (vec![wanted(None, SINK), wanted(Some(HOST.into()), ECHO)], vec![SINK, ECHO]),
        (vec![wanted(Some(CALLER.into()), SINK), Wanted::new(6, None, SINK, None)], vec![]),
    ] {
        let mut rig = Rig::plain();
        let mut view = rig.capture(Filter { wanted: tuples, ..all_at(&[Point::Rx, Point::Tx]) });
        for packet in [Packet::to(SINK), Packet::to(ECHO), Packet::to(ECHO).v6()] {
            rig.inject(&packet);
        }
        rig.turn(1);
        let ports: Vec<_> = view.read().iter().map(|shown| (shown.record.point, port_of(shown))).collect();
        // An answer has the tuple at its source.
        let came = expected.iter().map(|&port| (Point::Rx as u8, port));
        let left = expected.iter().filter(|&&port| port == ECHO).map(|&port| (Point::Tx as u8, port));
        assert_eq!(ports, came.chain(left).collect::<Vec<_>>());
    }
}

fn port_of(Shown { record, bytes }: &Shown) -> u16 {
    let side = if record.flags & flag::OUTBOUND == 0 { Side::Destination } else { Side::Source };
    u16::from_be_bytes(ends::of_frame(bytes, side).expect("a tuple").port)
}

#[test]
fn packets_without_ports_follow_the_owner_of_the_tuple() {
    let mut rig = Rig::plain();
    let mut later = Packet::to(SINK).frame();
    later[21] = 8;
    let target = rig.host.meta(&Packet::to(SINK).frame());
    let meta = RxMeta { flags: meta_flag::FRAG_LATER, l4_off: 0, ..target };
    let owner = Target { kind: meta.kind, flags: 0, id: meta.id, generation: meta.generation, aux: 0 };
    let wants =
        |target| Filter { wanted: vec![Wanted::new(UDP, None, SINK, target)], ..all_at(&[Point::Rx]) };
    let mut owners = rig.capture(wants(Some(owner)));
    let mut others = rig.capture(wants(Some(Target { generation: owner.generation + 1, ..owner })));
    let mut nobodys = rig.capture(wants(None));
    rig.far.inject(&later, Some(&meta)).expect("room");
    rig.turn(1);
    assert_eq!(owners.read().len(), 1);
    assert_eq!((others.read().len(), nobodys.read().len()), (0, 0));
}

#[test]
fn a_packet_without_metadata_is_shown_as_steering_finds_it() {
    let mut rig = Rig::plain();
    let mut view = rig.capture(all_at(&[Point::Rx, Point::Drop]));
    let (echo, nobodys) = (Packet::to(ECHO).frame(), Packet::to(99).frame());
    [&echo, &nobodys].iter().for_each(|frame| rig.far.inject(frame, None).expect("room"));
    rig.turn(1);
    let shown = view.read();
    let whose = |at: usize| (shown[at].record.kind, shown[at].record.flags & flag::UNCLAIMED);
    assert_eq!(whose(0), (kind::BUILTIN, 0));
    assert_eq!(whose(1), (0, flag::UNCLAIMED));
    assert_eq!(told(&shown[2]), (Point::Drop, Some("rx_unclaimed"), false, &nobodys[..]));
}

#[test]
fn what_a_full_port_drops_is_on_its_way_out() {
    let limits = Limits { backlog_frames: 1, ..Limits::default() };
    let mut rig = Rig::new(limits, Options { ring_slots: 2, ..Options::new(PORT) });
    let mut view = rig.capture(all_at(&[Point::Tx, Point::Drop]));
    for id in 0..2 {
        rig.inject(&Packet { src: (CALLER.into(), 4000 + id), ..Packet::to(ECHO) });
    }
    rig.turn(1);
    for id in 2..4 {
        rig.inject(&Packet { src: (CALLER.into(), 4000 + id), ..Packet::to(ECHO) });
    }
    rig.turn(2);
    let dropped = rig.counter(Counter::TxRingFull);
    assert_eq!(dropped, 1, "two in the ring, one waits");
    // The one that waited is seen when it leaves, and not before.
    assert_eq!(view.counts(Point::Tx), Counts::default());
    let told_of =
        |shown: &[Shown]| shown.iter().map(|s| (told(s).0, told(s).1, told(s).2)).collect::<Vec<_>>();
    let out = (Point::Tx, None, true);
    let full = (Point::Drop, Some("tx_ring_full"), true);
    assert_eq!(told_of(&view.read()), [out, out, full]);
    rig.far.collect(8, |_| {});
    rig.turn(3);
    assert_eq!(told_of(&view.read()), [out]);
    assert_eq!(rig.counter(Counter::Transmitted), 3);
}

#[test]
fn packets_are_cut_and_say_how_long_they_were() {
    let mut rig = Rig::plain();
    let mut view = rig.capture(Filter { snaplen: 34, ..all_at(&[Point::Rx]) });
    let frame = rig.inject(&Packet::to(SINK));
    rig.turn(1);
    let shown = view.read();
    assert_eq!(shown[0].bytes, frame[..34]);
    assert_eq!((usize::from(shown[0].record.len), shown[0].record.captured), (frame.len(), 34));
}

#[test]
fn f20_a_reader_that_stops_loses_what_it_does_not_take_and_nobody_else_anything() {
    let mut rig = Rig::plain();
    let (mut slow, mut other) = (rig.capture(all_at(&[Point::Rx])), rig.capture(all_at(&[Point::Rx])));
    let long = Packet { payload: vec![7; 1400], ..Packet::to(SINK) };
    const COUNT: u64 = 1000;
    let mut seen = 0;
    for now in 0..COUNT {
        rig.inject(&long);
        rig.turn(now);
        seen += other.read().len() as u64;
    }
    assert_eq!((seen, rig.counter(Counter::Delivered)), (COUNT, COUNT));
    let Counts { taken, lost } = slow.at.read_counts(&slow.down, Line::of(Point::Rx, 2));
    assert_eq!(taken + lost, COUNT);
    assert!(100 < lost && 100 < taken, "{taken} + {lost}");
    assert_eq!(rig.counter(Counter::CaptureLost), lost);
    assert_eq!(slow.read().len() as u64, taken);
    // It goes on once there is room again.
    rig.inject(&long);
    rig.turn(COUNT);
    assert_eq!(slow.read().len(), 1);
}

#[test]
fn captures_begin_and_end_on_a_running_engine() {
    for (layout, cores) in [(Layout::RunToCompletion, 1), (Layout::Pipeline, 3)] {
        let host = Host::new();
        let published = Arc::new(Published::new(tables(&host)).expect("small"));
        let clock = Arc::new(crate::clock::Monotonic::start());
        let spec = EngineSpec { layout, idle: Idle::Adaptive, ..EngineSpec::on_cores(vec![0; cores]) };
        let programs = |_: EngineId| builtin_program();
        let mut engines: Engines<MemoryPort> =
            Engines::start(&spec, published, clock, &programs).expect("a core");
        let (port, mut far) = memory_port(Options::new(PORT)).expect("small");
        engines.attach(port).expect("a free engine");
        let sunk = |far: &mut FarEnd, count: u64| {
            let frame = Packet::to(SINK).frame();
            let before = delivered(&engines);
            far.inject(&frame, Some(&host.meta(&frame))).expect("room");
            while delivered(&engines) < before + count {
                std::thread::yield_now();
            }
        };
        sunk(&mut far, 1);
        let (tap, mut view) = View::open(1, all_at(&[Point::Rx]));
        engines.begin_capture(EngineId::new(0), tap).expect("it answers");
        sunk(&mut far, 1);
        sunk(&mut far, 1);
        engines.end_capture(CaptureId::new(1)).expect("all answer");
        sunk(&mut far, 1);
        assert_eq!(view.read().len(), 2, "{layout:?}");
        engines.stop();
    }
}

fn delivered(engines: &Engines<MemoryPort>) -> u64 {
    let value = |row: &crate::engines::Row| row.values[Counter::Delivered as usize];
    engines.rows().iter().map(value).sum()
}

#[test]
fn nobody_captures_at_no_cost() {
    assert_eq!((size_of::<Off>(), Off::ON), (0, false));
}
