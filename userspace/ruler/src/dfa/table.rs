//! Automata as tables to run: a row a state, rows as wide as the classes rounded up to a power of two.
//!
//! A state is known by where its row begins, so a step is one addition and one load. [`Small`] has exactly as many cells as
//! a `u16` can number: an index out of range cannot be written, so nothing is checked.

use super::Dfa;
use crate::resolved::RuleId;

/// How many cells a [`Small`] has.
pub const SMALL_CELLS: usize = 1 << 16;

/// An automaton that steps byte by byte.
pub trait Table {
    /// Which state: where its row begins.
    type Row: Copy + Ord;

    /// Where an input begins.
    fn start(&self) -> Self::Row;
    /// Where a byte leads.
    fn step(&self, row: Self::Row, byte: u8) -> Self::Row;
    /// The first row from which on nothing changes any more, if there is one.
    fn special(&self) -> Self::Row;
    /// Which rule wins if the input ends here.
    fn verdict(&self, row: Self::Row) -> Option<RuleId>;
}

/// A table of at most 65,536 cells.
#[derive(Clone, Debug)]
pub struct Small {
    cells: Box<[u16; SMALL_CELLS]>,
    classes: [u8; 256],
    start: u16,
    special: u16,
    shift: u32,
    verdicts: Vec<Option<RuleId>>,
}

/// A table of any size.
#[derive(Clone, Debug)]
pub struct Large {
    cells: Vec<u32>,
    classes: [u8; 256],
    start: u32,
    special: u32,
    shift: u32,
    verdicts: Vec<Option<RuleId>>,
}

impl Small {
    /// `None` if the automaton has too many cells.
    #[must_use]
    pub fn new(dfa: &Dfa) -> Option<Self> {
        let shift = dfa.shift();
        let id = |state: u32| u16::try_from(state << shift).ok();
        let mut cells = Vec::with_capacity(SMALL_CELLS);
        rows(dfa, |state| id(state).map(|row| cells.push(row)))?;
        cells.resize(SMALL_CELLS, 0);
        Some(Self {
            cells: cells.into_boxed_slice().try_into().ok()?,
            classes: *dfa.classes.of_each(),
            start: id(dfa.start)?,
            // A full table without special states has no number that could stand for them.
            special: id(dfa.special)?,
            shift,
            verdicts: dfa.accepts.clone(),
        })
    }
}

impl Large {
    /// The table of an automaton.
    #[must_use]
    pub fn new(dfa: &Dfa) -> Self {
        let shift = dfa.shift();
        let mut cells = Vec::with_capacity(dfa.cells());
        let filled = rows(dfa, |state| {
            cells.push(state << shift);
            Some(())
        });
        debug_assert!(filled.is_some(), "nothing is refused here");
        Self {
            cells,
            classes: *dfa.classes.of_each(),
            start: dfa.start << shift,
            special: dfa.special << shift,
            shift,
            verdicts: dfa.accepts.clone(),
        }
    }

    /// How many bytes its cells take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.cells.len() * size_of::<u32>()
    }
}

/// Each cell in order, the padding of a row too.
fn rows(dfa: &Dfa, mut cell: impl FnMut(u32) -> Option<()>) -> Option<()> {
    let width = 1 << dfa.shift();
    (0..dfa.states()).try_for_each(|state| {
        let row = dfa.row(state);
        let padding = std::iter::repeat_n(&row[0], width - row.len());
        row.iter().chain(padding).try_for_each(|next| cell(*next))
    })
}

impl Table for Small {
    type Row = u16;

    fn start(&self) -> u16 {
        self.start
    }

    #[inline(always)]
    fn step(&self, row: u16, byte: u8) -> u16 {
        // Rows are multiples of a power of two above every class: the sum needs no carry.
        self.cells[usize::from(row | u16::from(self.classes[usize::from(byte)]))]
    }

    fn special(&self) -> u16 {
        self.special
    }

    fn verdict(&self, row: u16) -> Option<RuleId> {
        self.verdicts.get(usize::from(row) >> self.shift).copied().flatten()
    }
}

impl Table for Large {
    type Row = u32;

    fn start(&self) -> u32 {
        self.start
    }

    #[inline(always)]
    fn step(&self, row: u32, byte: u8) -> u32 {
        self.cells[(row | u32::from(self.classes[usize::from(byte)])) as usize]
    }

    fn special(&self) -> u32 {
        self.special
    }

    fn verdict(&self, row: u32) -> Option<RuleId> {
        self.verdicts.get((row >> self.shift) as usize).copied().flatten()
    }
}
