//! Automata as tables to run: a row a state, and a cell that says where a byte leads.
//!
//! A state is known by where its row begins, so a step is one addition and one load. Three layouts differ in what they
//! can hold. In [`Wide`] and [`Small`] no index can be out of range, and the compiler knows it: nothing is checked.

use super::{Dfa, Skip};
use crate::resolved::RuleId;

/// How many cells a [`Small`] has.
pub const SMALL_CELLS: usize = 1 << 16;
/// How many states a [`Wide`] holds.
pub const WIDE_STATES: usize = 1 << 11;

/// Where the row of a state begins, in the units of its table. States keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row(usize);

/// An automaton that steps byte by byte. Layouts differ in how they step, and in nothing else.
pub trait Table {
    /// What is known of its states.
    fn states(&self) -> &States;

    /// Where a byte leads.
    fn step(&self, row: Row, byte: u8) -> Row;

    /// Where an input begins.
    fn start(&self) -> Row {
        self.states().start
    }

    /// The first special row. Whoever finds himself in one leaps, but need not: stepping is right as well.
    fn special(&self) -> Row {
        self.states().special
    }

    /// Where a row leads by what it skips, and what is left to read then. Nothing is left where the verdict is decided.
    fn leap<'p>(&self, mut row: Row, mut rest: &'p [u8]) -> (Row, &'p [u8]) {
        let states = self.states();
        while row >= states.special {
            match states.leaps.get((row.0 - states.special.0) >> states.shift) {
                None => return (row, &[]),
                Some(Leap::Over { bytes, to }) => match rest.split_at_checked(*bytes) {
                    Some((_, after)) => (row, rest) = (*to, after),
                    // The packet ends on the way.
                    None => return (rest.iter().fold(row, |row, byte| self.step(row, *byte)), &[]),
                },
                Some(Leap::Until(byte)) => match memchr::memchr(*byte, rest) {
                    Some(at) => (row, rest) = (self.step(row, *byte), rest.split_at(at + 1).1),
                    None => return (row, &[]),
                },
            }
        }
        (row, rest)
    }

    /// Which rule wins if the input ends here.
    fn verdict(&self, row: Row) -> Option<RuleId> {
        let states = self.states();
        states.verdicts.get(row.0 >> states.shift).copied().flatten()
    }
}

/// A table of at most [`WIDE_STATES`] states, with a column a byte: the fastest, as no class is looked up.
#[derive(Clone, Debug)]
pub struct Wide {
    cells: Box<[u16; WIDE_CELLS]>,
    states: States,
}

/// A table of at most 65,536 cells, with a column a class.
#[derive(Clone, Debug)]
pub struct Small {
    cells: Box<[u16; SMALL_CELLS]>,
    classes: [u8; 256],
    states: States,
}

/// A table of any size, with a column a class.
#[derive(Clone, Debug)]
pub struct Large {
    cells: Vec<u32>,
    classes: [u8; 256],
    states: States,
}

/// A [`Wide`] counts rows by so many cells, so that 16 bits reach the last of them. An address of the CPU can multiply by
/// 8, and by no more.
const WIDE_UNIT: usize = 8;
/// How many of these a row has, as a power of two.
const WIDE_SHIFT: u32 = 5;
/// One row more than states: a 16-bit number of units and a byte always are an index.
const WIDE_CELLS: usize = (WIDE_STATES + 1) << 8;

/// What is known of the states, beside where they lead.
#[derive(Clone, Debug)]
pub struct States {
    /// From a state's number to its row.
    shift: u32,
    start: Row,
    special: Row,
    /// Of the special rows, in order, those that are not settled.
    leaps: Vec<Leap>,
    verdicts: Vec<Option<RuleId>>,
}

/// [`Skip`], by rows.
#[derive(Clone, Copy, Debug)]
enum Leap {
    Over { bytes: usize, to: Row },
    Until(u8),
}

impl States {
    fn new(dfa: &Dfa, shift: u32) -> Self {
        let row = |state: u32| Row((state as usize) << shift);
        let leap = |skip: &Skip| match *skip {
            Skip::Over { bytes, to } => Leap::Over { bytes, to: row(to) },
            Skip::Until(byte) => Leap::Until(byte),
        };
        Self {
            shift,
            start: row(dfa.start),
            special: row(dfa.special),
            leaps: dfa.skips.iter().map(leap).collect(),
            verdicts: dfa.accepts.clone(),
        }
    }
}

impl Wide {
    /// `None` if the automaton has too many states.
    #[must_use]
    pub fn new(dfa: &Dfa) -> Option<Self> {
        let mut cells = vec![0; WIDE_CELLS];
        for (state, row) in (0..dfa.states()).zip(cells.chunks_exact_mut(1 << 8)) {
            for (byte, cell) in (0..=u8::MAX).zip(row) {
                let next = dfa.row(state)[usize::from(dfa.classes.of(byte))];
                *cell = u16::try_from(next << WIDE_SHIFT).ok()?;
            }
        }
        let cells = cells.into_boxed_slice().try_into().ok()?;
        (dfa.states() <= WIDE_STATES).then(|| Self { cells, states: States::new(dfa, WIDE_SHIFT) })
    }

    /// How many bytes the cells of its states take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.states.verdicts.len() * (1 << 8) * size_of::<u16>()
    }
}

impl Small {
    /// `None` if the automaton has too many cells.
    #[must_use]
    pub fn new(dfa: &Dfa) -> Option<Self> {
        let shift = dfa.shift();
        let mut cells = Vec::with_capacity(SMALL_CELLS);
        rows(dfa, |state| u16::try_from(state << shift).ok().map(|row| cells.push(row)))?;
        cells.resize(SMALL_CELLS, 0);
        Some(Self {
            cells: cells.into_boxed_slice().try_into().ok()?,
            classes: *dfa.classes.of_each(),
            states: States::new(dfa, shift),
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
        Self { cells, classes: *dfa.classes.of_each(), states: States::new(dfa, shift) }
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

impl Table for Wide {
    fn states(&self) -> &States {
        &self.states
    }

    #[inline(always)]
    fn step(&self, row: Row, byte: u8) -> Row {
        Row(usize::from(self.cells[row.0 * WIDE_UNIT + usize::from(byte)]))
    }
}

impl Table for Small {
    fn states(&self) -> &States {
        &self.states
    }

    #[inline(always)]
    fn step(&self, row: Row, byte: u8) -> Row {
        // Rows are multiples of a power of two above every class: the sum needs no carry.
        Row(usize::from(self.cells[row.0 | usize::from(self.classes[usize::from(byte)])]))
    }
}

impl Table for Large {
    fn states(&self) -> &States {
        &self.states
    }

    #[inline(always)]
    fn step(&self, row: Row, byte: u8) -> Row {
        Row(self.cells[row.0 | usize::from(self.classes[usize::from(byte)])] as usize)
    }
}
