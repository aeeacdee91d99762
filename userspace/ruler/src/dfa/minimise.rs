//! The smallest automaton of the same verdicts: one state for each block of equal ones, numbered in a fixed order.
//!
//! It finds no blocks; a [`Partition`] does.

use std::collections::VecDeque;
use std::hash::Hash;

use super::determinise::Subsets;
use super::{Classes, Dfa, Partition};

pub(super) fn minimise(subsets: &Subsets) -> Dfa {
    merged(subsets, &Partition::coarsest(&subsets.next, &subsets.accepts))
}

/// One state for each block, numbered breadth first, special ones last.
fn merged(subsets: &Subsets, partition: &Partition) -> Dfa {
    let columns = subsets.classes.count();
    let row = |block: usize| {
        let state = partition.member(block);
        subsets.next[state * columns..][..columns].iter().map(|next| partition.block_of(*next))
    };
    let accepts = |block: usize| subsets.accepts[partition.member(block)];

    let mut found = vec![false; partition.len()];
    let (mut ordinary, mut special) = (Vec::new(), Vec::new());
    let mut ahead = VecDeque::from([partition.block_of(0)]);
    found[partition.block_of(0)] = true;
    while let Some(block) = ahead.pop_front() {
        let here = if row(block).all(|next| next == block) { &mut special } else { &mut ordinary };
        here.push(block);
        ahead.extend(row(block).filter(|next| !std::mem::replace(&mut found[*next], true)));
    }
    // Decided states in the order of their rules, then the dead one.
    special.sort_by_key(|block| accepts(*block).map_or(u32::MAX, |rule| u32::from(rule.0)));
    let ordinary_count = ordinary.len();
    let blocks: Vec<usize> = ordinary.into_iter().chain(special).collect();
    let mut ids = vec![0_u32; partition.len()];
    (0_u32..).zip(&blocks).for_each(|(id, block)| ids[*block] = id);

    let full: Vec<u32> = blocks.iter().flat_map(|block| row(*block)).map(|block| ids[block]).collect();
    let (classes, kept) = merged_classes(&subsets.classes, &full);
    let next = full.chunks(columns).flat_map(|row| kept.iter().map(|class| row[*class])).collect();
    Dfa {
        classes,
        next,
        accepts: blocks.iter().map(|block| accepts(*block)).collect(),
        start: ids[partition.block_of(0)],
        special: u32::try_from(ordinary_count).unwrap_or(u32::MAX),
    }
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
