//! Fairness on a virtual clock: many stacks on one worker, and what each gets to send.
//!
//! The clock is the wire: a packet takes its cost in byte times, and nothing else takes time. No test reads another.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
#[path = "../../../tests/src/corpus/rng.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses its part of a shared file")]
mod rng;
#[path = "../../../tests/src/scale.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses its part of a shared file")]
mod scale;

use std::{collections::VecDeque, time::Duration};

use multistack::drr::{
    ChannelNo, Credit, Drr, IDLE_VISITS, LOOP_FEWEST, LOOP_LEAST, LOOP_MOST, LOOP_TIME, Left, PROBES, Pace,
    QUANTUM, Ring, Rings, Turn, VISIT_PACKETS, Weight, cost,
};
use rng::Rng;
use scale::Seed;

/// Received by a loop while nothing comes in, and while a burst does.
const LOADS: [usize; 2] = [0, 64];
/// The second of them.
const BURST: usize = LOADS[1];

/// A stack: what it has to send, and when.
#[derive(Clone, Debug, Default)]
struct Stack {
    /// Packets that wait, with the time at which each arrived.
    ring: VecDeque<(u32, u64)>,
    /// Sizes to draw from, if it always has another packet.
    greedy: Option<u32>,
    bytes: u64,
    packets: u64,
    looks: u64,
    visits: u64,
    longest_visit: u32,
    waited_most: u64,
}

/// A worker's stacks, and the wire.
#[derive(Debug)]
struct Worker {
    stacks: Vec<Stack>,
    now: u64,
    /// Packets until there is no frame left.
    frames: u32,
}

impl Worker {
    fn new(count: usize) -> Self {
        Self { stacks: vec![Stack::default(); count], now: 0, frames: u32::MAX }
    }

    fn greedy(sizes: &[u32]) -> Self {
        let mut worker = Self::new(sizes.len());
        worker.stacks.iter_mut().zip(sizes).for_each(|(stack, &size)| stack.greedy = Some(size));
        worker
    }

    fn arrive(&mut self, stack: usize, len: u32) {
        self.stacks[stack].ring.push_back((len, self.now));
    }
}

impl Rings for Worker {
    fn look(&mut self, channel: ChannelNo) -> Ring {
        let stack = &mut self.stacks[channel.index()];
        stack.looks += 1;
        if stack.greedy.is_some() || !stack.ring.is_empty() { Ring::Filled } else { Ring::Empty }
    }

    fn visit(&mut self, channel: ChannelNo, credit: &mut Credit) -> Left {
        let stack = &mut self.stacks[channel.index()];
        stack.visits += 1;
        let before = stack.packets;
        let left = loop {
            let next = stack.greedy.map(|len| (len, self.now)).or_else(|| stack.ring.front().copied());
            let Some((len, since)) = next else { break Left::Nothing };
            if self.frames == 0 {
                break Left::Blocked;
            }
            if credit.pay(len).is_none() {
                break Left::Backlog;
            }
            self.frames -= 1;
            if stack.greedy.is_none() {
                stack.ring.pop_front();
            }
            self.now += u64::from(cost(len));
            stack.waited_most = stack.waited_most.max(self.now - since);
            stack.bytes += u64::from(cost(len));
            stack.packets += 1;
        };
        stack.longest_visit = stack.longest_visit.max((stack.packets - before) as u32);
        left
    }
}

fn drr(weights: &[u8]) -> Drr {
    let mut drr = Drr::new(weights.len() as u16);
    for (n, &weight) in weights.iter().enumerate() {
        drr.add(ChannelNo::new(n as u16), Weight::new(weight).unwrap()).unwrap();
    }
    drr
}

/// Jain's fairness index of shares: 1 if all are equal, 1/n if one has everything.
fn jain(shares: impl Iterator<Item = f64> + Clone) -> f64 {
    let (n, sum) = (shares.clone().count() as f64, shares.clone().sum::<f64>());
    sum * sum / (n * shares.map(|x| x * x).sum::<f64>())
}

fn shares<'a>(worker: &'a Worker, weights: &'a [u8]) -> impl Iterator<Item = f64> + Clone + 'a {
    worker.stacks.iter().zip(weights).map(|(stack, &weight)| stack.bytes as f64 / f64::from(weight))
}

#[test]
fn mt08_64_stacks_of_any_packet_size_share_the_wire_equally() {
    let sizes: Vec<u32> = (0..64).map(|n| [60, 128, 570, 1514][n % 4]).collect();
    for received in LOADS {
        let (mut worker, mut drr) = (Worker::greedy(&sizes), drr(&[1; 64]));
        let wire = 64 * 40 * u64::from(QUANTUM);
        while worker.now < wire {
            let allowed = drr.allowance(received);
            assert_eq!(drr.turn(received, &mut worker).packets, allowed);
        }
        let index = jain(shares(&worker, &[1; 64]));
        assert!(0.99 <= index, "{received} received: {index}");
        assert!(worker.stacks.iter().all(|stack| stack.longest_visit <= VISIT_PACKETS));
    }
}

#[test]
fn mt08_weights_are_shares_for_small_packets_too() {
    let weights: Vec<u8> = (0..32).map(|n| [1, 2, 5, 16][n % 4]).collect();
    for (size, received) in [60, 1514].into_iter().flat_map(|size| LOADS.map(|received| (size, received))) {
        let (mut worker, mut drr) = (Worker::greedy(&[size; 32]), drr(&weights));
        while worker.now < 8 * 24 * 40 * u64::from(QUANTUM) {
            drr.turn(received, &mut worker);
        }
        let index = jain(shares(&worker, &weights));
        assert!(0.99 <= index, "{size} bytes, {received} received: {index}");
    }
}

#[test]
fn mt08_a_flooder_takes_what_others_leave_and_no_more() {
    // 63 stacks send half of their share; the flooder is never done.
    for received in LOADS {
        let (mut worker, mut drr) = (Worker::new(64), drr(&[1; 64]));
        worker.stacks[0].greedy = Some(60);
        let (share, mut next) = (64 * u64::from(cost(56)) * 2, [0_u64; 64]);
        let mut sent = [0_u64; 64];
        while worker.now < 4_000_000 {
            for n in 1..64 {
                while next[n] <= worker.now {
                    worker.arrive(n, 56);
                    (next[n], sent[n]) = (next[n] + share, sent[n] + 1);
                }
            }
            drr.turn(received, &mut worker);
        }
        for (n, (stack, sent)) in worker.stacks.iter().zip(sent).enumerate().skip(1) {
            assert!(sent - stack.packets <= 8, "stack {n}: {} of {sent}", stack.packets);
        }
        let rest = 4_000_000 - worker.stacks[1..].iter().map(|stack| stack.bytes).sum::<u64>();
        assert!(worker.stacks[0].bytes.abs_diff(rest) < 100_000, "{} of {rest}", worker.stacks[0].bytes);
    }
}

#[test]
fn mt08_a_sleeper_waits_for_one_visit_of_each_and_not_for_a_quantum() {
    // Sixteen flooders of the greatest weight, whose quantum is 256 KiB.
    for received in LOADS {
        let (mut worker, mut drr) = (Worker::greedy(&[60; 17]), drr(&[[16; 16].as_slice(), &[1]].concat()));
        worker.stacks[16].greedy = None;
        // When the flooders have all been found.
        let mut due = 1_000_000;
        while worker.now < 40_000_000 {
            if due <= worker.now {
                worker.arrive(16, 60);
                due = worker.now + 100_000;
            }
            drr.turn(received, &mut worker);
        }
        let sleeper = &worker.stacks[16];
        assert!(300 < sleeper.packets);
        // One loop until it is looked at, one round of visits until its turn.
        let of_loop = drr.allowance(received);
        let visit = u64::from(VISIT_PACKETS.min(of_loop) * cost(60));
        let most = 17 * visit + u64::from(of_loop * cost(60)) + visit;
        assert!(sleeper.waited_most <= most, "{received} received: {} of {most}", sleeper.waited_most);
    }
}

#[test]
fn mt08_who_sends_little_waits_for_two_loops_of_one_who_floods() {
    let (mut worker, mut drr) = (Worker::greedy(&[60; 2]), drr(&[16, 1]));
    worker.stacks[1].greedy = None;
    let mut due = 0;
    while worker.now < 10_000_000 {
        if due <= worker.now {
            worker.arrive(1, 60);
            due = worker.now + 10_000;
        }
        drr.turn(0, &mut worker);
    }
    let patient = &worker.stacks[1];
    assert!(700 < patient.packets);
    let most = u64::from((2 * LOOP_LEAST + 1) * cost(60));
    assert!(patient.waited_most <= most, "{} of {most}", patient.waited_most);
}

#[test]
fn mt08_a_loop_moves_four_times_what_it_received_between_bounds() {
    let allowance = |received| Pace::default().allowance(received);
    assert_eq!([0, 1, 4, 5, 63].map(allowance), [LOOP_LEAST, LOOP_LEAST, LOOP_LEAST, 20, 252]);
    assert_eq!([64, 65, usize::MAX].map(allowance), [LOOP_MOST; 3]);
}

#[test]
fn mt08_a_loop_of_slow_packets_is_over_as_soon_as_one_of_fast_ones() {
    for (each, most) in
        [(0, LOOP_LEAST), (50, LOOP_LEAST), (375, LOOP_LEAST), (600, 10), (1500, 4), (5000, LOOP_FEWEST)]
    {
        let (mut pace, each) = (Pace::default(), Duration::from_nanos(each));
        for loops in 0..200 {
            let packets = pace.allowance(0);
            pace.took(each * packets, packets);
            assert!(loops < 100 || packets == most, "{each:?}: {packets}");
        }
        // Whoever is flooded from outside can answer all the same.
        assert_eq!([4, 64].map(|received| pace.allowance(received)), [most.max(16), LOOP_MOST]);
    }
}

#[test]
fn mt08_a_loop_that_was_interrupted_says_little_and_an_empty_one_nothing() {
    let mut pace = Pace::default();
    (0..100).for_each(|_| pace.took(Duration::from_nanos(16 * 50), 16));
    pace.took(Duration::from_secs(5000), 1);
    assert_eq!(pace.allowance(0), (LOOP_TIME.as_nanos() / (50 + LOOP_TIME.as_nanos() / 16)) as u32);
    (0..100).for_each(|_| pace.took(Duration::from_secs(1), 0));
    assert_eq!(pace.allowance(0), 14, "nothing was learnt from loops that moved nothing");
    (0..4).for_each(|_| pace.took(Duration::from_nanos(16 * 50), 16));
    assert_eq!(pace.allowance(0), LOOP_LEAST);
}

#[test]
fn mt08_what_crosses_is_moved_twice() {
    /// Packets that all go to another application.
    struct Crossing;
    impl Rings for Crossing {
        fn look(&mut self, _: ChannelNo) -> Ring {
            Ring::Filled
        }

        fn visit(&mut self, _: ChannelNo, credit: &mut Credit) -> Left {
            while credit.pay(60).is_some() {
                credit.cross();
            }
            Left::Backlog
        }
    }
    assert_eq!(drr(&[1]).turn(0, &mut Crossing), Turn { packets: LOOP_LEAST / 2, left: Left::Backlog });
}

#[test]
fn mt08_an_empty_ring_banks_nothing_over_a_round() {
    let (mut worker, mut drr) = (Worker::greedy(&[1000; 2]), drr(&[1; 2]));
    worker.stacks[0].greedy = None;
    // The first is idle for many rounds of the second, but still awake; then it floods.
    worker.arrive(0, 60);
    while worker.now < 20 * u64::from(QUANTUM) {
        drr.turn(BURST, &mut worker);
    }
    assert!(drr.is_awake(ChannelNo::new(0)));
    worker.stacks[0].greedy = Some(1000);
    let before = [worker.stacks[0].bytes, worker.stacks[1].bytes];
    while worker.now < 150 * u64::from(QUANTUM) {
        drr.turn(BURST, &mut worker);
        let [first, second] = [0, 1].map(|n| worker.stacks[n].bytes - before[n]);
        assert!(first <= second + 2 * u64::from(QUANTUM), "{first} against {second}");
    }
}

#[test]
fn mt08_coming_and_going_gains_nothing() {
    // One has a packet only ever when it is visited; it may not have more than its share of a flooder's time.
    let weights = [1, 16];
    let (mut worker, mut drr) = (Worker::greedy(&[60; 2]), drr(&weights));
    worker.stacks[0].greedy = None;
    while worker.now < 400 * u64::from(QUANTUM) {
        while worker.stacks[0].ring.len() < VISIT_PACKETS as usize {
            worker.arrive(0, 60);
        }
        drr.turn(BURST, &mut worker);
    }
    let (come, stay) = (worker.stacks[0].bytes, worker.stacks[1].bytes);
    assert!(come * 16 <= stay + 20 * u64::from(QUANTUM), "{come} against {stay}");
}

#[test]
fn mt08_who_falls_asleep_within_a_round_wakes_to_what_it_had_left() {
    // The other's quantum takes so many visits that one can fall asleep meanwhile, again and again.
    let (mut worker, mut drr) = (Worker::greedy(&[60; 2]), drr(&[1, 16]));
    worker.stacks[0].greedy = None;
    let (mut asleep, quantum) = (0, QUANTUM / cost(60));
    while worker.now < 400 * u64::from(QUANTUM) {
        if !drr.is_awake(ChannelNo::new(0)) && worker.stacks[0].ring.is_empty() {
            asleep += 1;
            (0..quantum).for_each(|_| worker.arrive(0, 60));
        }
        drr.turn(0, &mut worker);
    }
    let (come, stay) = (worker.stacks[0].bytes, worker.stacks[1].bytes);
    assert!(10 < asleep);
    assert!(come * 16 <= stay + 20 * u64::from(QUANTUM), "{come} against {stay}");
}

#[test]
fn mt08_a_bit_is_cleared_after_64_empty_visits_and_eight_sleepers_are_looked_at() {
    let (mut worker, mut drr) = (Worker::new(100), drr(&[1; 100]));
    let channel = ChannelNo::new(40);
    assert!(!drr.is_awake(channel));
    worker.arrive(40, 60);
    // Eight a loop: the 41st in the sixth.
    for _ in 0..5 {
        drr.turn(BURST, &mut worker);
    }
    assert_eq!((drr.is_awake(channel), worker.stacks[40].packets), (false, 0));
    assert_eq!(drr.turn(BURST, &mut worker), Turn { packets: 1, left: Left::Nothing });
    assert!(drr.is_awake(channel));
    let visits = worker.stacks[40].visits;
    let mut turns = 0;
    while drr.is_awake(channel) {
        drr.turn(BURST, &mut worker);
        turns += 1;
        assert!(turns <= 64);
    }
    assert_eq!(worker.stacks[40].visits - visits + 1, u64::from(IDLE_VISITS), "one was in the first turn");
    let looks = |worker: &Worker| worker.stacks.iter().map(|stack| stack.looks).sum::<u64>();
    let before = looks(&worker);
    (0..25).for_each(|_| _ = drr.turn(BURST, &mut worker));
    assert_eq!(looks(&worker) - before, 25 * PROBES as u64);
    let each: Vec<_> = worker.stacks.iter().map(|stack| stack.looks).collect();
    assert!(each.iter().max().unwrap() - each.iter().min().unwrap() <= 10, "in turn: {each:?}");
}

#[test]
fn mt08_what_is_blocked_goes_on_where_it_was() {
    let (mut worker, mut drr) = (Worker::greedy(&[60; 2]), drr(&[1; 2]));
    worker.frames = 70;
    assert_eq!(drr.turn(BURST, &mut worker), Turn { packets: 70, left: Left::Blocked });
    assert_eq!([worker.stacks[0].packets, worker.stacks[1].packets], [64, 6]);
    assert_eq!(drr.turn(BURST, &mut worker), Turn { packets: 0, left: Left::Blocked });
    worker.frames = 1;
    assert_eq!(drr.turn(BURST, &mut worker), Turn { packets: 1, left: Left::Blocked });
    assert_eq!([worker.stacks[0].packets, worker.stacks[1].packets], [64, 7]);
}

#[test]
fn mt08_a_packet_costs_its_share_of_the_wire_whatever_its_descriptor_says() {
    assert_eq!([0, 60, 64, 65, 1514].map(cost), [88, 88, 88, 89, 1538]);
    assert_eq!([4096, 4097, u32::MAX].map(cost), [4120; 3]);
    let mut worker = Worker::greedy(&[u32::MAX, 60]);
    let mut drr = drr(&[1; 2]);
    while worker.now < 100 * u64::from(QUANTUM) {
        drr.turn(BURST, &mut worker);
    }
    let index = jain(shares(&worker, &[1; 2]));
    assert!(0.99 <= index, "{index}");
}

#[test]
fn mt08_channels_that_are_gone_are_not_visited() {
    let (mut worker, mut drr) = (Worker::greedy(&[60; 3]), drr(&[1; 3]));
    drr.turn(BURST, &mut worker);
    drr.remove(ChannelNo::new(1));
    let before = worker.stacks[1].clone();
    (0..20).for_each(|_| _ = drr.turn(BURST, &mut worker));
    assert_eq!((worker.stacks[1].visits, worker.stacks[1].looks), (before.visits, before.looks));
    assert_eq!(drr.any_filled(&mut worker), Ring::Filled);
    worker.stacks[0].greedy = None;
    worker.stacks[2].greedy = None;
    assert_eq!(drr.any_filled(&mut worker), Ring::Empty);
    assert_eq!(drr.add(ChannelNo::new(3), Weight::ONE), None, "no such number");
}

#[test]
fn mt08_random_arrivals_are_all_sent_and_nobody_gets_more_than_its_rounds() {
    let seed = Seed::get();
    let mut rng = Rng::new(seed);
    for round in 0..scale::MT08_ROUNDS.count() {
        let count = 1 + rng.below(200);
        let weights: Vec<u8> = (0..count).map(|_| 1 + rng.below(16) as u8).collect();
        let (mut worker, mut drr) = (Worker::new(count), drr(&weights));
        let mut arrived = 0;
        for _ in 0..50 {
            for _ in 0..rng.below(600) {
                let stack = if rng.once_in(3) { 0 } else { rng.below(count) };
                worker.arrive(stack, rng.below(2000) as u32);
                arrived += 1;
            }
            if rng.once_in(4) {
                worker.frames = rng.below(300) as u32;
            } else {
                worker.frames = u32::MAX;
            }
            drr.turn(BURST, &mut worker);
        }
        worker.frames = u32::MAX;
        let mut turns = 0;
        while drr.any_filled(&mut worker) == Ring::Filled {
            drr.turn(BURST, &mut worker);
            turns += 1;
            assert!(turns < 10_000, "{seed}, round {round}: packets are left behind");
        }
        let sent: u64 = worker.stacks.iter().map(|stack| stack.packets).sum();
        assert_eq!(sent, arrived, "{seed}, round {round}");
        assert!(worker.stacks.iter().all(|stack| stack.longest_visit <= VISIT_PACKETS));
    }
}
