//! Random regexes and inputs that nearly match them, for tests of every engine.

use proptest::prelude::*;

use super::{ByteSet, Node, Tag};
use crate::resolved::LabelId;

/// A small random number generator: inputs are made from a seed, so that a failure can be repeated.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 20) % limit as u64).unwrap()
    }
}

/// Regexes over few bytes, so that ways through them meet.
pub(crate) fn node() -> impl Strategy<Value = Node> {
    let byte = prop_oneof![
        4 => (b'a'..=b'c').prop_map(|byte| Node::Byte(ByteSet::of([byte]))),
        1 => Just(Node::Byte(ByteSet::of(*b"ab"))),
        1 => Just(Node::Byte(ByteSet::ALL)),
        2 => Just(Node::any()),
    ];
    byte.prop_recursive(4, 24, 4, |inner| {
        let several = || proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            4 => several().prop_map(Node::seq),
            3 => several().prop_map(Node::alt),
            2 => (inner.clone(), 0_u32..3, proptest::option::of(0_u32..3)).prop_map(|(body, least, more)| repeat(body, least, more)),
            2 => inner.prop_map(labelled),
        ]
    })
    .prop_map(|mut node| {
        number_labels(&mut node, &mut 0);
        node
    })
}

/// Regexes over two bytes with many labels, of which few stand still.
pub(crate) fn labels() -> impl Strategy<Value = Node> {
    let byte = |byte: u8| Node::Byte(ByteSet::of([byte]));
    let some = |set: ByteSet, least: u32| Node::Repeat { body: Box::new(Node::Byte(set)), least, most: None };
    let leaf = prop_oneof![
        3 => Just(byte(b'a')),
        2 => Just(byte(b'b')),
        1 => Just(Node::Byte(ByteSet::ALL)),
        2 => Just(some(ByteSet::of(*b"ab"), 0)),
        1 => Just(some(ByteSet::of([b'a']), 1)),
    ];
    let inner = leaf.prop_recursive(5, 40, 4, |inner| {
        let several = |least| proptest::collection::vec(inner.clone(), least..5_usize);
        prop_oneof![
            4 => several(2).prop_map(Node::seq),
            2 => several(2).prop_map(Node::alt),
            4 => inner.clone().prop_map(labelled),
            1 => inner.clone().prop_map(|body| repeat(body, 0, Some(1))),
            1 => (inner.clone(), 0_u32..2, proptest::option::of(1_u32..3)).prop_map(|(body, least, more)| repeat(body, least, more)),
        ]
    });
    inner.prop_map(move |inner| {
        let mut node = Node::seq([some(ByteSet::of(*b"ab"), 0), inner, some(ByteSet::ALL, 0)]);
        number_labels(&mut node, &mut 0);
        node
    })
}

/// Bodies match at least one byte, and hold a label only where they stand at most once.
fn repeat(body: Node, least: u32, more: Option<u32>) -> Node {
    let mut body = match body.length() {
        Some(length) if length.least > 0 => body,
        _ => Node::seq([Node::Byte(ByteSet::of([b'c'])), body]),
    };
    let most = more.map(|more| (least + more).max(1));
    if most != Some(1) {
        drop_tags(&mut body);
    }
    Node::Repeat { body: Box::new(body), least, most }
}

fn labelled(body: Node) -> Node {
    Node::seq([Node::Tag(Tag::Begin(LabelId(0))), body, Node::Tag(Tag::End(LabelId(0)))])
}

fn drop_tags(node: &mut Node) {
    match node {
        Node::Byte(_) => {}
        Node::Tag(_) => *node = Node::empty(),
        Node::Seq(parts) | Node::Alt(parts) => parts.iter_mut().for_each(drop_tags),
        Node::Repeat { body, .. } => drop_tags(body),
    }
}

/// Labels nest, as each begin is in one sequence with its end. In different arms the same ones are bound.
fn number_labels(node: &mut Node, next: &mut u16) {
    let mut open = Vec::new();
    match node {
        Node::Byte(_) | Node::Tag(_) => {}
        Node::Seq(parts) => {
            for part in parts {
                match part {
                    Node::Tag(Tag::Begin(label)) => {
                        *label = LabelId(*next);
                        open.push(*next);
                        *next += 1;
                    }
                    Node::Tag(Tag::End(label)) => *label = LabelId(open.pop().unwrap()),
                    other => number_labels(other, next),
                }
            }
        }
        Node::Alt(arms) => {
            let first = *next;
            for arm in arms {
                let mut own = first;
                number_labels(arm, &mut own);
                *next = own.max(*next);
            }
        }
        Node::Repeat { body, .. } => number_labels(body, next),
    }
}

/// Inputs that match, some of them spoilt afterwards.
pub(crate) fn inputs(node: &Node, count: usize, random: &mut Random) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| {
            let mut input = Vec::new();
            walk(node, random, &mut input);
            input.truncate(16);
            match random.below(4) {
                0 if !input.is_empty() => {
                    let at = random.below(input.len());
                    input[at] = b"abcd"[random.below(4)];
                }
                1 => input.truncate(random.below(input.len() + 1)),
                2 => input.push(b"abcd"[random.below(4)]),
                _ => {}
            }
            input
        })
        .collect()
}

fn walk(node: &Node, random: &mut Random, input: &mut Vec<u8>) {
    match node {
        Node::Byte(set) => {
            let bytes: Vec<u8> = set.iter().collect();
            let few: Vec<u8> = bytes.iter().copied().filter(|byte| b"abcd".contains(byte)).collect();
            let from = if few.is_empty() { &bytes } else { &few };
            input.push(from[random.below(from.len())]);
        }
        Node::Tag(_) => {}
        Node::Seq(parts) => parts.iter().for_each(|part| walk(part, random, input)),
        Node::Alt(arms) if arms.is_empty() => {}
        Node::Alt(arms) => walk(&arms[random.below(arms.len())], random, input),
        Node::Repeat { body, least, most } => {
            let more = most.map_or(4, |most| most - least + 1);
            let count = *least as usize + random.below(more as usize);
            (0..count).for_each(|_| walk(body, random, input));
        }
    }
}
