//! Scratch rings against a `VecDeque`, at the end of the index space, and across threads.
#![cfg(not(loom))]
use std::{collections::VecDeque, sync::Arc as StdArc, thread};

use proptest::prelude::*;

use super::*;

#[test]
fn a_ring_is_a_power_of_two() {
    for given in [0, 3, 12, MAX_SLOTS * 2] {
        assert_eq!(ring::<u8>(given).err(), Some(RingSize { given, limit: MAX_SLOTS }), "{given}");
    }
    assert!(ring::<u8>(1).is_ok());
}

#[derive(Clone, Debug)]
enum Op {
    Push(u8),
    PushBurst(Vec<u8>),
    Pop,
    PopBurst(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        any::<u8>().prop_map(Op::Push),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Op::PushBurst),
        Just(Op::Pop),
        (0usize..12).prop_map(Op::PopBurst),
    ]
}

/// The twin: does `ops` on a ring and on a queue and compares everything that can be seen.
fn behaves_as_a_queue(slots: usize, start: usize, ops: &[Op]) {
    let (mut producer, mut consumer) = ring_at(slots, start).expect("a power of two");
    let level = producer.level();
    let mut queue = VecDeque::new();
    for op in ops {
        match op {
            Op::Push(item) => {
                let fits = queue.len() < slots;
                assert_eq!(producer.push(*item), if fits { Ok(()) } else { Err(*item) });
                if fits {
                    queue.push_back(*item);
                }
            }
            Op::PushBurst(items) => {
                let mut left = items.clone();
                let count = (slots - queue.len()).min(items.len());
                assert_eq!(producer.push_burst(&mut left), count);
                queue.extend(&items[..count]);
                assert_eq!(left, items[count..]);
            }
            Op::Pop => assert_eq!(consumer.pop(), queue.pop_front()),
            Op::PopBurst(max) => {
                let mut into = vec![0xee];
                let count = queue.len().min(*max);
                assert_eq!(consumer.pop_burst(&mut into, *max), count);
                assert_eq!(into[1..], queue.drain(..count).collect::<Vec<_>>());
            }
        }
        assert_eq!(
            (level.waiting(), consumer.len(), consumer.is_empty()),
            (queue.len(), queue.len(), queue.is_empty())
        );
        assert!(level.high_water() <= level.capacity());
    }
}

proptest! {
    #[test]
    fn b14_a_ring_is_a_bounded_queue_at_every_index(
        log in 0u32..5,
        start in prop_oneof![Just(0), (0usize..40).prop_map(|back| usize::MAX - back), any::<usize>()],
        ops in prop::collection::vec(op(), 0..120),
    ) {
        behaves_as_a_queue(1 << log, start, &ops);
    }
}

#[test]
fn the_high_water_mark_is_the_most_that_ever_waited() {
    let (mut producer, mut consumer) = ring(8).expect("a power of two");
    let level = consumer.level();
    producer.push_burst(&mut vec![1, 2, 3, 4, 5]);
    while consumer.pop().is_some() {}
    producer.push_burst(&mut vec![6]);
    assert_eq!(consumer.pop(), Some(6));
    assert_eq!((level.high_water(), level.waiting()), (5, 0));
}

#[test]
fn what_waits_is_dropped_with_the_ring_and_nothing_else() {
    let item = StdArc::new(());
    let (mut producer, mut consumer) = ring_at(4, usize::MAX - 1).expect("a power of two");
    for _ in 0..4 {
        producer.push(StdArc::clone(&item)).expect("room");
    }
    drop(consumer.pop());
    assert_eq!(StdArc::strong_count(&item), 4);
    drop(consumer);
    assert_eq!(StdArc::strong_count(&item), 4, "the producer still holds the ring");
    drop(producer);
    assert_eq!(StdArc::strong_count(&item), 1);
}

#[test]
fn two_threads_pass_everything_in_order() {
    const COUNT: u32 = 100_000;
    let (mut producer, mut consumer) = ring(64).expect("a power of two");
    let sender = thread::spawn(move || {
        let mut next = 0..COUNT;
        let mut batch = Vec::new();
        while !(batch.is_empty() && next.is_empty()) {
            batch.extend(next.by_ref().take(17 - batch.len()));
            if producer.push_burst(&mut batch) == 0 {
                thread::yield_now();
            }
        }
    });
    let mut got = Vec::new();
    while got.len() < COUNT as usize {
        if consumer.pop_burst(&mut got, 23) == 0 {
            thread::yield_now();
        }
    }
    sender.join().expect("no panic");
    assert!(got.iter().copied().eq(0..COUNT));
    assert_eq!(consumer.pop(), None);
}
