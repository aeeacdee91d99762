//! The arena: packets made to fill it are still judged rightly, and the clears of a batch are bounded.

use super::super::tests::{expected, numbered};
use super::*;
use crate::ir::{ByteSet, Node, arbitrary::Random};

/// `* a byte#n`: an automaton of 2^n states.
fn exploding(gap: u32) -> Node {
    Node::Seq(vec![Node::any(), Node::Byte(ByteSet::of([b'a'])), Node::bytes(ByteSet::ALL, gap)])
}

fn hostile(count: usize, length: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(7);
    (0..count).map(|_| (0..length).map(|_| b"ab"[random.below(2)]).collect()).collect()
}

#[test]
fn rt09_a_thrashed_arena_is_cleared_a_bounded_number_of_times_and_judges_rightly() {
    let nodes = [exploding(12), exploding(9)];
    let nfa = Nfa::of_rules(&numbered(&nodes), 1_000).unwrap();
    let lazy = Lazy::new(nfa, 8_192).unwrap();
    let mut arena = lazy.arena();
    let packets = hostile(3 * BATCH_MAX, 200);
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let mut verdicts = vec![None; packets.len()];
    lazy.judge(&mut arena, &packets, &mut verdicts);
    assert_eq!(verdicts, expected(&nodes, &packets));
    // One more than allowed is what stops a batch.
    assert_eq!(arena.clears(), 3 * u64::from(CLEARS_MAX + 1));
    assert!(arena.simulated() > 150, "{} packets", arena.simulated());
}

#[test]
fn rt09_time_is_linear_however_the_arena_is_thrashed() {
    let nodes = [exploding(12), exploding(9)];
    let lazy = Lazy::new(Nfa::of_rules(&numbered(&nodes), 1_000).unwrap(), 8_192).unwrap();
    let reached = |length: usize| {
        let mut arena = lazy.arena();
        let packets = hostile(BATCH_MAX, length);
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        lazy.judge(&mut arena, &packets, &mut vec![None; packets.len()]);
        assert!(arena.clears() > u64::from(CLEARS_MAX), "it is not thrashed");
        arena.reached()
    };
    for length in [500_u64, 1_000, 2_000, 4_000] {
        let (states, bytes) = (lazy.nfa.len() as u64, BATCH_MAX as u64 * (length + 1));
        let reached = reached(usize::try_from(length).unwrap());
        assert!(reached < 2 * bytes * states, "{reached} for {bytes} bytes and {states} states");
    }
    // Twice as long is twice the work, but for what is made before the batch is simulated.
    let (short, long) = (reached(4_000), reached(8_000));
    assert!(long < 2 * short + short / 10, "{short}, then {long}");
}

#[test]
fn rt09_an_arena_that_suffices_is_never_cleared() {
    let nodes = [exploding(6)];
    let lazy = Lazy::new(Nfa::of_rules(&numbered(&nodes), 1_000).unwrap(), 1 << 16).unwrap();
    let mut arena = lazy.arena();
    let packets = hostile(BATCH_MAX, 200);
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let mut verdicts = vec![None; packets.len()];
    for _ in 0..2 {
        lazy.judge(&mut arena, &packets, &mut verdicts);
        assert_eq!(verdicts, expected(&nodes, &packets));
    }
    assert_eq!((arena.clears(), arena.simulated()), (0, 0));
    assert!(arena.states.len() <= 1 << 8);
}

#[test]
fn rt11_running_does_not_grow_the_arena() {
    let nodes = [exploding(12)];
    let lazy = Lazy::new(Nfa::of_rules(&numbered(&nodes), 1_000).unwrap(), 1 << 14).unwrap();
    let mut arena = lazy.arena();
    let sizes = |arena: &Arena| {
        [arena.cells.capacity(), arena.states.capacity(), arena.places.capacity(), arena.fresh.capacity()]
    };
    let before = sizes(&arena);
    let packets = hostile(BATCH_MAX, 300);
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    lazy.judge(&mut arena, &packets, &mut vec![None; packets.len()]);
    assert!(arena.clears() > 0);
    assert_eq!(sizes(&arena), before);
}

#[test]
fn rt09_an_arena_too_small_is_refused() {
    let nfa = Nfa::of_rules(&numbered(&[exploding(12)]), 1_000).unwrap();
    assert!(Lazy::new(nfa.clone(), 0).is_none());
    assert!(Lazy::new(nfa, 200).is_none());
}
