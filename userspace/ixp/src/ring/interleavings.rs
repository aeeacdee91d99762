//! Every interleaving of a ring's two halves, and of falling asleep with being woken, under loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p ixp --lib --release interleavings`.
#![cfg(loom)]
use loom::thread;

use super::*;
use crate::wakeup::Doze;

fn everything_arrives(slots: usize, start: usize, count: u32) {
    loom::model(move || {
        let (mut producer, mut consumer) = ring_at(slots, start).expect("a power of two");
        let sender = thread::spawn(move || {
            for item in 0..count {
                let mut item = item;
                while let Err(back) = producer.push(item) {
                    item = back;
                    thread::yield_now();
                }
            }
        });
        for expected in 0..count {
            let item = loop {
                match consumer.pop() {
                    Some(item) => break item,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(item, expected);
        }
        sender.join().expect("no panic");
        assert!(consumer.pop().is_none());
    });
}

#[test]
fn nothing_is_lost_or_doubled_in_one_slot() {
    everything_arrives(1, usize::MAX, 3);
}

#[test]
fn nothing_is_lost_or_doubled_in_two_slots() {
    everything_arrives(2, 0, 3);
}

#[test]
fn bursts_are_whole_and_in_order() {
    loom::model(|| {
        let (mut producer, mut consumer) = ring(4).expect("a power of two");
        let sender = thread::spawn(move || {
            let mut items = vec![1, 2, 3];
            while !items.is_empty() {
                producer.push_burst(&mut items);
            }
        });
        let mut got = Vec::new();
        while got.len() < 3 {
            if consumer.pop_burst(&mut got, 2) == 0 {
                thread::yield_now();
            }
        }
        sender.join().expect("no panic");
        assert_eq!(got, [1, 2, 3]);
    });
}

#[test]
fn what_nobody_took_is_dropped_once() {
    loom::model(|| {
        let item = std::sync::Arc::new(());
        let (mut producer, mut consumer) = ring(2).expect("a power of two");
        let ours = item.clone();
        let sender = thread::spawn(move || {
            producer.push(ours.clone()).expect("room");
            producer.push(ours).expect("room");
        });
        drop(consumer.pop());
        drop(consumer);
        sender.join().expect("no panic");
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
    });
}

/// The handshake of `wakeup`: the sleeper blocks only if, after saying so, it finds nothing. If it blocks, the
/// waker must have seen it.
#[test]
fn nobody_sleeps_through_a_push() {
    loom::model(|| {
        let (mut producer, consumer) = ring(2).expect("a power of two");
        let doze = loom::sync::Arc::new(Doze::new());
        let theirs = doze.clone();
        let waker = thread::spawn(move || {
            producer.push(1).expect("room");
            theirs.must_wake()
        });
        doze.prepare();
        let blocks = consumer.is_empty();
        let woken = waker.join().expect("no panic");
        assert!(!blocks || woken, "asleep, work waits, and nobody will ring");
    });
}
