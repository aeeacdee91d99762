//! A whole pipeline without threads: where packets wait, where they are dropped, and that the books balance.
use std::collections::BTreeMap;

use super::*;
use crate::{
    books::Books,
    capture::Off,
    clock::Nanos,
    counter::Counter,
    engines::Row,
    fixture::{ECHO, Host, Packet, SINK, config},
    port::{
        Port, Receive,
        memory::{FarEnd, MemoryPort, Options, memory_port},
    },
    role::{Command, Role},
    stage::builtin_program,
    tables::{PortConfigs, Tables},
};

const PORT: PortId = PortId::new(1);

struct Rig {
    pipeline: Pipeline<MemoryPort>,
    panels: Vec<Arc<Panel>>,
    far: FarEnd,
    _published: Published,
    host: Host,
}

impl Rig {
    fn new(engines: u16, limits: Limits) -> Self {
        let host = Host::new();
        let mut ports = PortConfigs::default();
        ports.set(PORT, config(&[]));
        let published =
            Published::new(Tables { mirror: host.mirror(), ports, ..Tables::default() }).expect("small");
        let stations: Vec<_> = (0..engines + 2)
            .map(|n| Station {
                id: EngineId::new(n),
                bell: Arc::new(Bell::new().expect("an eventfd")),
                panel: Arc::default(),
            })
            .collect();
        let panels = stations.iter().map(|s| Arc::clone(&s.panel)).collect();
        let [first, between @ .., last] = &stations[..] else { unreachable!("at least two") };
        let programs = |_| builtin_program();
        let mut pipeline = assemble(first, between, last, &published, limits, &programs).expect("legal");
        let (port, far) = memory_port(Options::new(PORT)).expect("small");
        let (rx, tx) = port.split();
        pipeline.rx.obey(Command::Add { rx: Some(rx), tx: None }, &mut Off);
        pipeline.tx.obey(Command::Add { rx: None, tx: Some(tx) }, &mut Off);
        Self { pipeline, panels, far, _published: published, host }
    }

    fn inject(&mut self, packet: &Packet) {
        let frame = packet.frame();
        let meta = self.host.meta(&frame);
        self.far.inject(&frame, Some(&meta)).expect("room");
    }

    fn turn_rx(&mut self) {
        Role::<MemoryPort>::turn(&mut self.pipeline.rx, Nanos::default(), &mut Off);
    }

    /// A round of every engine; returns what they hold after it.
    fn turn(&mut self) -> usize {
        let now = Nanos::default();
        let Pipeline { rx, engines, tx, .. } = &mut self.pipeline;
        let mut held = Role::<MemoryPort>::turn(rx, now, &mut Off).held;
        for engine in engines {
            held += Role::<MemoryPort>::turn(engine, now, &mut Off).held;
        }
        held + Role::<MemoryPort>::turn(tx, now, &mut Off).held
    }

    fn rows(&self) -> Vec<Row> {
        let row = |(n, panel): (usize, &Arc<Panel>)| {
            let counters = panel.ledger.port(PORT).expect("in range");
            let values = std::array::from_fn(|i| counters.get(Counter::ALL[i]));
            Row { engine: EngineId::new(n as u16), port: PORT, values }
        };
        self.panels.iter().enumerate().map(row).collect()
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for (counter, n) in self.rows().iter().flat_map(Row::counters).filter(|(_, n)| *n != 0) {
            *sums.entry(counter.desc().name).or_default() += n;
        }
        sums
    }

    #[track_caller]
    fn balance(&self, held: usize) {
        let mut books = Books::default();
        books.add_engines(&self.rows());
        books.add_held(held as u64);
        let balance = books.close();
        assert_eq!(balance.unaccounted(), 0, "{balance:?}");
        let census = self.pipeline.rx.inboxes[0].rx.census();
        assert_eq!((census.missing(), census.out as usize), (0, held), "{census:?}");
    }
}

#[test]
fn packets_pass_all_engines_and_come_back() {
    let mut rig = Rig::new(2, Limits::default());
    for n in 0..20 {
        let to = if n % 2 == 0 { ECHO } else { SINK };
        let from = Packet::to(to).src.0;
        rig.inject(&Packet { src: (from, 4000 + n), ..Packet::to(to) });
    }
    rig.turn();
    assert_eq!(rig.far.collect(64, |_| {}), 10);
    rig.turn();
    let expected = [("rx", 20), ("rx_from_meta", 20), ("delivered", 10), ("transmitted", 10)];
    assert_eq!(rig.counters(), BTreeMap::from(expected));
    rig.balance(0);
    let judged: Vec<_> = rig.panels.iter().map(|p| p.ledger.port(PORT).expect("there")).collect();
    let judged: Vec<_> = judged.iter().map(|c| c.get(Counter::FromMeta)).collect();
    assert!(judged[1] != 0 && judged[2] != 0, "both microengines had flows: {judged:?}");
    assert_eq!((judged[0], judged[3]), (0, 0));
}

#[test]
fn a_flow_keeps_its_order_and_its_microengine() {
    let mut rig = Rig::new(3, Limits::default());
    for n in 0..240u16 {
        let from = Packet::to(ECHO).src.0;
        let payload = n.to_be_bytes().to_vec();
        let packet = Packet { src: (from, 4000 + n % 8), payload, ..Packet::to(ECHO) };
        let frame = packet.frame();
        // Every other one without metadata: a flow must not depend on it.
        let meta = rig.host.meta(&frame);
        rig.far.inject(&frame, (n % 3 != 0).then_some(&meta)).expect("room");
    }
    let mut replies = Vec::new();
    for _ in 0..8 {
        rig.turn();
        rig.far.collect(1024, |frame| replies.push((frame[37], frame[43], frame[42])));
    }
    assert_eq!(replies.len(), 240);
    for flow in 0..8 {
        let flow: Vec<_> = replies.iter().filter(|r| r.1 % 8 == flow).map(|r| (r.2, r.1)).collect();
        assert!(flow.is_sorted(), "{flow:?}");
        assert_eq!(flow.len(), 30);
    }
}

#[test]
fn a_full_ring_to_a_microengine_drops_by_name() {
    let mut rig = Rig::new(1, Limits { scratch_slots: 4, ..Limits::default() });
    for _ in 0..10 {
        rig.inject(&Packet::to(SINK));
    }
    rig.turn_rx();
    rig.balance(4);
    rig.turn();
    rig.turn();
    let expected = [("rx", 10), ("rx_from_meta", 4), ("delivered", 4), ("scratch_ring_full", 6)];
    assert_eq!(rig.counters(), BTreeMap::from(expected));
    rig.balance(0);
    let full: Vec<_> = rig.pipeline.joints.iter().filter(|j| j.level.look().1 == 4).collect();
    assert_eq!(
        full.iter().map(|j| (j.from, j.to)).collect::<Vec<_>>(),
        [(EngineId::new(0), EngineId::new(1)), (EngineId::new(1), EngineId::new(0)),]
    );
}

#[test]
fn a_full_ring_to_the_sender_drops_by_name() {
    let mut rig = Rig::new(1, Limits { scratch_slots: 4, ..Limits::default() });
    for _ in 0..2 {
        for _ in 0..3 {
            rig.inject(&Packet::to(ECHO));
        }
        rig.turn_rx();
        Role::<MemoryPort>::turn(&mut rig.pipeline.engines[0], Nanos::default(), &mut Off);
    }
    rig.turn_rx();
    rig.balance(4);
    rig.turn();
    rig.far.collect(64, |_| {});
    rig.turn();
    let expected = [("rx", 6), ("rx_from_meta", 6), ("transmitted", 4), ("scratch_ring_full", 2)];
    assert_eq!(rig.counters(), BTreeMap::from(expected));
    rig.balance(0);
}

#[test]
fn frames_that_find_no_way_back_are_found_by_their_port() {
    let mut rig = Rig::new(1, Limits { scratch_slots: 4, ..Limits::default() });
    for _ in 0..3 {
        for _ in 0..4 {
            rig.inject(&Packet::to(SINK));
        }
        // Rx takes nothing back here: it has its share out only.
        rig.pipeline.rx.share_out(0, Nanos::default(), &mut Off);
        rig.pipeline.rx.hand_over(&mut Off);
        Role::<MemoryPort>::turn(&mut rig.pipeline.engines[0], Nanos::default(), &mut Off);
    }
    rig.turn();
    rig.balance(0);
    let expected = [("rx", 12), ("rx_from_meta", 12), ("delivered", 12)];
    assert_eq!(rig.counters(), BTreeMap::from(expected));
}

#[test]
fn a_packet_for_a_port_that_is_not_there_is_counted() {
    let mut rig = Rig::new(1, Limits::default());
    rig.inject(&Packet::to(ECHO));
    rig.turn_rx();
    let (answer, closed) = std::sync::mpsc::channel();
    rig.pipeline.tx.obey(Command::Close(PORT, answer), &mut Off);
    assert!(closed.recv().expect("answered").is_none(), "the report is the receiving engine's");
    rig.turn();
    rig.turn();
    let expected = [("rx", 1), ("rx_from_meta", 1), ("tx_port_gone", 1)];
    assert_eq!(rig.counters(), BTreeMap::from(expected));
    rig.balance(0);
}

#[test]
fn what_waits_at_another_port_is_counted_for_its_own() {
    let mut rig = Rig::new(1, Limits::default());
    let other = PortId::new(2);
    let options = Options { ring_slots: 2, ..Options::new(other) };
    let (port, _far) = memory_port(options).expect("small");
    let (_rx, tx) = port.split();
    rig.pipeline.tx.obey(Command::Add { rx: None, tx: Some(tx) }, &mut Off);
    for _ in 0..5 {
        rig.inject(&Packet::to(ECHO));
    }
    rig.turn_rx();
    Role::<MemoryPort>::turn(&mut rig.pipeline.engines[0], Nanos::default(), &mut Off);
    // The microengine sent them back where they came from; the test sends them elsewhere.
    let mut leaving = Vec::new();
    rig.pipeline.tx.inlets[0].pop_burst(&mut leaving, 64);
    for Leaving { frame, .. } in leaving {
        rig.pipeline.engines[0].outlet.stage(Leaving { frame, port: other });
    }
    rig.pipeline.engines[0].outlet.flush(|_| unreachable!("room for five"));
    Role::<MemoryPort>::turn(&mut rig.pipeline.tx, Nanos::default(), &mut Off);
    let (answer, _closed) = std::sync::mpsc::channel();
    rig.pipeline.tx.obey(Command::Close(PORT, answer), &mut Off);
    rig.turn();
    let expected = [("rx", 5), ("rx_from_meta", 5), ("transmitted", 2), ("tx_port_gone", 3)];
    assert_eq!(rig.counters(), BTreeMap::from(expected));
    assert_eq!(rig.pipeline.rx.inboxes[0].rx.census().out, 2, "with the other port's wire");
}
