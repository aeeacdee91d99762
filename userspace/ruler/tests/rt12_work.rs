//! RT12: the work of eight lanes against that of one, counted: how many bytes are read, and how long each waits for the last.
//!
//! No clock is read and no instruction counted: every step of a table is written down, and a step needs the row that the
//! step before it in the same packet gave. What a CPU makes of it, `cargo xtask bench ruler` records.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::cell::RefCell;

use ruler::{
    dfa::{Dfa, Large, Limits, Nfa, Row, Small, States, Table, Wide},
    exec::{lanes, one},
    ir::{ByteSet, Node},
    resolved::RuleId,
};

/// Cycles from when a row is asked for until it is there, from the nearest cache: what most CPUs have.
const LATENCY: u64 = 5;
/// Packets of a batch.
const BATCH: usize = 64;
/// At most so many bytes are read of a packet after its verdict is known: where lanes look, and where one packet does.
const BEYOND: usize = 32;

/// A table that writes down every byte that it is asked about.
struct Watched<'t, T> {
    table: &'t T,
    bytes: RefCell<Vec<u8>>,
}

impl<'t, T: Table> Watched<'t, T> {
    fn new(table: &'t T) -> Self {
        Self { table, bytes: RefCell::default() }
    }
}

impl<T: Table> Table for Watched<'_, T> {
    fn states(&self) -> &States {
        self.table.states()
    }

    fn step(&self, row: Row, byte: u8) -> Row {
        self.bytes.borrow_mut().push(byte);
        self.table.step(row, byte)
    }

    fn leap<'p>(&self, row: Row, rest: &'p [u8]) -> (Row, &'p [u8]) {
        self.table.leap(row, rest)
    }
}

/// The bytes that are read, in order, one packet after the other and in lanes; both must say the same.
fn watched<T: Table>(table: &T, packets: &[Vec<u8>]) -> [Vec<u8>; 2] {
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let (single, several) = (Watched::new(table), Watched::new(table));
    let expected: Vec<_> = packets.iter().map(|packet| one::verdict(&single, packet)).collect();
    let mut verdicts = vec![None; packets.len()];
    lanes::judge(&several, &packets, &mut verdicts);
    assert_eq!(verdicts, expected);
    [single, several].map(|watched| watched.bytes.into_inner())
}

/// How many cycles these steps take that begin one a cycle, each not before the row of its packet is there. Packet `k` is
/// known by its bytes, which are all `k`.
fn cycles(steps: &[u8]) -> u64 {
    let mut ready = [0; 256];
    steps.iter().fold(0, |now: u64, packet| {
        let ready = &mut ready[usize::from(*packet)];
        let begins = now.max(*ready);
        *ready = begins + LATENCY;
        begins + 1
    })
}

/// `* (word | word …) *` of letters, so that no packet of one byte matches.
fn dfa() -> Dfa {
    let letters = |word: u8| (0..8).map(move |at| b'a' + (word.wrapping_mul(31) >> at) % 13 + at);
    let word = |number| Node::seq(letters(number).map(|byte| Node::Byte(ByteSet::of([byte]))));
    let words = Node::Alt((0..100).map(word).collect());
    let rule = Node::seq([Node::any(), words, Node::any()]);
    Dfa::new(&Nfa::of_rules(&[(RuleId(0), &rule)], 1 << 16).unwrap(), &Limits::default()).unwrap()
}

/// Batches whose packet `k` has so many bytes, all of them `k`.
fn batch(length: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
    (0..BATCH).map(|packet| vec![u8::try_from(packet).unwrap(); length(packet)]).collect()
}

/// Of each 48 packets 28, 16 and 4, mixed.
fn imix(packet: usize) -> usize {
    match packet * 29 % 48 {
        0..28 => 60,
        28..44 => 566,
        _ => 1_514,
    }
}

#[track_caller]
fn gate<T: Table>(table: &T, packets: &[Vec<u8>], tenths: u64) {
    let [single, several] = watched(table, packets);
    let bytes: usize = packets.iter().map(Vec::len).sum();
    assert_eq!((single.len(), several.len()), (bytes, bytes), "each byte is read once");
    let (single, several) = (cycles(&single), cycles(&several));
    assert!(several * tenths <= 10 * single, "{single} cycles one by one, {several} in lanes");
}

#[test]
fn rt12_lanes_need_a_quarter_of_the_cycles() {
    let dfa = dfa();
    let (wide, small, large) = (Wide::new(&dfa).unwrap(), Small::new(&dfa).unwrap(), Large::new(&dfa));
    for packets in [batch(|_| 1_500), batch(imix)] {
        gate(&wide, &packets, 40);
        gate(&small, &packets, 40);
        gate(&large, &packets, 40);
    }
    // Some packets cannot fill eight lanes: less is won, and never nothing.
    gate(&small, &batch(|packet| if packet == 9 { 1_500 } else { 1 }), 10);
    gate(&small, &batch(|packet| if packet < 4 { 1_500 } else { 0 }), 30);
}

#[test]
fn rt12_lanes_read_little_beyond_what_decides() {
    let dfa = dfa();
    let small = Small::new(&dfa).unwrap();
    let mut packets = batch(|_| 1_500);
    // Every third packet has its word at another place.
    let word: Vec<u8> = (0..8).map(|at| b'a' + (31 >> at) % 13 + at).collect();
    let mut needed = 0;
    for (number, packet) in packets.iter_mut().enumerate() {
        let at = if number % 3 == 0 { 20 * number } else { packet.len() };
        packet.splice(at..at, word.iter().copied());
        needed += at + word.len();
    }
    for read in watched(&small, &packets) {
        let read = read.len();
        assert!(needed <= read && read <= needed + BATCH * BEYOND, "{read} bytes read, {needed} needed");
    }
}
