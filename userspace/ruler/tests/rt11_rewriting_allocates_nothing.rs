//! RT11: once an engine has its scratch memory, neither judging nor rewriting allocates anything, whatever the engine,
//! the plan and the packet.
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
    bundle::Bundle,
    dfa,
    exec::{
        engine::Engine,
        ladder::{self, Limits, Rung, Screens, Slow},
    },
    filter::{self, Packet, Params, Verdict},
    ir::{ByteSet, Node},
    resolved::{Item, Part, RuleId, Value},
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

/// `* text *`.
fn search(text: &str) -> Node {
    let text = text.bytes().map(|byte| Node::Byte(ByteSet::of([byte])));
    Node::seq([Node::any()].into_iter().chain(text).chain([Node::any()]))
}

/// `* a byte#n a *`: states double with each byte of the gap.
fn gap(byte: u8) -> Node {
    let end = || Node::Byte(ByteSet::of([byte]));
    Node::seq([Node::any(), end(), Node::bytes(ByteSet::ALL, 9), end(), Node::any()])
}

fn engine(nodes: &[Node], rung: Rung, limits: Limits) -> Engine {
    let rules: Vec<(RuleId, &Node)> = (0..).map(RuleId).zip(nodes).collect();
    let (engine, report) = ladder::build(&rules, &limits).unwrap();
    assert_eq!(report.rung, rung);
    engine
}

/// One of each kind, the first with a search before it.
fn engines() -> [Engine; 8] {
    let limits = Limits { screens: Screens::Refused, pieces: 0, slow: Slow::Allowed, ..Limits::default() };
    let none = dfa::Limits { states: 0, transitions: 0, work: 0 };
    let texts = [search("abcab"), search("bca"), Node::any()];
    let gaps = [gap(b'a'), gap(b'b')];
    let no_table = Limits { dfa: none, ..limits };
    [
        engine(&texts, Rung::Small, Limits::default()),
        engine(&texts, Rung::Small, limits),
        engine(&texts, Rung::Small, Limits { wide_states: 0, ..limits }),
        engine(&texts, Rung::Large, Limits { wide_states: 0, small_cells: 0, ..limits }),
        engine(&texts, Rung::Screen, Limits { direct: none, screens: Screens::Allowed, ..limits }),
        engine(&gaps, Rung::Groups, Limits { dfa: dfa::Limits { states: 3_000, ..limits.dfa }, ..limits }),
        engine(&gaps, Rung::Lazy, Limits { arena_bytes: 1 << 14, ..no_table }),
        engine(&gaps, Rung::Simulation, Limits { arena_bytes: 0, ..no_table }),
    ]
}

#[test]
fn rt11_judging_allocates_nothing() {
    let engines = engines();
    let mut scratches = engines.each_ref().map(Engine::scratch);
    // Some match, some end early, and enough of them that the arena is cleared and the search rests.
    let mut random = 1_u64;
    let mut byte = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        b"abc"[usize::try_from(random % 3).unwrap()]
    };
    let packets: Vec<Vec<u8>> = (0..64).map(|packet| (0..packet * 5).map(|_| byte()).collect()).collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let mut verdicts = [None; 64];
    let mut matched = [0; 8];

    let before = CALLS.get();
    for (engine, (scratch, matched)) in engines.iter().zip(scratches.iter_mut().zip(&mut matched)) {
        for _ in 0..20 {
            engine.judge(scratch, &packets, &mut verdicts);
        }
        *matched = verdicts.iter().filter(|verdict| **verdict == Some(RuleId(0))).count();
    }
    assert_eq!(CALLS.get() - before, 0, "allocator calls");
    assert!(matched.iter().all(|matched| (1..64).contains(matched)), "{matched:?}");
    assert_eq!((matched[1..5].to_vec(), matched[6]), (vec![matched[0]; 4], matched[7]));
}

/// Packets that the shipped filters accept, reject and rewrite: requests, other TCP, UDP, both versions, a fragment.
fn traffic_of_all_kinds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for number in 0..64_u8 {
        let transport = if number % 2 == 0 { Transport::Tcp } else { Transport::Udp };
        let ip = match number % 4 {
            0 | 1 => Ip::V4 { words: number % 3, fragment: if number == 33 { 0x2000 } else { 0 } },
            _ => Ip::V6 { extension: None },
        };
        let payload = b"GET /cmd.exe HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1 + usize::from(number % 9));
        let shape = Shape { ip, transport, payload, ..shape(0, 40) };
        let mut packet = traffic::packet(&shape);
        let port = packet.labels[rule::T].start + 2;
        packet.bytes[port..port + 2].copy_from_slice(&[0, 80]);
        all.push(packet.bytes);
    }
    all
}

#[test]
fn rt11_shipped_filters_allocate_nothing() {
    for shipped in ruler::shipped::ALL {
        let (mut filters, found) =
            ruler::compile(&Bundle::new("a.rl", shipped.source), &filter::Limits::default());
        assert_eq!(filters.len(), 1, "{found:?}");
        let params = Params { bounds: Bounds::of_mtu(1500), key: Some([7; 32]) };
        let bound = filters.remove(0).bind(&params).unwrap();
        let mut scratch = bound.scratch();
        let packets = traffic_of_all_kinds();
        let mut frames: Vec<Vec<u8>> =
            packets.iter().map(|packet| [&packet[..], &[0; 64]].concat()).collect();
        let mut verdicts = vec![Verdict::NONE; packets.len()];
        let mut batch: Vec<Packet<'_>> = frames
            .iter_mut()
            .zip(&packets)
            .map(|(frame, packet)| Packet { frame, at: 0..packet.len(), class: None })
            .collect();

        let before = CALLS.get();
        bound.judge(&mut scratch, &mut batch[..], &mut verdicts);
        assert_eq!(CALLS.get() - before, 0, "allocator calls of `{}`", shipped.name);
        let rules: std::collections::BTreeSet<_> = verdicts.iter().map(|verdict| verdict.rule).collect();
        assert!(1 < rules.len(), "`{}` says the same of all packets", shipped.name);
    }
}
