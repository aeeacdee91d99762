//! Fields side by side, as choices of byte sequences.
//!
//! Each group of fields that fills whole bytes is read byte by byte by a small acyclic automaton: its states are what is
//! still open about the field that is being read. Equal states are one, so a range of any width needs few of them; then
//! it is written out as a tree. Fields that begin or end inside a byte need no special case.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{ByteSet, Node};
use crate::resolved::{Allowed, Field, Order, Test};

/// The bytes that these fields allow, or `None` if they need more than so many nodes.
pub(super) fn lower(fields: &[Field], nodes_max: usize) -> Option<Node> {
    let mut nodes = Vec::new();
    let mut left = nodes_max;
    let (mut begin, mut bits) = (0, 0);
    for (index, field) in fields.iter().enumerate() {
        bits += u32::from(field.bits);
        if bits.is_multiple_of(8) {
            let group = Group::new(&fields[begin..=index]);
            let (node, size) = group.lower(left)?;
            left -= size;
            nodes.push(node);
            begin = index + 1;
        }
    }
    Some(Node::seq(nodes))
}

/// Some bits of one byte that belong to one field.
#[derive(Clone, Copy)]
struct Chunk {
    field: usize,
    /// Its first bit, counted from the field's first.
    offset: u32,
    width: u32,
    /// How far it is from the byte's last bit.
    shift: u32,
}

/// What is known of a test while its number is read, against the first and the last number that pass.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// The bytes that are already read; they are the less significant ones. Only for [`Order::Little`].
    settled: [Ordering; 2],
    /// What is read from the most significant bit on: of the number, or of this byte for [`Order::Little`].
    here: [Ordering; 2],
}

impl Standing {
    const NEW: Self = Self { settled: [Ordering::Equal; 2], here: [Ordering::Equal; 2] };
}

enum Outcome {
    Open(Standing),
    Holds,
    Fails,
}

/// What is still open about the field that is being read: its conditions that are not fulfilled, with their tests.
type Partial = Vec<(usize, Vec<(usize, Standing)>)>;

/// A state of the acyclic automaton: where each byte leads to. State 0 is the end.
type Arms = Vec<(ByteSet, usize)>;

struct Group<'f> {
    fields: &'f [Field],
    bytes: Vec<Vec<Chunk>>,
    known: BTreeMap<(usize, Partial), Option<usize>>,
    states: Vec<Arms>,
    interned: BTreeMap<Arms, usize>,
}

impl<'f> Group<'f> {
    fn new(fields: &'f [Field]) -> Self {
        let mut bytes: Vec<Vec<Chunk>> = Vec::new();
        let mut free = 0;
        for (field, bits) in fields.iter().map(|field| u32::from(field.bits)).enumerate() {
            let mut offset = 0;
            while offset < bits {
                if free == 0 {
                    bytes.push(Vec::new());
                    free = 8;
                }
                // Also cut between the field's own bytes, where a little-endian number begins anew.
                let width = free.min(bits - offset).min(8 - offset % 8);
                free -= width;
                if let Some(byte) = bytes.last_mut() {
                    byte.push(Chunk { field, offset, width, shift: free });
                }
                offset += width;
            }
        }
        Self { fields, bytes, known: BTreeMap::new(), states: vec![Vec::new()], interned: BTreeMap::new() }
    }

    /// The tree and how many nodes it has.
    fn lower(mut self, nodes_max: usize) -> Option<(Node, usize)> {
        let Some(start) = self.state(0, Vec::new()) else {
            return Some((Node::never(), 1));
        };
        // States come after those that they lead to.
        let mut sizes = vec![1_usize];
        for arms in &self.states[1..] {
            sizes.push(arms.iter().fold(1, |size, (_, next)| size.saturating_add(sizes[*next] + 1)));
        }
        (sizes[start] <= nodes_max).then(|| (self.tree(start), sizes[start]))
    }

    /// The state before this byte; `None` if nothing is allowed from here on.
    fn state(&mut self, byte: usize, partial: Partial) -> Option<usize> {
        if byte == self.bytes.len() {
            return Some(0);
        }
        let key = (byte, partial);
        if let Some(state) = self.known.get(&key) {
            return *state;
        }
        let mut by_next: BTreeMap<usize, ByteSet> = BTreeMap::new();
        for value in 0..=u8::MAX {
            let after = self.bytes[byte].iter().try_fold(key.1.clone(), |partial, chunk| {
                advance(&self.fields[chunk.field], partial, *chunk, value)
            });
            if let Some(next) = after.and_then(|partial| self.state(byte + 1, partial)) {
                by_next.entry(next).or_insert(ByteSet::NONE).insert(value);
            }
        }
        let state = (!by_next.is_empty()).then(|| {
            let mut arms: Arms = by_next.into_iter().map(|(next, set)| (set, next)).collect();
            arms.sort_by_key(|(set, _)| set.iter().next());
            *self.interned.entry(arms).or_insert_with_key(|arms| {
                self.states.push(arms.clone());
                self.states.len() - 1
            })
        });
        self.known.insert(key, state);
        state
    }

    fn tree(&self, mut state: usize) -> Node {
        let mut sets: Vec<(ByteSet, u32)> = Vec::new();
        while let [(set, next)] = self.states[state][..] {
            match sets.last_mut() {
                Some((last, count)) if *last == set => *count += 1,
                _ => sets.push((set, 1)),
            }
            state = next;
        }
        let arms = &self.states[state];
        let choice = (!arms.is_empty()).then(|| {
            Node::alt(arms.iter().map(|(set, next)| Node::seq([Node::Byte(*set), self.tree(*next)])))
        });
        Node::seq(sets.into_iter().map(|(set, count)| Node::bytes(set, count)).chain(choice))
    }
}

/// What is open after these bits of a byte; `None` if the field does not allow them.
fn advance(field: &Field, partial: Partial, chunk: Chunk, byte: u8) -> Option<Partial> {
    let partial = match chunk.offset {
        0 => (0..field.all_of.len())
            .map(|index| {
                (index, (0..tests(&field.all_of[index]).len()).map(|test| (test, Standing::NEW)).collect())
            })
            .collect(),
        _ => partial,
    };
    let number = u64::from(byte) >> chunk.shift & ones(chunk.width);
    let mut after = Vec::new();
    for (index, standings) in partial {
        let allowed = &field.all_of[index];
        let mut open = Vec::new();
        let mut holds = false;
        for (test, standing) in standings {
            match step(&tests(allowed)[test], standing, chunk, u32::from(field.bits), number) {
                Outcome::Open(standing) => open.push((test, standing)),
                Outcome::Holds => holds = true,
                Outcome::Fails => {}
            }
        }
        match (allowed, holds, open.is_empty()) {
            (Allowed::AnyOf(_), true, _) | (Allowed::NoneOf(_), false, true) => {}
            (Allowed::AnyOf(_), false, true) | (Allowed::NoneOf(_), true, _) => return None,
            (_, false, false) => after.push((index, open)),
        }
    }
    Some(after)
}

fn tests(allowed: &Allowed) -> &[Test] {
    match allowed {
        Allowed::AnyOf(tests) | Allowed::NoneOf(tests) => tests,
    }
}

fn step(test: &Test, mut standing: Standing, chunk: Chunk, bits: u32, number: u64) -> Outcome {
    let end = chunk.offset + chunk.width;
    let shift = match test.order {
        Order::Big => bits - end,
        Order::Little => (chunk.offset & !7) + (8 - end % 8) % 8,
    };
    let number = number & test.mask >> shift;
    for (here, bound) in standing.here.iter_mut().zip([test.first, test.last]) {
        *here = here.then(number.cmp(&(bound >> shift & ones(chunk.width))));
    }
    if test.order == Order::Little && end.is_multiple_of(8) {
        standing.settled = [0, 1].map(|bound| standing.here[bound].then(standing.settled[bound]));
        standing.here = [Ordering::Equal; 2];
    }
    let decided = match test.order {
        Order::Big => standing.here,
        Order::Little if end == bits => standing.settled,
        Order::Little => return Outcome::Open(standing),
    };
    match decided {
        [Ordering::Less, _] | [_, Ordering::Greater] => Outcome::Fails,
        [Ordering::Greater, Ordering::Less] => Outcome::Holds,
        _ if end == bits => Outcome::Holds,
        _ => Outcome::Open(standing),
    }
}

const fn ones(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

#[cfg(test)]
mod tests;
