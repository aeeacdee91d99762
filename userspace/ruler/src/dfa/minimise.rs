//! The smallest automaton of the same verdicts: one state for each block of equal ones, numbered in a fixed order.
//!
//! It finds no blocks; a [`Partition`] does.

use std::collections::VecDeque;
use std::hash::Hash;

use super::determinise::Subsets;
use super::{Classes, Dfa, Partition, Skip};

pub(super) fn minimise(subsets: &Subsets) -> Dfa {
    merged(subsets, &Partition::coarsest(&subsets.next, &subsets.accepts))
}

/// Fewer bytes are as soon read as skipped.
const JUMP_MIN: usize = 4;

/// One state for each block, numbered breadth first, special ones last.
fn merged(subsets: &Subsets, partition: &Partition) -> Dfa {
    let columns = subsets.classes.count();
    let row = |block: usize| {
        let state = partition.member(block);
        subsets.next[state * columns..][..columns].iter().map(|next| partition.block_of(*next))
    };
    let accepts = |block: usize| subsets.accepts[partition.member(block)];

    let mut found = vec![false; partition.len()];
    let (mut ordinary, mut settled) = (Vec::new(), Vec::new());
    // Of each block in which no byte matters, where all bytes lead.
    let mut onward = vec![None; partition.len()];
    let mut ahead = VecDeque::from([partition.block_of(0)]);
    found[partition.block_of(0)] = true;
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
    let waits = |block: usize| {
        let leads = |byte: &u8| row(block).nth(usize::from(subsets.classes.of(*byte)));
        let mut others = (0..=u8::MAX).filter(|byte| leads(byte) != Some(block));
        others.next().filter(|_| others.next().is_none())
    };
    let is_skipping = |block: &usize| jumps[*block].is_some() || waits(*block).is_some();
    let (skipping, ordinary): (Vec<usize>, Vec<usize>) = ordinary.into_iter().partition(is_skipping);
    let (special, first_settled) = (ordinary.len(), ordinary.len() + skipping.len());
    let blocks: Vec<usize> = ordinary.into_iter().chain(skipping).chain(settled).collect();
    let mut ids = vec![0_u32; partition.len()];
    (0_u32..).zip(&blocks).for_each(|(id, block)| ids[*block] = id);
    let skips = blocks[special..first_settled].iter().filter_map(|block| match jumps[*block] {
        Some((bytes, to)) => Some(Skip::Over { bytes, to: ids[to] }),
        None => waits(*block).map(Skip::Until),
    });
    let skips = skips.collect();

    let full: Vec<u32> = blocks.iter().flat_map(|block| row(*block)).map(|block| ids[block]).collect();
    let (classes, kept) = merged_classes(&subsets.classes, &full);
    let next = full.chunks(columns).flat_map(|row| kept.iter().map(|class| row[*class])).collect();
    Dfa {
        classes,
        next,
        accepts: blocks.iter().map(|block| accepts(*block)).collect(),
        start: ids[partition.block_of(0)],
        special: u32::try_from(special).unwrap_or(u32::MAX),
        settled: u32::try_from(first_settled).unwrap_or(u32::MAX),
        skips,
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
pub(crate) fn merged_classes<C: Copy + Eq + Hash>(classes: &Classes, cells: &[C]) -> (Classes, Vec<usize>) {
    let columns = classes.count();
    let column = |class: usize| -> Vec<C> { cells.iter().skip(class).step_by(columns).copied().collect() };
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
