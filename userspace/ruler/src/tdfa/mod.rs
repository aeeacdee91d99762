//! Where the labels of one rule lie in a packet that it matches, or may match.
//!
//! A tag at a fixed distance from the pattern's start or end needs no look at the packet. For what moves there is a tagged
//! automaton with one byte of look-ahead, or, where that would be too big, simulation: both linear, without allocation, and
//! with the same answers. Of several ways through a pattern the preferred one counts.
//!
//! It knows one rule at a time, and nothing of header paths: whoever cut the front off a pattern marks, *afterwards*, where
//! labels begin that he cut in two.

mod determinise;
mod dump;
mod marks;
mod minimise;
mod registers;
mod simulate;
mod spots;
mod structure;
mod table;

use std::collections::BTreeSet;

pub use marks::Marks;

use crate::dfa::Nfa;
use crate::ir::{Node, Tag};
use crate::resolved::RuleId;
use marks::UNSET;
use simulate::{Simulation, Walk};
use spots::{Layout, Spot};
use table::{Bank, Table};

/// Finds the labels of a pattern in packets that it is known to match.
#[derive(Clone, Debug)]
pub struct Labels {
    spots: Spots,
    /// `None` if nothing moves.
    search: Option<Search>,
}

/// Says whether a pattern matches, and where its labels are then.
#[derive(Clone, Debug)]
pub struct Candidate {
    spots: Spots,
    search: Search,
}

/// How labels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By the pattern alone; packets are not looked at.
    Fixed,
    /// By a tagged automaton.
    Tdfa {
        /// Its states.
        states: usize,
        /// The positions that it keeps at once.
        registers: usize,
    },
    /// By simulation, which is slow.
    Simulation(Excess),
}

/// Why a pattern has no tagged automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Too many states.
    #[error("{states} states or more (limit {limit})")]
    States {
        /// How many there are at least.
        states: usize,
        /// How many may be.
        limit: usize,
    },
    /// Too many positions at once.
    #[error("{registers} registers or more (limit {limit})")]
    Registers {
        /// How many there are at least.
        registers: usize,
        /// How many may be.
        limit: usize,
    },
    /// Building it takes too long.
    #[error("{states} states took more than {limit} steps to find")]
    Work {
        /// How many were found.
        states: usize,
        /// How many steps were allowed.
        limit: usize,
    },
}

/// A pattern is too big even for simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern with labels needs more than {limit} states")]
pub struct TooBig {
    /// How many there may be.
    pub limit: usize,
}

/// How much finding labels may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// States of a tagged automaton before they are merged.
    pub states: usize,
    /// Registers of a tagged automaton, at most 64.
    pub registers: usize,
    /// Ways looked at to build a tagged automaton, over all bytes of all states: what the build costs.
    pub work: usize,
    /// States of the nondeterministic automaton that others are made from, and that is simulated.
    pub nfa_states: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { states: 16_384, registers: registers::REGISTERS_MAX, work: 1 << 24, nfa_states: 1 << 16 }
    }
}

/// Memory that one pattern after the other is searched with.
#[derive(Clone, Debug)]
pub struct Scratch {
    bank: Box<Bank>,
    anchors: Vec<usize>,
    walk: Walk,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { bank: Box::new([0; 256]), anchors: Vec::new(), walk: Walk::default() }
    }
}

impl Labels {
    /// The labels of a pattern.
    ///
    /// # Errors
    /// If something moves, and the pattern is too big to be simulated.
    pub fn new(node: &Node, limits: &Limits) -> Result<Self, TooBig> {
        let layout = Layout::of(node);
        let search = if layout.anchors > 0 { Some(Search::new(&layout, limits)?) } else { None };
        Ok(Self { spots: Spots(layout.spots), search })
    }

    /// How they are found.
    #[must_use]
    pub fn method(&self) -> Method {
        self.search.as_ref().map_or(Method::Fixed, Search::method)
    }

    /// Makes room in a scratch, which may have served others. Without it, the first packet allocates.
    pub fn fit(&self, scratch: &mut Scratch) {
        if let Some(search) = &self.search {
            search.fit(scratch);
        }
    }

    /// Marks every tag of the pattern, which must match the packet from the byte `from` to its end; those on ways not
    /// taken are unset. Other marks stay. If the pattern does not match, marks of it say nothing.
    pub fn find(&self, scratch: &mut Scratch, packet: &[u8], from: usize, marks: &mut Marks) {
        let bytes = packet.get(from..).unwrap_or_default();
        let anchors = match &self.search {
            None => &[][..],
            Some(search) => search.find(scratch, bytes).unwrap_or_default(),
        };
        self.spots.mark(anchors, from, bytes.len(), marks);
    }
}

impl Candidate {
    /// A pattern that may match.
    ///
    /// # Errors
    /// If it is too big even for simulation.
    pub fn new(node: &Node, limits: &Limits) -> Result<Self, TooBig> {
        let layout = Layout::of(node);
        let search = Search::new(&layout, limits)?;
        Ok(Self { spots: Spots(layout.spots), search })
    }

    /// How it is matched.
    #[must_use]
    pub fn method(&self) -> Method {
        self.search.method()
    }

    /// Makes room in a scratch, which may have served others. Without it, the first packet allocates.
    pub fn fit(&self, scratch: &mut Scratch) {
        self.search.fit(scratch);
    }

    /// Whether the pattern matches the packet from the byte `from` to its end. If so, every tag of it is marked, and those
    /// on ways not taken are unset; if not, marks stay as they are.
    pub fn try_find(&self, scratch: &mut Scratch, packet: &[u8], from: usize, marks: &mut Marks) -> bool {
        let Some(bytes) = packet.get(from..) else { return false };
        let Some(anchors) = self.search.find(scratch, bytes) else { return false };
        self.spots.mark(anchors, from, bytes.len(), marks);
        true
    }
}

/// Where every tag of a pattern lies, in order of tags.
#[derive(Clone, Debug)]
struct Spots(Vec<(Tag, Spot)>);

impl Spots {
    fn mark(&self, anchors: &[usize], from: usize, len: usize, marks: &mut Marks) {
        for (tag, spot) in &self.0 {
            let at = match spot {
                Spot::Start(bytes) => Some(*bytes),
                Spot::End(bytes) => len.checked_sub(*bytes),
                Spot::Anchor(anchor, before) => {
                    let at = anchors.get(anchor.index()).filter(|at| **at != UNSET);
                    at.and_then(|at| at.checked_sub(*before))
                }
            };
            marks.set(*tag, at.filter(|at| *at <= len).map(|at| from + at));
        }
    }
}

/// How anchors are found.
#[derive(Clone, Debug)]
enum Search {
    Tdfa(Box<Table>),
    Simulation(Box<Simulation>, Excess),
}

impl Search {
    fn new(layout: &Layout, limits: &Limits) -> Result<Self, TooBig> {
        let tags: BTreeSet<Tag> = layout.anchors().map(spots::Anchor::tag).collect();
        let nfa = Nfa::with_tags(&[(RuleId(0), &layout.node)], &tags, limits.nfa_states)
            .map_err(|_| TooBig { limit: limits.nfa_states })?;
        Ok(match tabulated(&nfa, layout.anchors, limits) {
            Ok(table) => Self::Tdfa(Box::new(table)),
            Err(excess) => Self::Simulation(Box::new(Simulation { nfa, anchors: layout.anchors }), excess),
        })
    }

    fn method(&self) -> Method {
        match self {
            Self::Tdfa(table) => Method::Tdfa { states: table.states(), registers: table.registers },
            Self::Simulation(_, excess) => Method::Simulation(*excess),
        }
    }

    fn anchors(&self) -> usize {
        match self {
            Self::Tdfa(table) => table.anchors,
            Self::Simulation(simulation, _) => simulation.anchors,
        }
    }

    fn fit(&self, scratch: &mut Scratch) {
        if scratch.anchors.len() < self.anchors() {
            scratch.anchors.resize(self.anchors(), UNSET);
        }
        if let Self::Simulation(simulation, _) = self {
            scratch.walk.fit(simulation);
        }
    }

    /// Where the anchors are in these bytes, if they match.
    fn find<'s>(&self, scratch: &'s mut Scratch, bytes: &[u8]) -> Option<&'s [usize]> {
        let count = self.anchors();
        if scratch.anchors.len() < count {
            self.fit(scratch);
        }
        let anchors = &mut scratch.anchors[..count];
        let matches = match self {
            Self::Tdfa(table) => table.find(&mut scratch.bank, bytes, anchors),
            Self::Simulation(simulation, _) => simulation.find(&mut scratch.walk, bytes, anchors),
        };
        matches.then_some(&*anchors)
    }
}

fn tabulated(nfa: &Nfa, anchors: usize, limits: &Limits) -> Result<Table, Excess> {
    let slotted = determinise::determinise(nfa, anchors, limits)?;
    let registers = registers::Registers::assign(&slotted, limits.registers)?;
    Ok(Table::new(minimise::minimise(&slotted, &registers), anchors))
}

#[cfg(test)]
mod tests;
