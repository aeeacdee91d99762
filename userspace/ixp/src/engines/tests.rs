//! Real threads on memory ports: attach, run, publish, stall, detach, stop.
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use multistack::mirror::Mirror;

use super::*;
use crate::{
    books::Books,
    clock::{Nanos, Virtual},
    fixture::{ECHO, Host, Packet, SINK, config},
    panel::Activity,
    port::memory::{FarEnd, MemoryPort, Options, Refused, memory_port},
    program::{Env, Lockstep, Stage, Verdict},
    spec::Idle,
    stage::{
        builtin::Builtin,
        builtin_program,
        steer::{Steer, Steered},
    },
    tables::PortConfigs,
    watchdog::Watchdog,
};

/// Guard against hanging; nothing depends on it but the length of a failure.
const GUARD: Duration = Duration::from_secs(30);

/// The machine's cores, over and over.
fn cores() -> impl Iterator<Item = usize> {
    core_affinity::get_core_ids()
        .expect("a core")
        .into_iter()
        .map(|core| core.id)
        .collect::<Vec<_>>()
        .into_iter()
        .cycle()
}

fn tables(mirror: Arc<Mirror>) -> Tables {
    let mut ports = PortConfigs::default();
    for n in 0..8 {
        ports.set(PortId::new(n), config(&[]));
    }
    Tables { mirror, ports, ..Tables::default() }
}

fn spec(layout: Layout, engines: usize, idle: Idle) -> EngineSpec {
    EngineSpec { layout, idle, ..EngineSpec::on_cores(cores().take(engines).collect()) }
}

struct Rig {
    engines: Engines<MemoryPort>,
    host: Host,
}

impl Rig {
    fn new(spec: &EngineSpec) -> Self {
        Self::with(spec, &|_| builtin_program())
    }

    fn with(spec: &EngineSpec, programs: &dyn Fn(EngineId) -> Box<dyn Program>) -> Self {
        let host = Host::new();
        let published = Arc::new(Published::new(tables(host.mirror())).expect("small"));
        let clock = Arc::new(Virtual::default());
        let engines = Engines::start(spec, published, clock, programs).expect("a legal specification");
        Self { engines, host }
    }

    fn attach(&mut self, number: u16) -> FarEnd {
        let (port, far) = memory_port(Options::new(PortId::new(number))).expect("small");
        self.engines.attach(port).expect("room");
        far
    }

    fn sum(&self, counter: Counter) -> u64 {
        self.engines.rows().iter().map(|row| row.values[counter as usize]).sum()
    }

    #[track_caller]
    fn balance(&self, reports: &[PortReport]) {
        let mut books = Books::default();
        books.add_engines(&self.engines.rows());
        for report in reports {
            books.add_losses(&report.losses);
            assert_eq!((report.census.missing(), report.census.out), (0, 0), "{report:?}");
        }
        books.add_held(self.engines.held());
        let balance = books.close();
        assert_eq!(balance.unaccounted(), 0, "{balance:?}");
    }
}

/// Looks until something is so. Guarded, and never a measure of anything.
#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < GUARD, "never: {what}");
        thread::yield_now();
    }
}

/// Sends `count` echo requests, never more than 64 under way, and waits for every reply, in order.
fn ping(far: &mut FarEnd, host: &Host, count: u32) {
    let (mut sent, mut back) = (0u32, 0u32);
    until("all replies", || {
        while sent < count && sent - back < 64 {
            let payload = sent.to_be_bytes().to_vec();
            let frame = Packet { payload, ..Packet::to(ECHO) }.frame();
            let meta = host.meta(&frame);
            match far.inject(&frame, Some(&meta)) {
                Ok(()) => sent += 1,
                Err(Refused::NoBuffer | Refused::RingFull) => panic!("64 under way are never too many"),
                Err(Refused::TooLong { .. }) => unreachable!("short"),
            }
        }
        far.collect(64, |frame| {
            assert_eq!(frame[42..46], back.to_be_bytes());
            back += 1;
        });
        back == count
    });
}

#[test]
fn every_layout_and_every_idle_strategy_echoes() {
    for (layout, count) in [(Layout::RunToCompletion, 1), (Layout::RunToCompletion, 2), (Layout::Pipeline, 4)]
    {
        for idle in [Idle::Adaptive, Idle::Sleep, Idle::Busy] {
            if idle == Idle::Busy && 1 < count {
                // Several engines that never sleep, on a core that is shared, only show the scheduler.
                continue;
            }
            let mut rig = Rig::new(&spec(layout, count, idle));
            let mut fars = [rig.attach(0), rig.attach(1)];
            for far in &mut fars {
                ping(far, &rig.host, 500);
            }
            let reports: Vec<_> = rig.engines.stop().into_iter().collect::<Result<_, _>>().expect("in time");
            assert_eq!(rig.sum(Counter::Transmitted), 1000, "{layout:?} {idle:?}");
            rig.balance(&reports);
        }
    }
}

#[test]
fn a_port_comes_and_goes_under_load() {
    for (layout, count) in [(Layout::RunToCompletion, 1), (Layout::Pipeline, 3)] {
        let mut rig = Rig::new(&spec(layout, count, Idle::Adaptive));
        let mut stays = rig.attach(0);
        let (mut reports, mut sent) = (Vec::new(), 0);
        for round in 0..10u64 {
            let mut goes = rig.attach(1);
            ping(&mut stays, &rig.host, 20);
            let frame = Packet::to(ECHO).frame();
            for _ in 0..round * 70 {
                goes.inject(&frame, None).expect("room");
            }
            sent += round * 70;
            reports.push(rig.engines.detach(PortId::new(1)).expect("attached"));
            let seen = rig.engines.rows().into_iter().filter(|row| row.port == PortId::new(1));
            assert_eq!(
                seen.map(|row| row.values[Counter::Rx as usize]).sum::<u64>(),
                sent,
                "what had arrived was served"
            );
        }
        ping(&mut stays, &rig.host, 20);
        reports.push(rig.engines.detach(PortId::new(0)).expect("attached"));
        rig.balance(&reports);
        assert_eq!(
            rig.engines.detach(PortId::new(0)),
            Err(DetachError::NotAttached { port: PortId::new(0) })
        );
    }
}

#[test]
fn sleeping_engines_take_new_tables() {
    for (layout, count) in [(Layout::RunToCompletion, 2), (Layout::Pipeline, 3)] {
        let mut rig = Rig::new(&spec(layout, count, Idle::Adaptive));
        let mut far = rig.attach(0);
        ping(&mut far, &rig.host, 1);
        until("all asleep", || rig.engines.pulses().iter().all(|(_, p)| p.activity == Activity::Blocked));
        let frame = Packet::to(ECHO).frame();
        let meta = rig.host.meta(&frame);
        rig.host.remove_echo();
        let generation = rig.engines.publish(tables(rig.host.mirror())).expect("small");
        rig.engines.wait_seen(generation).expect("in time");
        // From here on the very next packet obeys.
        far.inject(&frame, Some(&meta)).expect("room");
        until("it is stale", || rig.sum(Counter::RxStale) == 1);
        let reports: Vec<_> = rig.engines.stop().into_iter().collect::<Result<_, _>>().expect("in time");
        rig.balance(&reports);
    }
}

#[test]
fn what_cannot_be_attached_is_refused_by_name() {
    let mut rig = Rig::new(&spec(Layout::RunToCompletion, 1, Idle::Adaptive));
    let _far = rig.attach(0);
    let port = |n| memory_port(Options::new(PortId::new(n))).expect("small");
    let (again, _far_again) = port(0);
    assert_eq!(rig.engines.attach(again), Err(AttachError::Duplicate { port: PortId::new(0) }));
    let (high, _far_high) = port(300);
    assert_eq!(rig.engines.attach(high), Err(AttachError::PortNumber { given: 300, limit: MAX_PORTS }));
    let (lost, _far_lost) = port(1);
    let nobody = EngineId::new(1);
    assert_eq!(rig.engines.attach_to(nobody, lost), Err(AttachError::NoSuchEngine { engine: nobody }));
}

#[test]
fn packet_memory_is_accounted_and_capped() {
    let one = 2048 * 2048;
    let mut limited = spec(Layout::RunToCompletion, 1, Idle::Adaptive);
    limited.limits.dram_bytes = one + 1;
    let mut rig = Rig::new(&limited);
    let _far = rig.attach(0);
    let (second, _far_second) = memory_port(Options::new(PortId::new(1))).expect("small");
    let over = OverLimit { account: "dram", given: 2 * one, limit: one + 1 };
    assert_eq!(rig.engines.attach(second), Err(AttachError::Memory(over)));
    rig.engines.detach(PortId::new(0)).expect("attached");
    let [_, _, dram] = rig.engines.accounts();
    assert_eq!((dram.taken, dram.peak), (0, one));
}

#[test]
fn a_port_that_dies_is_reported_and_wakes_the_supervisor() {
    let mut rig = Rig::new(&spec(Layout::RunToCompletion, 1, Idle::Adaptive));
    let mut far = rig.attach(0);
    ping(&mut far, &rig.host, 1);
    drop(far);
    let mut fds = [nix::poll::PollFd::new(rig.engines.event_fd(), nix::poll::PollFlags::POLLIN)];
    let timeout = nix::poll::PollTimeout::try_from(GUARD).expect("fits");
    assert_eq!(nix::poll::poll(&mut fds, timeout), Ok(1));
    let Some(Event::PortFailed { engine, port, error }) = rig.engines.events().next() else {
        panic!("the descriptor was readable")
    };
    assert_eq!((engine, port, error.to_string()), (EngineId(0), PortId::new(0), PortError::Gone.to_string()));
    let report = rig.engines.detach(PortId::new(0)).expect("attached");
    assert_eq!(report.state, PortState::Failed);
    rig.balance(&[report]);
}

/// A stage that stands still while the test holds the gate.
struct Gate(Arc<Mutex<()>>);

impl Stage<Steered> for Gate {
    const FETCHES: bool = false;

    fn step(&mut self, _: &mut crate::frame::Frame, _: &mut Steered, _: &Env<'_>) -> Verdict {
        drop(self.0.lock());
        Verdict::Next
    }
}

/// F17: an engine is stopped until its rings are full, on cores that others keep busy.
#[test]
fn f17_a_stopped_engine_is_reported_and_goes_on() {
    let busy = Arc::new(AtomicBool::new(true));
    let spinners: Vec<_> = (0..2)
        .map(|_| {
            let busy = Arc::clone(&busy);
            thread::spawn(move || while busy.load(Ordering::Relaxed) {})
        })
        .collect();
    let gate = Arc::new(Mutex::new(()));
    let program = |_| -> Box<dyn Program> {
        let stages = (Gate(Arc::clone(&gate)), (Steer::default(), (Builtin::default(), ())));
        Box::new(Lockstep::<8, _, _>::new(stages))
    };
    let mut rig = Rig::with(&spec(Layout::RunToCompletion, 1, Idle::Adaptive), &program);
    let mut far = rig.attach(0);
    let mut dog = Watchdog::new(Duration::from_secs(1));
    let second = |n| Nanos::default() + Duration::from_secs(n);

    let held = gate.lock().expect("not poisoned");
    let frame = Packet::to(SINK).frame();
    let (mut sent, mut lost) = (0, 0);
    while lost < 100 {
        match far.inject(&frame, None) {
            Ok(()) => sent += 1,
            Err(_) => lost += 1,
        }
    }
    until("it stands in the gate with a batch", || rig.sum(Counter::Rx) != 0);
    assert_eq!(dog.look(&rig.engines.pulses(), second(1)), []);
    let stuck = dog.look(&rig.engines.pulses(), second(3));
    assert_eq!(
        stuck.iter().map(|s| (s.engine, s.for_at_least)).collect::<Vec<_>>(),
        [(EngineId(0), Duration::from_secs(2))]
    );

    drop(held);
    until("all that fitted is delivered", || rig.sum(Counter::Delivered) == sent as u64);
    assert_eq!(dog.look(&rig.engines.pulses(), second(4)), []);
    busy.store(false, Ordering::Relaxed);
    for spinner in spinners {
        spinner.join().expect("no panic");
    }
    let report = rig.engines.detach(PortId::new(0)).expect("attached");
    assert_eq!(report.losses.no_buffer + report.losses.ring_full, lost);
    rig.balance(&[report]);
}

#[test]
fn a_port_that_others_go_on_sending_to_is_closed_all_the_same() {
    for (layout, count) in [(Layout::RunToCompletion, 1), (Layout::Pipeline, 3)] {
        let mut rig = Rig::new(&spec(layout, count, Idle::Adaptive));
        let mut far = rig.attach(0);
        let frame = Packet::to(SINK).frame();
        let closed = Arc::new(AtomicBool::new(false));
        let flood = {
            let closed = Arc::clone(&closed);
            thread::spawn(move || {
                while !closed.load(Ordering::Relaxed) {
                    let _ = far.inject(&frame, None);
                }
            })
        };
        until("it floods", || 1000 < rig.sum(Counter::Delivered));
        let report = rig.engines.detach(PortId::new(0)).expect("in time");
        closed.store(true, Ordering::Relaxed);
        flood.join().expect("no panic");
        assert_eq!((report.state, report.census.out), (PortState::Quiesced, 0));
        rig.balance(&[report]);
    }
}

/// The moment before an engine falls asleep is short, so it is passed many times.
#[test]
fn nothing_is_slept_through() {
    for (layout, count) in [(Layout::RunToCompletion, 1), (Layout::Pipeline, 3)] {
        let mut rig = Rig::new(&spec(layout, count, Idle::Sleep));
        let mut far = rig.attach(0);
        for _ in 0..1000 {
            let generation = rig.engines.publish(tables(rig.host.mirror())).expect("small");
            until("the tables are taken", || rig.engines.seen(generation));
            ping(&mut far, &rig.host, 1);
        }
    }
}

#[test]
fn a_starved_port_is_woken_by_what_comes_back() {
    for (layout, count) in [(Layout::RunToCompletion, 1), (Layout::Pipeline, 3)] {
        let mut rig = Rig::new(&spec(layout, count, Idle::Adaptive));
        let geometry = crate::frame::Geometry { chunk: 2048, frames: 4 };
        let options = Options { geometry, ring_slots: 4, ..Options::new(PortId::new(0)) };
        let (port, mut far) = memory_port(options).expect("small");
        rig.engines.attach(port).expect("room");
        let frame = Packet::to(ECHO).frame();
        for _ in 0..4 {
            far.inject(&frame, None).expect("room");
        }
        let asleep = |rig: &Rig| rig.engines.pulses().iter().all(|(_, p)| p.activity == Activity::Blocked);
        until("every frame is on the wire", || rig.sum(Counter::Transmitted) == 4 && asleep(&rig));
        assert_eq!((far.room(), far.collect(4, |_| {})), (0, 4));
        until("there is room again", || far.room() == 4);
    }
}
