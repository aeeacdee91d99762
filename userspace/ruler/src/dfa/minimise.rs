//! The smallest automaton of the same verdicts, by Hopcroft's partition refinement, numbered in a fixed order.
//!
//! States begin as one block for each verdict. A block that some byte leads into from a part of another block splits that
//! one; of two halves only the smaller has to be looked at again, which makes it n log n.

use std::collections::VecDeque;

use super::determinise::Subsets;
use super::{Classes, Dfa, Jump};
use crate::resolved::RuleId;

pub(super) fn minimise(subsets: &Subsets) -> Dfa {
    let mut partition = Partition::by_verdict(&subsets.accepts);
    partition.refine(&Sources::of(subsets));
    merged(subsets, &partition)
}

/// For each class and state, the states that the class leads from to it.
struct Sources {
    states: usize,
    heads: Vec<u32>,
    from: Vec<u32>,
}

impl Sources {
    fn of(subsets: &Subsets) -> Self {
        let (states, classes) = (subsets.accepts.len(), subsets.classes.count());
        let mut heads = vec![0_u32; states * classes + 1];
        let slot = |index: usize, next: u32| (index % classes) * states + next as usize;
        for (index, next) in subsets.next.iter().enumerate() {
            heads[slot(index, *next) + 1] += 1;
        }
        for at in 1..heads.len() {
            heads[at] += heads[at - 1];
        }
        let mut free = heads.clone();
        let mut from = vec![0; subsets.next.len()];
        for (state, row) in (0_u32..).zip(subsets.next.chunks(classes)) {
            for (class, next) in row.iter().enumerate() {
                let place = &mut free[slot(class, *next)];
                from[*place as usize] = state;
                *place += 1;
            }
        }
        Self { states, heads, from }
    }

    fn into(&self, class: usize, state: u32) -> &[u32] {
        let slot = class * self.states + state as usize;
        &self.from[self.heads[slot] as usize..self.heads[slot + 1] as usize]
    }

    fn classes(&self) -> usize {
        (self.heads.len() - 1) / self.states
    }
}

/// A block: a range of [`Partition::order`], of which the first `marked` are marked.
#[derive(Clone, Copy)]
struct Block {
    begin: usize,
    end: usize,
    marked: usize,
    waits: Waits,
}

/// Whether a block still has to split others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Yes,
    No,
}

struct Partition {
    order: Vec<u32>,
    place: Vec<usize>,
    block_of: Vec<usize>,
    blocks: Vec<Block>,
}

impl Partition {
    fn by_verdict(accepts: &[Option<RuleId>]) -> Self {
        let mut order: Vec<u32> = (0_u32..).take(accepts.len()).collect();
        order.sort_by_key(|state| accepts[*state as usize]);
        let mut partition =
            Self { place: vec![0; order.len()], block_of: vec![0; order.len()], blocks: Vec::new(), order };
        for (place, state) in partition.order.iter().map(|state| *state as usize).enumerate() {
            let fresh = place == 0 || accepts[state] != accepts[partition.order[place - 1] as usize];
            if fresh {
                partition.blocks.push(Block { begin: place, end: place, marked: 0, waits: Waits::No });
            }
            let last = partition.blocks.len() - 1;
            partition.blocks[last].end = place + 1;
            partition.place[state] = place;
            partition.block_of[state] = last;
        }
        partition
    }

    fn refine(&mut self, sources: &Sources) {
        let mut waiting: Vec<usize> = (0..self.blocks.len()).collect();
        self.blocks.iter_mut().for_each(|block| block.waits = Waits::Yes);
        let mut touched = Vec::new();
        while let Some(splitter) = waiting.pop() {
            let Block { begin, end, .. } = self.blocks[splitter];
            self.blocks[splitter].waits = Waits::No;
            let members = self.order[begin..end].to_vec();
            for class in 0..sources.classes() {
                for member in &members {
                    for source in sources.into(class, *member) {
                        self.mark(*source, &mut touched);
                    }
                }
                touched.drain(..).for_each(|block| self.split(block, &mut waiting));
            }
        }
    }

    fn mark(&mut self, state: u32, touched: &mut Vec<usize>) {
        let block = self.block_of[state as usize];
        let (place, first_unmarked) =
            (self.place[state as usize], self.blocks[block].begin + self.blocks[block].marked);
        if place < first_unmarked {
            return;
        }
        if self.blocks[block].marked == 0 {
            touched.push(block);
        }
        self.blocks[block].marked += 1;
        let other = self.order[first_unmarked];
        self.order.swap(place, first_unmarked);
        self.place[other as usize] = place;
        self.place[state as usize] = first_unmarked;
    }

    fn split(&mut self, block: usize, waiting: &mut Vec<usize>) {
        let Block { begin, end, marked, waits } = self.blocks[block];
        self.blocks[block].marked = 0;
        let middle = begin + marked;
        if middle == end {
            return;
        }
        let fresh = self.blocks.len();
        self.blocks[block].begin = middle;
        self.blocks.push(Block { begin, end: middle, marked: 0, waits: Waits::No });
        for place in begin..middle {
            self.block_of[self.order[place] as usize] = fresh;
        }
        let again = if waits == Waits::Yes || marked <= end - middle { fresh } else { block };
        self.blocks[again].waits = Waits::Yes;
        waiting.push(again);
    }
}

/// Fewer bytes are as soon read as skipped.
const JUMP_MIN: usize = 4;

/// One state for each block, numbered breadth first, special ones last.
fn merged(subsets: &Subsets, partition: &Partition) -> Dfa {
    let columns = subsets.classes.count();
    let row = |block: usize| {
        let state = partition.order[partition.blocks[block].begin] as usize;
        subsets.next[state * columns..][..columns].iter().map(|next| partition.block_of[*next as usize])
    };
    let accepts = |block: usize| subsets.accepts[partition.order[partition.blocks[block].begin] as usize];

    let mut found = vec![false; partition.blocks.len()];
    let (mut ordinary, mut settled) = (Vec::new(), Vec::new());
    // Of each block in which no byte matters, where all bytes lead.
    let mut onward = vec![None; partition.blocks.len()];
    let mut ahead = VecDeque::from([partition.block_of[0]]);
    found[partition.block_of[0]] = true;
    while let Some(block) = ahead.pop_front() {
        let first = row(block).next();
        onward[block] = first.filter(|first| row(block).all(|next| next == *first));
        match onward[block] == Some(block) {
            true => settled.push(block),
            false => ordinary.push(block),
        }
        ahead.extend(row(block).filter(|next| !std::mem::replace(&mut found[*next], true)));
    }
    // Decided states in the order of their rules, then the dead one.
    settled.sort_by_key(|block| accepts(*block).map_or(u32::MAX, |rule| u32::from(rule.0)));
    settled.iter().for_each(|block| onward[*block] = None);
    let jumps = jumps(&onward);
    let (jumping, ordinary): (Vec<usize>, Vec<usize>) =
        ordinary.into_iter().partition(|block| jumps[*block].is_some());
    let (special, first_settled) = (ordinary.len(), ordinary.len() + jumping.len());
    let blocks: Vec<usize> = ordinary.into_iter().chain(jumping).chain(settled).collect();
    let mut ids = vec![0_u32; partition.blocks.len()];
    (0_u32..).zip(&blocks).for_each(|(id, block)| ids[*block] = id);
    let jumps = blocks.iter().filter_map(|block| jumps[*block]);
    let jumps = jumps.map(|(bytes, to)| Jump { bytes, to: ids[to] }).collect();

    let full: Vec<u32> = blocks.iter().flat_map(|block| row(*block)).map(|block| ids[block]).collect();
    let (classes, kept) = merged_classes(&subsets.classes, &full);
    let next = full.chunks(columns).flat_map(|row| kept.iter().map(|class| row[*class])).collect();
    Dfa {
        classes,
        next,
        accepts: blocks.iter().map(|block| accepts(*block)).collect(),
        start: ids[partition.block_of[0]],
        special: u32::try_from(special).unwrap_or(u32::MAX),
        settled: u32::try_from(first_settled).unwrap_or(u32::MAX),
        jumps,
    }
}

/// Of each block, how many bytes in a row do not matter from there on, if they are enough, and where they lead. Blocks that
/// go round in a circle, or lead into one, are left out.
fn jumps(onward: &[Option<usize>]) -> Vec<Option<(usize, usize)>> {
    let mut runs: Vec<Option<(usize, usize)>> = vec![None; onward.len()];
    let mut walked = vec![false; onward.len()];
    for start in 0..onward.len() {
        let mut way = Vec::new();
        let mut at = start;
        while let Some(next) = onward[at].filter(|_| !walked[at]) {
            walked[at] = true;
            way.push(at);
            at = next;
        }
        let circle = onward[at].is_some() && runs[at].is_none();
        let (mut bytes, to) = runs[at].unwrap_or((0, at));
        while let Some(block) = way.pop().filter(|_| !circle) {
            bytes += 1;
            runs[block] = Some((bytes, to));
        }
    }
    runs.iter_mut().for_each(|run| *run = run.filter(|(bytes, _)| *bytes >= JUMP_MIN));
    runs
}

/// Classes whose columns are equal become one; and which of the old columns stand for the new classes.
fn merged_classes(classes: &Classes, next: &[u32]) -> (Classes, Vec<usize>) {
    let columns = classes.count();
    let column = |class: usize| -> Vec<u32> { next.iter().skip(class).step_by(columns).copied().collect() };
    let mut known = std::collections::HashMap::new();
    let mut kept = Vec::new();
    let merged: Vec<usize> = (0..columns)
        .map(|class| {
            *known.entry(column(class)).or_insert_with(|| {
                kept.push(class);
                kept.len() - 1
            })
        })
        .collect();
    (Classes::numbered(|byte| merged[usize::from(classes.of(byte))]), kept)
}
