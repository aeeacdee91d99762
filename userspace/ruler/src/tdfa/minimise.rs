//! The automaton with registers, as small as equal transitions and operations make it, numbered in a fixed order.
//!
//! States that do the same in different registers stay apart: which ones are the same then is not worth the search.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::determinise::{Slotted, Source};
use super::registers::{Op, Registers, operations};
use crate::dfa::{Classes, Partition, merged_classes};

/// Where a byte leads, and what is written then.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Step {
    pub(super) next: u32,
    /// Which of [`Tdfa::ops`]; the first is nothing.
    pub(super) ops: u32,
}

/// The automaton, ready to be made a table.
///
/// # Invariants
/// State ids follow a breadth-first walk from the start, but for the *settled* ones, which are the highest: whatever
/// follows, they stay and write nothing.
pub(super) struct Tdfa {
    pub(super) classes: Classes,
    /// A row a state, a column a class.
    pub(super) steps: Vec<Step>,
    pub(super) ops: Vec<Vec<Op>>,
    /// If the input may end in a state, which of `ends` says where the anchors are.
    pub(super) outcomes: Vec<Option<u32>>,
    pub(super) ends: Vec<Vec<Option<Source<u8>>>>,
    pub(super) start: u32,
    pub(super) settled: u32,
    pub(super) registers: usize,
}

pub(super) fn minimise(slotted: &Slotted, registers: &Registers) -> Tdfa {
    let Written { ops, steps } = written(slotted, registers);
    let mut ends = Interned::default();
    let outcomes: Vec<Option<u32>> = (0..slotted.slots.len())
        .map(|state| slotted.outcomes[state].as_ref().map(|ends| in_registers(ends, registers.of(state))))
        .map(|outcome| outcome.map(|outcome| ends.id(outcome)))
        .collect();
    let columns = slotted.classes.count();
    let mut verdicts = Interned::default();
    let verdicts: Vec<u32> = outcomes
        .iter()
        .zip(steps.chunks(columns))
        .map(|(outcome, row)| verdicts.id((*outcome, row.iter().map(|step| step.ops).collect::<Vec<_>>())))
        .collect();
    let partition = Partition::coarsest(&slotted.next, &verdicts);

    let row = |block: usize| &steps[partition.member(block) * columns..][..columns];
    let stays =
        |block: usize| row(block).iter().all(|step| step.ops == 0 && partition.block_of(step.next) == block);
    let walk = breadth_first(&partition, row);
    let (settled, ordinary): (Vec<usize>, Vec<usize>) = walk.into_iter().partition(|block| stays(*block));
    let first_settled = u32::try_from(ordinary.len()).unwrap_or(u32::MAX);
    let blocks: Vec<usize> = ordinary.into_iter().chain(settled).collect();
    let mut ids = vec![0_u32; partition.len()];
    (0_u32..).zip(&blocks).for_each(|(id, block)| ids[*block] = id);
    let id = |state: u32| ids[partition.block_of(state)];

    let full: Vec<Step> = blocks
        .iter()
        .flat_map(|block| row(*block))
        .map(|step| Step { next: id(step.next), ops: step.ops })
        .collect();
    let (classes, kept) = merged_classes(&slotted.classes, &full);
    Tdfa {
        classes,
        steps: full.chunks(columns).flat_map(|row| kept.iter().map(|class| row[*class])).collect(),
        ops,
        outcomes: blocks.iter().map(|block| outcomes[partition.member(*block)]).collect(),
        ends: ends.all,
        start: id(0),
        settled: first_settled,
        registers: registers.count(),
    }
}

/// All transitions with what they write, before states are merged.
struct Written {
    ops: Vec<Vec<Op>>,
    steps: Vec<Step>,
}

fn written(slotted: &Slotted, registers: &Registers) -> Written {
    let mut ops = Interned::default();
    ops.id(Vec::new());
    let columns = slotted.classes.count();
    let mut steps = Vec::with_capacity(slotted.next.len());
    let mut known: HashMap<(u32, u32), u32> = HashMap::new();
    for (state, (row, lists)) in slotted.next.chunks(columns).zip(slotted.lists.chunks(columns)).enumerate() {
        known.clear();
        for (next, list) in row.iter().zip(lists) {
            let ops = *known.entry((*next, *list)).or_insert_with(|| {
                let sources = &slotted.sources[*list as usize];
                ops.id(operations(sources, registers.of(state), registers.of(*next as usize)))
            });
            steps.push(Step { next: *next, ops });
        }
    }
    Written { ops: ops.all, steps }
}

fn in_registers(ends: &[Option<Source<u32>>], registers: &[u8]) -> Vec<Option<Source<u8>>> {
    let source = |source: &Source<u32>| match source {
        Source::Here => Source::Here,
        Source::Kept(slot) => Source::Kept(registers[*slot as usize]),
    };
    ends.iter().map(|end| end.as_ref().map(source)).collect()
}

fn breadth_first<'s>(partition: &Partition, row: impl Fn(usize) -> &'s [Step]) -> Vec<usize> {
    let start = partition.block_of(0);
    let mut found = vec![false; partition.len()];
    found[start] = true;
    let mut ahead = VecDeque::from([start]);
    let mut walk = Vec::with_capacity(partition.len());
    while let Some(block) = ahead.pop_front() {
        walk.push(block);
        let next = row(block).iter().map(|step| partition.block_of(step.next));
        ahead.extend(next.filter(|next| !std::mem::replace(&mut found[*next], true)));
    }
    walk
}

/// Things by number, each once.
struct Interned<T> {
    all: Vec<T>,
    known: HashMap<T, u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { all: Vec::new(), known: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn id(&mut self, thing: T) -> u32 {
        let fresh = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        *self.known.entry(thing).or_insert_with_key(|thing| {
            self.all.push(thing.clone());
            fresh
        })
    }
}
