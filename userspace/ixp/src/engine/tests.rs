//! One packet, one outcome: a whole engine on a memory port, and the complete change of its counters.
use std::{collections::BTreeMap, time::Duration};

use abi::rxmeta::RxMeta;

use super::*;
use crate::{
    books::Books,
    engines::{EngineId, Row},
    fixture::{ECHO, Host, Packet, SINK, config},
    port::memory::{FarEnd, MemoryPort, Options, memory_port},
    stage::builtin_program,
    tables::{PortConfigs, Tables},
};

const PORT: PortId = PortId::new(4);

/// An engine with one port, and the wire at its other end.
struct Rig {
    engine: RunToCompletion<MemoryPort>,
    far: FarEnd,
    published: Published,
    host: Host,
    vlan: Vec<u16>,
}

impl Rig {
    fn new() -> Self {
        Self::with(Options::new(PORT), Limits::default())
    }

    fn with(options: Options, limits: Limits) -> Self {
        let published = Published::new(Tables::default()).expect("small");
        let mut engine = RunToCompletion::new(builtin_program(), &published, limits);
        let (port, far) = memory_port(options).expect("small");
        engine.attach(port);
        let rig = Self { engine, far, published, host: Host::new(), vlan: Vec::new() };
        rig.publish();
        rig
    }

    fn publish(&self) {
        let mut ports = PortConfigs::default();
        ports.set(PORT, config(&self.vlan));
        let tables = Tables { mirror: self.host.mirror(), ports, ..Tables::default() };
        self.published.publish(tables).expect("small");
    }

    fn row(&self) -> Row {
        let counters = self.engine.ledger().port(PORT).expect("in range");
        let values = std::array::from_fn(|i| counters.get(Counter::ALL[i]));
        Row { engine: EngineId::new(0), port: PORT, values }
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.row().counters().filter(|(_, n)| *n != 0).map(|(c, n)| (c.desc().name, n)).collect()
    }

    /// The books balance, and no chunk is missing.
    #[track_caller]
    fn balance(&self, held: usize) {
        let mut books = Books::default();
        books.add_engines(&[self.row()]);
        books.add_held(held as u64);
        let balance = books.close();
        assert_eq!(balance.unaccounted(), 0, "{balance:?}");
        for report in self.engine.reports() {
            assert_eq!((report.census.missing(), report.census.out as usize), (0, held), "{report:?}");
        }
    }

    /// Sends one frame through and checks what becomes of it, and that nothing else moves.
    #[track_caller]
    fn check(&mut self, frame: &[u8], meta: Option<&RxMeta>, moved: &[&'static str], replies: usize) {
        let before = self.row();
        self.far.inject(frame, meta).expect("room");
        self.engine.turn(Nanos::new(1));
        let after = self.row();
        let deltas =
            before.counters().zip(after.counters()).map(|((c, old), (_, new))| (c.desc().name, new - old));
        let deltas: Vec<_> = deltas.filter(|(_, n)| *n != 0).collect();
        assert_eq!(deltas, moved.iter().map(|name| (*name, 1)).collect::<Vec<_>>());
        assert_eq!(self.far.collect(64, |_| {}), replies);
        self.engine.turn(Nanos::new(2));
        self.balance(0);
    }
}

#[test]
fn metadata_is_believed() {
    let mut rig = Rig::new();
    for packet in [Packet::to(SINK), Packet::to(SINK).v6()] {
        let frame = packet.frame();
        let meta = rig.host.meta(&frame);
        rig.check(&frame, Some(&meta), &["rx", "rx_from_meta", "delivered"], 0);
    }
}

#[test]
fn an_echo_comes_back() {
    let mut rig = Rig::new();
    for packet in [Packet::to(ECHO), Packet::to(ECHO).v6()] {
        let frame = packet.frame();
        let meta = rig.host.meta(&frame);
        rig.check(&frame, Some(&meta), &["rx", "rx_from_meta", "transmitted"], 1);
    }
}

#[test]
fn without_metadata_a_packet_is_parsed_again() {
    let mut rig = Rig::new();
    rig.check(&Packet::to(SINK).frame(), None, &["rx", "rx_reparsed", "delivered"], 0);
    rig.check(&Packet::to(ECHO).v6().frame(), None, &["rx", "rx_reparsed", "transmitted"], 1);
    rig.check(&Packet::to(8).frame(), None, &["rx", "rx_reparsed", "rx_unclaimed"], 0);
    rig.check(&[0; 13], None, &["rx", "rx_reparsed", "rx_unclaimed"], 0);
}

#[test]
fn a_port_nobody_described_claims_nothing() {
    let mut rig = Rig::new();
    let tables = Tables { mirror: rig.host.mirror(), ..Tables::default() };
    rig.published.publish(tables).expect("small");
    rig.check(&Packet::to(SINK).frame(), None, &["rx", "rx_reparsed", "rx_unclaimed"], 0);
}

#[test]
fn metadata_of_another_frame_is_not_believed() {
    let mut rig = Rig::new();
    let meta = rig.host.meta(&Packet::to(ECHO).frame());
    let longer = Packet { payload: vec![1; 100], ..Packet::to(SINK) }.frame();
    rig.check(&longer, Some(&meta), &["rx", "rx_reparsed", "delivered"], 0);
}

#[test]
fn a_target_that_was_removed_is_stale() {
    let mut rig = Rig::new();
    let frame = Packet::to(ECHO).frame();
    let meta = rig.host.meta(&frame);
    rig.check(&frame, Some(&meta), &["rx", "rx_from_meta", "transmitted"], 1);
    rig.check(&frame, None, &["rx", "rx_reparsed", "transmitted"], 1);
    rig.host.remove_echo();
    rig.publish();
    rig.check(&frame, Some(&meta), &["rx", "rx_from_meta", "rx_stale"], 0);
    // The CAM knew this tuple by the old tables.
    rig.check(&frame, None, &["rx", "rx_reparsed", "rx_unclaimed"], 0);
}

#[test]
fn b09_a_damaged_ip_header_goes_to_nobody() {
    let mut rig = Rig::new();
    for bit in 0..8 {
        let mut frame = Packet::to(SINK).frame();
        let meta = rig.host.meta(&frame);
        frame[24] ^= 1 << bit;
        rig.check(&frame, Some(&meta), &["rx", "rx_from_meta", "rx_bad_ip_checksum"], 0);
        rig.check(&frame, None, &["rx", "rx_reparsed", "rx_bad_ip_checksum"], 0);
    }
}

#[test]
fn b09_a_damaged_ip_option_is_damage_too() {
    let mut rig = Rig::new();
    let plain = Packet::to(SINK).frame();
    // Four bytes of "no operation" (RFC 791 section 3.1), and the sum that goes with them.
    let mut frame = [&plain[..34], &[1; 4], &plain[34..]].concat();
    (frame[14], frame[24], frame[25]) = (0x46, 0, 0);
    frame[17] += 4;
    let sum = wire::checksum::Sum::of(&frame[14..38]).complement();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let meta = rig.host.meta(&frame);
    rig.check(&frame, Some(&meta), &["rx", "rx_from_meta", "delivered"], 0);
    frame[34] ^= 4;
    rig.check(&frame, Some(&meta), &["rx", "rx_from_meta", "rx_bad_ip_checksum"], 0);
}

/// A stage that sends everything out of one port.
struct Divert(PortId);

impl crate::program::Stage<()> for Divert {
    const FETCHES: bool = false;

    fn step(&mut self, _: &mut Frame, (): &mut (), _: &Env<'_>) -> Verdict {
        Verdict::Transmit(Out::Port(self.0))
    }
}

#[test]
fn what_waits_at_another_port_is_counted_for_its_own() {
    let mut rig = Rig::new();
    let other = PortId::new(5);
    rig.engine.program = Box::new(crate::program::Lockstep::<8, _, _>::new((Divert(other), ())));
    let frame = Packet::to(SINK).frame();
    rig.check(&frame, None, &["rx", "tx_port_gone"], 0);

    let (port, _far) = memory_port(Options { ring_slots: 2, ..Options::new(other) }).expect("small");
    rig.engine.attach(port);
    for _ in 0..5 {
        rig.far.inject(&frame, None).expect("room");
    }
    assert_eq!(rig.engine.turn(Nanos::new(1)).held, 3);
    let report = rig.engine.detach(PORT).expect("attached");
    assert_eq!(rig.counters(), BTreeMap::from([("rx", 6), ("transmitted", 2), ("tx_port_gone", 4)]));
    // Two are with the other port's wire; nobody here holds one.
    assert_eq!((report.census.missing(), report.census.out), (0, 2));
    assert_eq!(rig.engine.turn(Nanos::new(2)).held, 0);
}

#[test]
fn an_echo_of_anything_but_udp_is_refused() {
    let mut rig = Rig::new();
    let frame = Packet { proto: 6, ..Packet::to(ECHO) }.frame();
    let meta = Packet::to(ECHO).meta(multistack::registry::Builtin::Echo, rig.host.echo);
    rig.check(&frame, Some(&meta), &["rx", "rx_from_meta", "echo_refused"], 0);
}

#[test]
fn a_kind_without_a_stage_is_dropped_by_name() {
    let mut rig = Rig::new();
    let frame = Packet::to(SINK).frame();
    let meta = rig.host.meta(&frame);
    // The mirror knows builtins only, so a packet of another kind is stale already; a program without the stage of
    // its kind is what this counter is for.
    let steer_only = crate::program::Lockstep::<8, _, _>::new((crate::stage::steer::Steer::default(), ()));
    rig.engine.program = Box::new(steer_only);
    rig.check(&frame, Some(&meta), &["rx", "rx_from_meta", "rx_no_stage"], 0);
}

#[test]
fn tags_are_stepped_over() {
    let mut rig = Rig::new();
    rig.vlan = vec![100];
    rig.publish();
    let frame = Packet { tags: vec![100], ..Packet::to(ECHO) }.frame();
    rig.check(&frame, None, &["rx", "rx_reparsed", "transmitted"], 1);
}

#[test]
fn targets_are_counted_by_registration() {
    let mut rig = Rig::new();
    let (to_echo, to_sink) = (Packet::to(ECHO).frame(), Packet::to(SINK).v6().frame());
    for frame in [&to_echo, &to_sink, &to_sink] {
        rig.far.inject(frame, None).expect("room");
    }
    rig.engine.turn(Nanos::new(1));
    let rows: Vec<_> = rig.engine.ledger().targets().map(|row| (row.tuple, row.packets, row.bytes)).collect();
    let expected = [(rig.host.echo, 1, to_echo.len() as u64), (rig.host.sink, 2, 2 * to_sink.len() as u64)];
    assert_eq!(rows, expected);
}

#[test]
fn a_full_wire_fills_the_backlog_and_then_drops() {
    let options = Options { ring_slots: 4, ..Options::new(PORT) };
    let mut rig = Rig::with(options, Limits { backlog_frames: 3, ..Limits::default() });
    let frame = Packet::to(ECHO).frame();
    let meta = rig.host.meta(&frame);
    let mut held = Vec::new();
    for _ in 0..3 {
        for _ in 0..3 {
            rig.far.inject(&frame, Some(&meta)).expect("room");
        }
        held.push(rig.engine.turn(Nanos::new(1)).held);
    }
    assert_eq!(held, [0, 2, 3]);
    let expected = [("rx", 9), ("rx_from_meta", 9), ("transmitted", 4), ("tx_ring_full", 2)];
    assert_eq!(rig.counters(), BTreeMap::from(expected));
    rig.balance(3);
    assert_eq!(rig.far.collect(64, |_| {}), 4);
    assert_eq!(rig.engine.turn(Nanos::new(2)), Turn { moved: 3, held: 0 });
    assert_eq!(rig.far.collect(64, |_| {}), 3);
    rig.engine.turn(Nanos::new(3));
    rig.balance(0);
}

#[test]
fn what_waits_for_a_port_that_goes_away_is_counted() {
    let options = Options { ring_slots: 4, ..Options::new(PORT) };
    let mut rig = Rig::with(options, Limits::default());
    let frame = Packet::to(ECHO).frame();
    for _ in 0..2 {
        for _ in 0..3 {
            rig.far.inject(&frame, None).expect("room");
        }
        rig.engine.turn(Nanos::new(1));
    }
    let report = rig.engine.detach(PORT).expect("attached");
    let expected = [("rx", 6), ("rx_reparsed", 6), ("transmitted", 4), ("tx_port_gone", 2)];
    assert_eq!(rig.counters(), BTreeMap::from(expected));
    assert_eq!((report.census.missing(), report.census.out, report.census.tx), (0, 0, 4));
    assert_eq!(rig.engine.detach(PORT), None);
}

#[test]
fn a_dead_port_is_reported_once_and_asked_nothing_more() {
    let mut rig = Rig::new();
    let frame = Packet::to(ECHO).frame();
    rig.far.inject(&frame, None).expect("room");
    let Rig { engine, far, .. } = &mut rig;
    drop(std::mem::replace(far, memory_port(Options::new(PORT)).expect("small").1));
    let mut failures = Vec::new();
    for now in 0..5 {
        engine.turn(Nanos::new(now));
        Role::failures(engine, &mut |failure| failures.push((failure.port, failure.error.to_string())));
    }
    assert_eq!(failures.len(), 2, "one for each half: {failures:?}");
    assert_eq!(engine.reports()[0].state, PortState::Failed);
    assert!(!Role::is_pending(engine));
}

/// F17, the engine's part: a clock that is stepped an hour either way changes nothing.
#[test]
fn f17_a_stepped_clock_changes_nothing() {
    let mut rig = Rig::new();
    let frame = Packet::to(ECHO).frame();
    let hour = Duration::from_secs(3600);
    let start = Nanos::default() + hour + hour;
    let times = [start, start + hour, Nanos::default() + hour, start];
    for now in times {
        rig.far.inject(&frame, None).expect("room");
        rig.engine.turn(now);
        assert_eq!(rig.far.collect(64, |_| {}), 1);
    }
    rig.engine.turn(start);
    rig.balance(0);
}
