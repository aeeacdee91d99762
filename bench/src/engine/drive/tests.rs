//! The loops on a clock that moves when it is looked at, over wires that lose, double and delay.
use std::{cell::Cell, collections::VecDeque};

use abi::pktgen::Cursor;

use super::*;
use crate::{
    engine::memory::Reflector,
    traffic::{
        plan::Plan,
        profile::{Mac, Order, Profile, Transport},
        reader::Reader,
        span::PortSpan,
    },
};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// A clock that ticks at each look.
struct Ticking {
    now: Cell<u64>,
    tick: u64,
}

impl Clock for Ticking {
    fn now_ns(&self) -> u64 {
        self.now.set(self.now.get() + self.tick);
        self.now.get()
    }

    fn sleep_until(&self, ns: u64) {
        self.now.set(self.now.get().max(ns));
    }
}

fn ticking(tick: u64) -> Ticking {
    Ticking { now: Cell::new(5 * MS), tick }
}

fn plan() -> Plan {
    let profile = Profile {
        src_mac: Mac([2, 0, 0, 0, 0, 1]),
        dst_mac: Mac([2, 0, 0, 0, 0, 2]),
        tags: vec![],
        transport: Transport::Udp,
        src: "10.0.0.1".parse().expect("one address"),
        dst: "10.0.0.2".parse().expect("one address"),
        sport: "1024-2047".parse().expect("ports"),
        dport: PortSpan::one(7),
        flows: 3,
        order: Order::RoundRobin,
        mix: "128".parse().expect("a size"),
        seed: 1,
    };
    Plan::new(&profile).expect("legal")
}

fn per_second(frames: f64) -> Rate {
    Rate::new(frames).expect("legal")
}

fn book(plan: &Plan) -> Book {
    let config = plan.config();
    Book::new(Reader::new(config.shape, config.flows), config.flows).expect("bounds")
}

/// A wire that returns each frame after a while, except every `loses`-th.
struct Slow {
    plan: Plan,
    cursor: Cursor,
    loses: u64,
    under_way: VecDeque<Vec<u8>>,
    most: usize,
    room: u64,
}

impl Slow {
    fn new(plan: Plan, loses: u64, room: u64) -> Self {
        Self { plan, cursor: Cursor::starting(0), loses, under_way: VecDeque::new(), most: 0, room }
    }
}

impl Outlet for Slow {
    fn restart(&mut self, start_ns: u64, interval_q: u64) {
        self.plan.set_interval(interval_q);
        self.cursor = Cursor::starting(start_ns);
    }

    fn offer(&mut self, max: u64, now_ns: u64) -> Result<Left> {
        let mut left = Left::default();
        for _ in 0..max.min(self.room) {
            let mut frame = vec![0; self.plan.longest()];
            self.plan.next(&mut self.cursor, now_ns, &mut frame);
            left.frames += 1;
            left.bytes += frame.len() as u64;
            if self.loses == 0 || !self.cursor.made.is_multiple_of(self.loses) {
                self.under_way.push_back(frame);
            }
        }
        self.most = self.most.max(self.under_way.len());
        Ok(left)
    }
}

impl Inlet for Slow {
    fn collect(&mut self, clock: &dyn Clock, each: &mut dyn FnMut(&[u8], u64)) -> Result<u64> {
        // One at a time: what is under way piles up.
        Ok(self.under_way.pop_front().map_or(0, |frame| {
            each(&frame, clock.now_ns());
            1
        }))
    }

    fn wait(&mut self, _ns: u64) -> Result<()> {
        Ok(())
    }

    fn losses(&self) -> u64 {
        0
    }
}

#[test]
fn a_schedule_is_kept() {
    let mut wire = Slow::new(plan(), 0, 64);
    let job = Job::lasting(2 * MS, per_second(1e5));
    let mut seen = Progress::default();
    let sent = send(&mut wire, &job, &ticking(US), &mut |p| seen = p).expect("never gone");
    assert_eq!((sent.sent, sent.bytes, sent.unsent), (200, 200 * 124, 0));
    assert!(sent.lag_ns_max <= 2 * US, "{sent:?}");
    assert_eq!(seen.sent, 200);
}

#[test]
fn what_is_not_sent_in_time_is_said() {
    // Room for one frame a look of 20 µs: 50 a millisecond, where 100 are due.
    let mut wire = Slow::new(plan(), 0, 1);
    let sent = send(&mut wire, &Job::lasting(2 * MS, per_second(1e5)), &ticking(20 * US), &mut |_| {})
        .expect("never gone");
    assert_eq!((sent.sent, sent.unsent), (99, 101));
    assert!(900 * US <= sent.lag_ns_max, "{sent:?}");
}

#[test]
fn an_echo_without_a_rate_keeps_to_its_window() {
    let plan = plan();
    let mut book = book(&plan);
    let mut wire = Slow::new(plan, 0, 64);
    let job = Job { frames: Some(1000), window: 8, ..Job::lasting(MAX_DURATION_NS, Rate::UNLIMITED) };
    let (sent, _) = echo(&mut wire, &mut book, &job, &ticking(US), &mut |_| {}).expect("never gone");
    assert_eq!((sent.sent, wire.most), (1000, 8));
    let outcome = book.outcome(Some(sent.sent));
    assert_eq!((outcome.lost, outcome.tally.received, outcome.tally.duplicates), (0, 1000, 0));
}

#[test]
fn lost_frames_do_not_close_the_window_for_good() {
    let plan = plan();
    let mut book = book(&plan);
    let mut wire = Slow::new(plan, 4, 64);
    let job = Job { frames: Some(100), window: 8, ..Job::lasting(MAX_DURATION_NS, Rate::UNLIMITED) };
    let (sent, _) = echo(&mut wire, &mut book, &job, &ticking(US), &mut |_| {}).expect("never gone");
    let outcome = book.outcome(Some(sent.sent));
    assert_eq!((sent.sent, outcome.lost, outcome.tally.in_order), (100, 25, 75));
}

#[test]
fn latency_of_a_wire_that_cannot_keep_up_grows() {
    let plan = plan();
    let mut book = book(&plan);
    let mut wire = Slow::new(plan, 0, 64);
    // Two looks a frame: half the rate comes back, and the schedule does not wait.
    let job = Job { frames: Some(1000), ..Job::lasting(MAX_DURATION_NS, per_second(1e6)) };
    let (sent, received) = echo(&mut wire, &mut book, &job, &ticking(US), &mut |_| {}).expect("never gone");
    let outcome = book.outcome(Some(sent.sent));
    assert_eq!((outcome.lost, outcome.latency.count), (0, 1000));
    assert!(900 * US <= outcome.latency.max_ns, "{:?}", outcome.latency);
    assert!((450_000.0..550_000.0).contains(&received.rate_pps), "{received:?}");
}

#[test]
fn a_collector_ends_after_the_last_frame() {
    let plan = plan();
    let mut book = book(&plan);
    let mut wire = Slow::new(plan, 0, 64);
    wire.offer(10, 0).expect("room");
    let job = Job { linger_ns: 3 * MS, ..Job::lasting(1_000 * MS, Rate::UNLIMITED) };
    let clock = ticking(100 * US);
    collect(&mut wire, &mut book, &job, &clock, &mut |_| {}).expect("never gone");
    assert_eq!(book.tally().received, 10);
    assert!(clock.now.get() < 20 * MS, "{}", clock.now.get());
}

#[test]
fn a_collector_of_nothing_ends_with_its_time() {
    let plan = plan();
    let mut book = book(&plan);
    let mut wire = Slow::new(plan, 0, 64);
    let clock = ticking(MS);
    let received =
        collect(&mut wire, &mut book, &Job::lasting(50 * MS, Rate::UNLIMITED), &clock, &mut |_| {})
            .expect("never gone");
    assert_eq!((received, clock.now.get() / MS), (Received::default(), 56));
}

#[test]
fn a_wire_of_memory_returns_everything() {
    let plan = plan();
    let mut book = book(&plan);
    let mut wire = Reflector::new(plan).expect("memory");
    let job = Job { frames: Some(100_000), window: 512, ..Job::lasting(MAX_DURATION_NS, Rate::UNLIMITED) };
    let (sent, received) = echo(&mut wire, &mut book, &job, &ticking(100), &mut |_| {}).expect("never gone");
    let outcome = book.outcome(Some(sent.sent));
    assert_eq!((outcome.lost, outcome.tally.in_order, received.ring_losses), (0, 100_000, 0));
}
