//! F11: once started, engines allocate nothing, whatever they do with a packet.
//!
//! A counting allocator needs a test binary of its own; it counts for the threads that ask it to.
#![allow(
    unsafe_code,
    reason = "a counting allocator implements an unsafe trait; it adds a count and nothing else"
)]
#![allow(clippy::expect_used, reason = "a test")]
#[path = "f11_steady_state/crossing.rs"]
mod crossing;
#[path = "../src/fixture.rs"]
mod fixture;
#[path = "../../../tests/src/scale.rs"]
#[allow(dead_code, unreachable_pub, reason = "one count of many, public in its own crate")]
mod scale;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ixp::{
    clock::{Clock, Nanos},
    counter::Counter,
    engine::{Limits, RunToCompletion},
    engines::Engines,
    frame::Geometry,
    port::{
        PortId,
        source::{Options, SourcePort, Template},
    },
    spec::{EngineSpec, Idle, Layout as EngineLayout},
    stage::builtin_program,
    tables::{PortConfigs, Published, Tables},
};

use fixture::{ECHO, Host, Packet, SINK, config};

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static CALLS_BEFORE: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // Not there while the thread ends: nothing is counted then.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call goes to `System` unchanged; counting touches a `Cell` of this thread and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps the promises of this very function.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises of this very function.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One template for each way that a packet can take through the builtin program.
fn templates(host: &Host) -> Vec<Template> {
    let mut templates = Vec::new();
    for packet in [Packet::to(ECHO), Packet::to(SINK), Packet::to(ECHO).v6(), Packet::to(SINK).v6()] {
        let bytes = packet.frame();
        let meta = host.meta(&bytes);
        templates.push(Template { bytes: bytes.clone(), meta: Some(meta) });
        templates.push(Template { bytes: bytes.clone(), meta: None });
        let stale = abi::rxmeta::RxMeta { generation: meta.generation ^ 0xf000, ..meta };
        templates.push(Template { bytes, meta: Some(stale) });
    }
    let refused = Packet { src: (Packet::to(ECHO).src.0, 0), ..Packet::to(ECHO) }.frame();
    templates.push(Template { meta: Some(host.meta(&refused)), bytes: refused });
    let mut damaged = Packet::to(SINK).frame();
    damaged[22] ^= 1;
    templates.push(Template { bytes: damaged, meta: None });
    templates.push(Template { bytes: Packet { tags: vec![5, 6], ..Packet::to(SINK) }.frame(), meta: None });
    // More tuples than the CAM has entries, so that it misses and evicts.
    templates.extend((100..140).map(|port| Template { bytes: Packet::to(port).frame(), meta: None }));
    templates
}

#[test]
fn f11_a_running_engine_allocates_nothing() {
    let host = Host::new();
    let mut ports = PortConfigs::default();
    let port = PortId::new(0);
    ports.set(port, config(&[]));
    let published =
        Published::new(Tables { mirror: host.mirror(), ports, ..Tables::default() }).expect("small");
    let mut engine = RunToCompletion::new(builtin_program(), &published, Limits::default());
    let (packets, warm_up) = (scale::F11_PACKETS.count(), 10_000);
    let options =
        Options { id: port, geometry: Geometry { chunk: 2048, frames: 2048 }, packets: packets + warm_up };
    engine.attach(SourcePort::new(options, templates(&host)).expect("small"));

    let received = |engine: &RunToCompletion<SourcePort>| {
        engine.ledger().port(port).map_or(0, |counters| counters.get(Counter::Rx))
    };
    let mut now = 0;
    let mut run = |engine: &mut RunToCompletion<SourcePort>, target: u64| {
        while received(engine) < target {
            now += 1;
            engine.turn(Nanos::new(now));
        }
    };
    run(&mut engine, warm_up);
    let before = CALLS.get();
    run(&mut engine, warm_up + packets);
    assert_eq!(CALLS.get() - before, 0, "allocator calls in {packets} packets");

    let counters = engine.ledger().port(port).expect("in range");
    let ways = [
        Counter::Delivered,
        Counter::Transmitted,
        Counter::RxUnclaimed,
        Counter::RxStale,
        Counter::RxBadIpChecksum,
        Counter::EchoRefused,
    ];
    for way in ways {
        assert!(counters.get(way) != 0, "{} was not part of it", way.desc().name);
    }
    let known: u64 = ways.iter().map(|&way| counters.get(way)).sum();
    assert_eq!(counters.get(Counter::Rx), known);
}

/// An engine's thread asks for the time once a round: the place to see what it allocated since.
#[derive(Default)]
struct AllocationClock {
    armed: AtomicBool,
    calls: AtomicU64,
    rounds: AtomicU64,
}

impl Clock for AllocationClock {
    fn now(&self) -> Nanos {
        let calls = CALLS.get();
        let before = CALLS_BEFORE.replace(calls);
        if self.armed.load(Ordering::Acquire) {
            self.calls.fetch_add(calls - before, Ordering::Relaxed);
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
        Nanos::default()
    }
}

#[test]
fn f11_a_running_pipeline_allocates_nothing() {
    let host = Host::new();
    let mut ports = PortConfigs::default();
    ports.set(PortId::new(0), config(&[]));
    let published = Arc::new(
        Published::new(Tables { mirror: host.mirror(), ports, ..Tables::default() }).expect("small"),
    );
    let core = core_affinity::get_core_ids().expect("a core")[0].id;
    let spec = EngineSpec {
        layout: EngineLayout::Pipeline,
        idle: Idle::Adaptive,
        ..EngineSpec::on_cores(vec![core; 4])
    };
    let clock = Arc::new(AllocationClock::default());
    let mut engines = Engines::start(&spec, published, clock.clone(), &|_| builtin_program())
        .expect("a legal specification");
    let geometry = Geometry { chunk: 2048, frames: 2048 };
    let options = Options { id: PortId::new(0), geometry, packets: u64::MAX };
    engines.attach(SourcePort::new(options, templates(&host)).expect("small")).expect("room");

    let judged = |engines: &Engines<SourcePort>| -> u64 {
        engines
            .rows()
            .iter()
            .map(|r| r.values[Counter::FromMeta as usize] + r.values[Counter::Reparsed as usize])
            .sum()
    };
    let until = |target: u64| {
        let start = Instant::now();
        while judged(&engines) < target {
            assert!(start.elapsed() < Duration::from_secs(30), "a hang");
            std::thread::yield_now();
        }
    };
    until(20_000);
    clock.armed.store(true, Ordering::Release);
    until(120_000);
    clock.armed.store(false, Ordering::Release);
    assert!(clock.rounds.load(Ordering::Relaxed) != 0);
    assert_eq!(clock.calls.load(Ordering::Relaxed), 0, "allocator calls of all engines");
    for report in engines.stop() {
        let census = report.expect("in time").census;
        assert_eq!((census.missing(), census.out), (0, 0));
    }
}
