//! F11: once started, engines make no system call but to sleep when there is nothing to do and to wake who sleeps.
//!
//! Each engine's thread gets a filter of the kernel's; a call that is not on its list ends this whole test program.
#![allow(clippy::expect_used, reason = "a test")]
#[path = "../src/fixture.rs"]
mod fixture;
#[path = "../../../tests/src/syscalls.rs"]
#[allow(dead_code, unreachable_pub, reason = "some lists of many, public in their own crate")]
mod syscalls;

use std::{
    cell::Cell,
    os::unix::process::ExitStatusExt as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ixp::{
    clock::{Clock, Nanos},
    counter::Counter,
    engines::Engines,
    port::{
        Port, PortId,
        memory::{FarEnd, Options as MemoryOptions, memory_port},
        source::{Options, SourcePort, Template},
    },
    spec::{EngineSpec, Idle, Layout},
    stage::builtin_program,
    tables::{PortConfigs, Published, Tables},
};

use fixture::{ECHO, Host, Packet, SINK, config};

thread_local! {
    static FILTERED: Cell<bool> = const { Cell::new(false) };
}

/// An engine's thread asks for the time once a round: the place to give it its filter.
struct FilteringClock {
    calls: &'static [libc::c_long],
    armed: AtomicBool,
    filtered: AtomicUsize,
}

impl FilteringClock {
    fn new(calls: &'static [libc::c_long]) -> Arc<Self> {
        Arc::new(Self { calls, armed: AtomicBool::new(false), filtered: AtomicUsize::new(0) })
    }
}

impl Clock for FilteringClock {
    fn now(&self) -> Nanos {
        if self.armed.load(Ordering::Acquire) && !FILTERED.replace(true) {
            syscalls::allow_only(self.calls).expect("a kernel with seccomp");
            self.filtered.fetch_add(1, Ordering::Release);
        }
        Nanos::default()
    }
}

fn start<P: Port>(host: &Host, spec: &EngineSpec, clock: &Arc<FilteringClock>) -> Engines<P> {
    let mut ports = PortConfigs::default();
    ports.set(PortId::new(0), config(&[]));
    let published = Arc::new(
        Published::new(Tables { mirror: host.mirror(), ports, ..Tables::default() }).expect("small"),
    );
    Engines::start(spec, published, clock.clone(), &|_| builtin_program()).expect("a legal specification")
}

fn spec(layout: Layout, engines: usize, idle: Idle) -> EngineSpec {
    let core = core_affinity::get_core_ids().expect("a core")[0].id;
    EngineSpec { layout, idle, ..EngineSpec::on_cores(vec![core; engines]) }
}

fn sum<P: Port>(engines: &Engines<P>, counter: Counter) -> u64 {
    engines.rows().iter().map(|row| row.values[counter as usize]).sum()
}

#[track_caller]
fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "a hang");
        std::thread::yield_now();
    }
}

/// Packets without end, for every way through the program: there is never a reason to sleep.
fn endless(spec: &EngineSpec, calls: &'static [libc::c_long]) {
    let host = Host::new();
    let clock = FilteringClock::new(calls);
    let mut running = start(&host, spec, &clock);
    let frame = |port| Packet::to(port).frame();
    let steered =
        [ECHO, SINK].map(|port| Template { meta: Some(host.meta(&frame(port))), bytes: frame(port) });
    let unsteered = [ECHO, SINK, 100].map(|port| Template { bytes: frame(port), meta: None });
    let templates = steered.into_iter().chain(unsteered).collect();
    let geometry = ixp::frame::Geometry { chunk: 2048, frames: 2048 };
    let options = Options { id: PortId::new(0), geometry, packets: u64::MAX };
    running.attach(SourcePort::new(options, templates).expect("small")).expect("room");
    until(|| 10_000 < sum(&running, Counter::Rx));
    clock.armed.store(true, Ordering::Release);
    until(|| clock.filtered.load(Ordering::Acquire) == spec.cores.len());
    let before = sum(&running, Counter::Rx);
    until(|| before + 100_000 < sum(&running, Counter::Rx));
    running.stop().into_iter().for_each(|report| assert_eq!(report.expect("in time").census.missing(), 0));
}

#[test]
fn f11_a_busy_engine_makes_no_system_call() {
    // Without a port, at the end, it does not sleep either.
    endless(&spec(Layout::RunToCompletion, 1, Idle::Busy), &[]);
}

#[test]
fn f11_a_busy_pipeline_makes_no_system_call_but_to_sleep_and_wake() {
    endless(&spec(Layout::Pipeline, 4, Idle::Adaptive), syscalls::WAKE_UPS);
}

/// Packets one after another, so that engines fall asleep between them.
#[test]
fn f11_an_idle_engine_makes_no_system_call_but_to_sleep_and_wake() {
    let host = Host::new();
    for (layout, engines) in [(Layout::RunToCompletion, 1), (Layout::Pipeline, 3)] {
        let clock = FilteringClock::new(syscalls::WAKE_UPS);
        let mut running = start(&host, &spec(layout, engines, Idle::Adaptive), &clock);
        let (port, mut far) = memory_port(MemoryOptions::new(PortId::new(0))).expect("small");
        running.attach(port).expect("room");
        let bytes = Packet::to(ECHO).frame();
        let echo = |far: &mut FarEnd| {
            far.inject(&bytes, None).expect("room");
            until(|| far.collect(1, |_| {}) == 1);
        };
        (0..100).for_each(|_| echo(&mut far));
        clock.armed.store(true, Ordering::Release);
        (0..1000).for_each(|_| echo(&mut far));
        assert_eq!(clock.filtered.load(Ordering::Acquire), engines, "every engine woke, and was filtered");
        running
            .stop()
            .into_iter()
            .for_each(|report| assert_eq!(report.expect("in time").census.missing(), 0));
    }
}

/// Set, this very test makes a forbidden call.
const FORBIDDEN: &str = "OCTROI_TEST_FORBIDDEN_CALL";

#[test]
fn f11_a_forbidden_call_ends_the_process() {
    if std::env::var_os(FORBIDDEN).is_some() {
        syscalls::allow_only(syscalls::WAKE_UPS).expect("a kernel with seccomp");
        let _ = nix::unistd::getppid();
        unreachable!("the filter let it through");
    }
    let mut again = Command::new(std::env::current_exe().expect("a name"));
    again.args(["--exact", "f11_a_forbidden_call_ends_the_process"]).env(FORBIDDEN, "1");
    let status = again.output().expect("it starts").status;
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
}
