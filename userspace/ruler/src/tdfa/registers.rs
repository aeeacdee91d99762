//! Which register each state keeps each of its positions in, so that few have to be copied.
//!
//! Slots of two states that a transition copies from one to the other become one group and need no copy, unless the group
//! would have two slots of one state: these differ, so they always need two registers. Nothing else keeps slots apart, as
//! all copies of a transition happen at once. Groups then get the lowest register that none of their states uses.

use std::collections::HashSet;

use super::Excess;
use super::determinise::{Slotted, Source};

/// There are no more registers than bits of a word.
pub(super) const REGISTERS_MAX: usize = 64;
/// For copies that go round.
const SPARE: u8 = 64;

/// A position is written into a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub(super) struct Op {
    pub(super) to: u8,
    pub(super) from: Source<u8>,
}

/// The registers of every state's slots.
pub(super) struct Registers {
    /// Where the slots of each state begin.
    first: Vec<usize>,
    of: Vec<u8>,
}

impl Registers {
    /// # Errors
    /// If that takes more than `limit` registers.
    pub(super) fn assign(slotted: &Slotted, limit: usize) -> Result<Self, Excess> {
        let mut groups = Groups::of(slotted);
        let classes = slotted.classes.count();
        let mut seen = HashSet::new();
        for (state, (row, lists)) in
            slotted.next.chunks(classes).zip(slotted.lists.chunks(classes)).enumerate()
        {
            seen.clear();
            for (next, list) in row.iter().zip(lists) {
                if seen.insert((*next, *list)) {
                    for (slot, source) in slotted.sources[*list as usize].iter().enumerate() {
                        if let Source::Kept(old) = source {
                            groups.join(
                                groups.first[state] + *old as usize,
                                groups.first[*next as usize] + slot,
                            );
                        }
                    }
                }
            }
        }
        groups.coloured(limit.min(REGISTERS_MAX))
    }

    /// The registers of a state's slots.
    pub(super) fn of(&self, state: usize) -> &[u8] {
        &self.of[self.first[state]..self.first[state + 1]]
    }

    /// How many are used.
    pub(super) fn count(&self) -> usize {
        self.of.iter().max().map_or(0, |most| usize::from(*most) + 1)
    }
}

/// Slots of all states, numbered one state after the other, in groups that share a register.
struct Groups {
    first: Vec<usize>,
    /// The state of each slot.
    state: Vec<u32>,
    /// Towards the slot that stands for the group.
    parent: Vec<usize>,
    /// The slots of each group, where the slot that stands for it is.
    members: Vec<Vec<usize>>,
    /// Pairs of groups that cannot be one.
    apart: HashSet<(usize, usize)>,
}

impl Groups {
    fn of(slotted: &Slotted) -> Self {
        let mut first = vec![0];
        let mut state = Vec::new();
        for (id, slots) in (0_u32..).zip(&slotted.slots) {
            state.extend(std::iter::repeat_n(id, *slots));
            first.push(state.len());
        }
        let parent: Vec<usize> = (0..state.len()).collect();
        let members = parent.iter().map(|slot| vec![*slot]).collect();
        Self { first, state, parent, members, apart: HashSet::new() }
    }

    fn group(&mut self, mut slot: usize) -> usize {
        while self.parent[slot] != slot {
            self.parent[slot] = self.parent[self.parent[slot]];
            slot = self.parent[slot];
        }
        slot
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.group(one), self.group(other));
        if one == other || self.apart.contains(&(one, other)) {
            return;
        }
        let (small, large) =
            if self.members[one].len() < self.members[other].len() { (one, other) } else { (other, one) };
        let members = std::mem::take(&mut self.members[small]);
        if members.iter().any(|slot| self.meets(*slot, large)) {
            self.members[small] = members;
            self.apart.extend([(one, other), (other, one)]);
            return;
        }
        self.members[large].extend(members);
        self.parent[small] = large;
    }

    /// Whether the state of a slot has a slot in a group.
    fn meets(&mut self, slot: usize, group: usize) -> bool {
        let state = self.state[slot] as usize;
        (self.first[state]..self.first[state + 1]).any(|slot| self.group(slot) == group)
    }

    fn coloured(mut self, limit: usize) -> Result<Registers, Excess> {
        const NONE: u8 = u8::MAX;
        let mut of = vec![NONE; self.state.len()];
        let mut used = vec![0_u64; self.first.len() - 1];
        for slot in 0..of.len() {
            if of[slot] != NONE {
                continue;
            }
            let group = self.group(slot);
            let taken =
                self.members[group].iter().fold(0, |taken, slot| taken | used[self.state[*slot] as usize]);
            let register = taken.trailing_ones();
            let registers = register as usize + 1;
            let register = u8::try_from(register).ok().filter(|_| registers <= limit);
            let register = register.ok_or(Excess::Registers { registers, limit })?;
            for slot in &self.members[group] {
                used[self.state[*slot] as usize] |= 1 << register;
                of[*slot] = register;
            }
        }
        Ok(Registers { first: self.first, of })
    }
}

/// One after the other, what gives slots in the registers `to` their values from sources in the registers `from`.
pub(super) fn operations(sources: &[Source<u32>], from: &[u8], to: &[u8]) -> Vec<Op> {
    let mut copies = Vec::new();
    let mut heres = Vec::new();
    for (source, to) in sources.iter().zip(to) {
        match source {
            Source::Here => heres.push(Op { to: *to, from: Source::Here }),
            Source::Kept(slot) if from[*slot as usize] != *to => copies.push((*to, from[*slot as usize])),
            Source::Kept(_) => {}
        }
    }
    let mut ops = Vec::new();
    while !copies.is_empty() {
        // A register that is still needed is not written.
        let free = copies.iter().position(|(to, _)| copies.iter().all(|(_, from)| from != to));
        match free {
            Some(free) => {
                let (to, from) = copies.remove(free);
                ops.push(Op { to, from: Source::Kept(from) });
            }
            None => {
                let moved = copies[0].0;
                ops.push(Op { to: SPARE, from: Source::Kept(moved) });
                let stale = copies.iter_mut().filter(|(_, from)| *from == moved);
                stale.for_each(|(_, from)| *from = SPARE);
            }
        }
    }
    ops.extend(heres);
    ops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sources: &[Source<u32>], from: &[u8], to: &[u8], most: usize) {
        let ops = operations(sources, from, to);
        assert!(ops.len() <= most, "{ops:?}");
        let mut registers: Vec<usize> = (0..=usize::from(SPARE)).collect();
        for op in &ops {
            registers[usize::from(op.to)] = match op.from {
                Source::Here => 999,
                Source::Kept(from) => registers[usize::from(from)],
            };
        }
        for (source, to) in sources.iter().zip(to) {
            let expected = match source {
                Source::Here => 999,
                Source::Kept(slot) => usize::from(from[*slot as usize]),
            };
            assert_eq!(registers[usize::from(*to)], expected, "{ops:?}");
        }
    }

    #[test]
    fn copies_of_one_transition_happen_as_if_at_once() {
        use Source::{Here, Kept};
        check(&[Kept(0), Kept(1)], &[3, 4], &[3, 4], 0);
        check(&[Kept(0), Kept(1)], &[3, 4], &[4, 3], 3);
        check(&[Kept(0), Kept(1), Here], &[0, 1], &[1, 2, 0], 3);
        check(&[Kept(2), Kept(0), Kept(1), Here], &[0, 1, 2], &[0, 1, 2, 3], 5);
        check(&[Kept(1), Kept(0), Kept(3), Kept(2)], &[0, 1, 2, 3], &[0, 1, 2, 3], 6);
        check(&[Here, Kept(0)], &[5], &[5, 6], 2);
    }
}
