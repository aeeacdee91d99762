//! F8: overload, and then relief, on a memory port: goodput stays up, each drop has its name, and none comes after.
//!
//! Time is counted in ticks: the wire brings so many packets, the engine has one round, the wire takes so many away.
#![allow(clippy::expect_used, reason = "a test")]
#[path = "../src/fixture.rs"]
mod fixture;

use std::collections::BTreeMap;

use ixp::{
    books::Books,
    clock::Nanos,
    counter::Counter,
    engine::{Limits, RunToCompletion},
    engines::{EngineId, Row},
    port::{
        PortId,
        memory::{FarEnd, MemoryPort, Options, memory_port},
    },
    stage::builtin_program,
    tables::{PortConfigs, Published, Tables},
};

use fixture::{ECHO, Host, Packet, SINK, config};

const PORT: PortId = PortId::new(0);
const TICKS: usize = 1000;

/// An engine between a wire that brings and a wire that takes.
struct Road {
    engine: RunToCompletion<MemoryPort>,
    far: FarEnd,
    frame: Vec<u8>,
    meta: abi::rxmeta::RxMeta,
    /// Packets that the wire takes away in a tick.
    wire: usize,
    now: u64,
    sent: u64,
    _published: Published,
}

impl Road {
    fn new(to: u16, wire: usize) -> Self {
        let host = Host::new();
        let mut ports = PortConfigs::default();
        ports.set(PORT, config(&[]));
        let published =
            Published::new(Tables { mirror: host.mirror(), ports, ..Tables::default() }).expect("small");
        let mut engine = RunToCompletion::new(builtin_program(), &published, Limits::default());
        let (port, far) = memory_port(Options::new(PORT)).expect("small");
        engine.attach(port);
        let frame = Packet::to(to).frame();
        let meta = host.meta(&frame);
        Self { engine, far, frame, meta, wire, now: 0, sent: 0, _published: published }
    }

    /// `ticks` with so many packets offered in each; returns how many came out of the wire's other end.
    fn run(&mut self, ticks: usize, offered: usize) -> usize {
        let mut out = 0;
        for _ in 0..ticks {
            for _ in 0..offered {
                self.sent += 1;
                // Refused is lost, and counted by the port.
                let _ = self.far.inject(&self.frame, Some(&self.meta));
            }
            self.now += 1;
            self.engine.turn(Nanos::new(self.now));
            out += self.far.collect(self.wire, |_| {});
        }
        out
    }

    fn row(&self) -> Row {
        let counters = self.engine.ledger().port(PORT).expect("in range");
        let values = std::array::from_fn(|i| counters.get(Counter::ALL[i]));
        Row { engine: EngineId::new(0), port: PORT, values }
    }

    fn drops(&self) -> BTreeMap<&'static str, u64> {
        let mut books = Books::default();
        books.add_engines(&[self.row()]);
        books.add_losses(&self.engine.reports()[0].losses);
        books.close().dropped
    }

    /// Runs until nothing waits, then closes the books.
    #[track_caller]
    fn drain_and_balance(&mut self) {
        self.run(TICKS, 0);
        let report = self.engine.reports()[0];
        assert_eq!((report.census.missing(), report.census.out, report.census.tx), (0, 0, 0));
        let mut books = Books::default();
        books.add_engines(&[self.row()]);
        books.add_losses(&report.losses);
        let balance = books.close();
        assert_eq!((balance.unaccounted(), balance.rx), (0, self.sent), "{balance:?}");
    }
}

/// Overloads a road whose capacity is `capacity` packets a tick and checks goodput and the only drops there may be.
#[track_caller]
fn check(to: u16, wire: usize, capacity: usize, goodput: Counter, may_drop: &[&str]) {
    for (load, at_least) in [(110, 95), (150, 90), (200, 80)] {
        let mut road = Road::new(to, wire);
        road.run(TICKS, capacity * load / 100);
        let good = road.row().values[goodput as usize] as usize;
        assert!(TICKS * capacity * at_least <= good * 100, "{load} %: {good} of {}", TICKS * capacity);
        let drops = road.drops();
        assert!(!drops.is_empty(), "{load} % was no overload");
        assert!(drops.keys().all(|name| may_drop.contains(name)), "{load} %: {drops:?}");

        road.drain_and_balance();
        let before = road.drops();
        road.run(TICKS, capacity / 2);
        assert_eq!(road.drops(), before, "half the load, and still drops");
        road.drain_and_balance();
    }
}

#[test]
fn f08_more_than_the_engine_can_judge() {
    check(SINK, 0, Limits::default().batch, Counter::Delivered, &["xsk_ring_full", "xsk_no_buffer"]);
}

#[test]
fn f08_more_than_the_wire_takes() {
    let wire = 40;
    check(ECHO, wire, wire, Counter::Transmitted, &["tx_ring_full", "xsk_ring_full", "xsk_no_buffer"]);
}
