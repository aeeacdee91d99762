//! RT11: once an engine has its scratch memory, rewriting allocates nothing, whatever the plan and the packet.
//!
//! A counting allocator needs a test binary of its own; it counts for the thread that runs the test.
#![allow(
    unsafe_code,
    reason = "a counting allocator implements an unsafe trait; it adds a count and nothing else"
)]
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(dead_code, reason = "rules and packets of another test, of which this one needs less")]

#[path = "rewrite/naive.rs"]
mod naive;
#[path = "rewrite/rule.rs"]
mod rule;
#[path = "rewrite/traffic.rs"]
mod traffic;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use ruler::{
    resolved::{Item, Part, Value},
    rewrite::{Bounds, Kind, Plan, Scratch, anonymise::Anonymiser, apply},
};

use rule::{With as _, constant, id, item, label};
use traffic::{Ip, Shape, Transport};

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
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

/// An output of each kind, with every part and every value in one of them.
fn outputs() -> [Vec<Item>; 4] {
    let sum = |ip: usize| Value::UdpCsum(id(ip));
    let ip = || {
        label(rule::I).with(12, 4, Value::PrefixAnon(id(rule::I_SRC))).with(10, 2, Value::Ipv4Csum).with(
            16,
            4,
            Value::Label(id(rule::I_SRC)),
        )
    };
    let udp = || label(rule::T).with(6, 2, sum(rule::I));
    let len = Value::Len(vec![id(rule::I), id(rule::T)]);
    let zeros = item(Part::Zero(id(rule::HEAD)));
    let unpadded = item(Part::Unpad(id(rule::TAIL), id(rule::I)));
    [
        vec![label(rule::E), ip(), label(rule::X), udp(), label(rule::HEAD), label(rule::TAIL)],
        vec![ip(), label(rule::X), udp(), label(rule::HEAD), unpadded.clone()],
        vec![constant(&[7; 14]), ip().with(2, 2, len), udp(), zeros, unpadded],
        vec![
            item(Part::PrefixAnon(id(rule::I_DST))),
            label(rule::TAIL),
            label(rule::TAIL),
            constant(&[1; 700]),
        ],
    ]
}

fn shape(fragment: u16, payload: usize) -> Shape {
    Shape {
        ip: Ip::V4 { words: 2, fragment },
        transport: Transport::Udp,
        tcp_words: 0,
        has_maybe: true,
        payload: vec![0x5a; payload],
        padding: vec![0; 5],
        addresses: [0xc0; 32],
        unsummed: false,
    }
}

#[test]
fn rt11_rewriting_allocates_nothing() {
    let plans = outputs().map(|items| Plan::of(&rule::rule(4, items)).unwrap());
    assert_eq!(plans.each_ref().map(Plan::kind), [Kind::Patch, Kind::Cut, Kind::Rebuild, Kind::Rebuild]);
    // Whole packets, a fragment, and one whose output is longer than the bound.
    let packets = [shape(0, 40), shape(0, 1400), shape(0x2000, 100), shape(0, rule::HEAD_LEN)];
    let mut packets = packets.map(|shape| traffic::packet(&shape));
    let anonymiser = Arc::new(Anonymiser::new(&[9; 32]));
    let mut scratch = Scratch::new(&plans, Bounds::of_mtu(1500), Some(anonymiser)).unwrap();
    let mut frame = vec![0; 2048];
    let (mut rewritten, mut refused) = (0, 0);

    let before = CALLS.get();
    for round in 0..40_u8 {
        for packet in &mut packets {
            let at = 256..256 + packet.bytes.len();
            let source = packet.labels[rule::I_SRC].start;
            packet.bytes[source + 3] = round;
            for plan in &plans {
                frame[at.clone()].copy_from_slice(&packet.bytes);
                match apply(plan, &mut frame, at.clone(), &packet.labels, &mut scratch) {
                    Ok(_) => rewritten += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert_eq!(CALLS.get() - before, 0, "allocator calls");
    assert_eq!((rewritten, refused), (15 * 40, 40));
}
