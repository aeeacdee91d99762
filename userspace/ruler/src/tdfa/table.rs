//! The automaton as a table to run: a row a state, rows as wide as the classes rounded up to a power of two.
//!
//! A cell is where the next state's row begins. Cells from [`Table::special`] on are not: they number an *exit*, which
//! says what to write and where to go on. So bytes that write nothing cost one comparison more than without tags.
//!
//! A state *waits* if all but a few bytes lead back to it and write nothing, as behind a `*`. Whoever comes there is at an
//! exit too, and the next of those few bytes is searched for, many bytes at a time.

use super::determinise::Source;
use super::marks::UNSET;
use super::minimise::{Step, Tdfa};
use super::registers::Op;
use crate::dfa::Classes;

/// Positions by register. An `u8` cannot number one that is not there, so nothing is checked.
pub(super) type Bank = [usize; 256];

/// Where anchors are, in order, if the input ends; `None` if it may not.
pub(super) type Outcome<'t> = Option<&'t [Option<Source<u8>>]>;

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) classes: Classes,
    by_byte: [u8; 256],
    cells: Vec<u32>,
    exits: Vec<Exit>,
    ops: Vec<Op>,
    /// By state, settled ones left out.
    waits: Vec<Option<Wait>>,
    /// By state.
    outcomes: Vec<Option<u32>>,
    ends: Vec<Vec<Option<Source<u8>>>>,
    start: u32,
    /// The first row of a settled state, and the number of the first exit.
    special: u32,
    shift: u32,
    pub(super) registers: usize,
    pub(super) anchors: usize,
}

/// A transition that writes, or leads to a settled state, or to one that waits.
#[derive(Clone, Copy, Debug)]
struct Exit {
    row: u32,
    /// Which of [`Table::ops`].
    first: u32,
    end: u32,
}

/// The bytes that a waiting state waits for.
#[derive(Clone, Copy, Debug)]
enum Wait {
    One(u8),
    Two(u8, u8),
    Three(u8, u8, u8),
}

impl Table {
    pub(super) fn new(tdfa: Tdfa, anchors: usize) -> Self {
        let columns = tdfa.classes.count();
        let shift = columns.next_power_of_two().trailing_zeros();
        let mut table = Self {
            by_byte: std::array::from_fn(|byte| tdfa.classes.of(byte.to_le_bytes()[0])),
            classes: tdfa.classes,
            cells: Vec::new(),
            exits: Vec::new(),
            ops: Vec::new(),
            waits: Vec::new(),
            outcomes: tdfa.outcomes,
            ends: tdfa.ends,
            start: tdfa.start << shift,
            special: tdfa.settled << shift,
            shift,
            registers: tdfa.registers,
            anchors,
        };
        let mut known = std::collections::HashMap::new();
        // Settled states are never left, so they need no row.
        let rows = || (0_u32..).zip(tdfa.steps.chunks(columns)).take(tdfa.settled as usize);
        table.waits = rows().map(|(state, row)| table.wait_of(state, row)).collect();
        for (state, row) in rows() {
            let begin = table.cells.len();
            for step in row {
                let goes_on = step.next == state || !table.waits_in(step.next << shift);
                let cell = match (step.next << shift, step.ops) {
                    (next, 0) if next < table.special && goes_on => next,
                    _ => {
                        *known.entry(*step).or_insert_with(|| table.exit(*step, &tdfa.ops[step.ops as usize]))
                    }
                };
                table.cells.push(cell);
            }
            table.cells.resize(begin + (1 << shift), 0);
        }
        table
    }

    /// What this state waits for, if it waits.
    fn wait_of(&self, state: u32, row: &[Step]) -> Option<Wait> {
        let stays = |byte: &u8| row[usize::from(self.classes.of(*byte))] == Step { next: state, ops: 0 };
        let mut others = (0..=u8::MAX).filter(|byte| !stays(byte));
        match [(); 4].map(|()| others.next()) {
            [Some(a), None, ..] => Some(Wait::One(a)),
            [Some(a), Some(b), None, _] => Some(Wait::Two(a, b)),
            [Some(a), Some(b), Some(c), None] => Some(Wait::Three(a, b, c)),
            _ => None,
        }
    }

    fn waits_in(&self, row: u32) -> bool {
        self.waits.get((row >> self.shift) as usize).is_some_and(Option::is_some)
    }

    fn exit(&mut self, step: Step, ops: &[Op]) -> u32 {
        // Cells are numbered by a u32, and there are fewer exits and operations than cells.
        let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let first = number(self.ops.len());
        self.ops.extend_from_slice(ops);
        self.exits.push(Exit { row: step.next << self.shift, first, end: number(self.ops.len()) });
        self.special + number(self.exits.len() - 1)
    }

    /// How many states there are.
    pub(super) fn states(&self) -> usize {
        self.outcomes.len()
    }

    /// The state before the first byte.
    pub(super) const fn start(&self) -> usize {
        (self.start >> self.shift) as usize
    }

    /// Whether nothing changes any more in a state.
    pub(super) const fn is_settled(&self, state: usize) -> bool {
        state >= (self.special >> self.shift) as usize
    }

    /// Where anchors are if the input ends in a state.
    pub(super) fn outcome(&self, state: usize) -> Outcome<'_> {
        Some(&self.ends[self.outcomes[state]? as usize])
    }

    /// Where each class leads from a state, and what is written then; nothing, if the state is settled.
    pub(super) fn row(&self, state: usize) -> impl Iterator<Item = (usize, &[Op])> {
        let columns = if self.is_settled(state) { 0 } else { self.classes.count() };
        let cells = self.cells.iter().skip(state << self.shift).take(columns);
        cells.map(|cell| match cell.checked_sub(self.special) {
            None => ((cell >> self.shift) as usize, &[][..]),
            Some(exit) => {
                let exit = &self.exits[exit as usize];
                ((exit.row >> self.shift) as usize, self.ops_of(exit))
            }
        })
    }

    fn ops_of(&self, exit: &Exit) -> &[Op] {
        &self.ops[exit.first as usize..exit.end as usize]
    }

    /// Where anchors are in these bytes; what a register held before does not matter.
    pub(super) fn run(&self, bank: &mut Bank, bytes: &[u8]) -> Outcome<'_> {
        let mut row = self.start;
        if row < self.special {
            let mut at = self.passed(row, bytes, 0);
            while let Some(byte) = bytes.get(at) {
                let cell = self.cells[(row | u32::from(self.by_byte[usize::from(*byte)])) as usize];
                row = cell;
                if cell >= self.special {
                    let exit = &self.exits[(cell - self.special) as usize];
                    for op in self.ops_of(exit) {
                        bank[usize::from(op.to)] = value(op.from, bank, at);
                    }
                    row = exit.row;
                    if row >= self.special {
                        break;
                    }
                    at = self.passed(row, bytes, at + 1);
                } else {
                    at += 1;
                }
            }
        }
        self.outcome((row >> self.shift) as usize)
    }

    /// Where a state that is reached before a byte is left, if it waits; else at that byte.
    fn passed(&self, row: u32, bytes: &[u8], at: usize) -> usize {
        let Some(wait) = self.waits.get((row >> self.shift) as usize).copied().flatten() else { return at };
        let rest = bytes.get(at..).unwrap_or_default();
        let found = match wait {
            Wait::One(a) => memchr::memchr(a, rest),
            Wait::Two(a, b) => memchr::memchr2(a, b, rest),
            Wait::Three(a, b, c) => memchr::memchr3(a, b, c, rest),
        };
        found.map_or(bytes.len(), |found| at + found)
    }

    /// Where the anchors are in these bytes, if they match.
    pub(super) fn find(&self, bank: &mut Bank, bytes: &[u8], anchors: &mut [usize]) -> bool {
        let Some(ends) = self.run(bank, bytes) else { return false };
        for (anchor, end) in anchors.iter_mut().zip(ends) {
            *anchor = end.map_or(UNSET, |source| value(source, bank, bytes.len()));
        }
        true
    }
}

fn value(source: Source<u8>, bank: &Bank, here: usize) -> usize {
    match source {
        Source::Here => here,
        Source::Kept(register) => bank[usize::from(register)],
    }
}
