//! Where the labels of one rule's pattern lie in a packet that it matches.

use std::collections::BTreeSet;

use crate::{
    dfa::{Nfa, State, StateId, TooMany},
    ir::{Node, Tag},
    resolved::RuleId,
};

/// How much finding labels may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// States.
    pub states: usize,
    /// Registers.
    pub registers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { states: 16_384, registers: 64 }
    }
}

/// By what means labels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Each lies at a fixed distance from the begin or the end.
    Fixed,
    /// A tagged automaton.
    Tdfa {
        /// Its states.
        states: usize,
        /// Its registers.
        registers: usize,
    },
    /// Simulation.
    Simulation,
}

/// Of one pattern.
#[derive(Clone, Debug)]
pub struct Labels {
    nfa: Nfa,
}

/// Memory.
#[derive(Clone, Debug, Default)]
pub struct Scratch;

/// Where one label is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Where it begins.
    pub begin: Option<usize>,
    /// Where it ends.
    pub end: Option<usize>,
}

impl Labels {
    /// Of a pattern.
    ///
    /// # Errors
    /// Too many states.
    pub fn new(node: &Node, tags: &BTreeSet<Tag>, limits: &Limits) -> Result<Self, TooMany> {
        Ok(Self { nfa: Nfa::with_tags(&[(RuleId(0), node)], tags, limits.states)? })
    }
    /// How.
    pub fn method(&self) -> Method {
        Method::Fixed
    }
    /// Memory.
    pub fn fit(&self, _: &mut Scratch) {}
    /// Where.
    pub fn find(&self, scratch: &mut Scratch, bytes: &[u8], out: &mut [Place]) {
        self.try_find(scratch, bytes, out);
    }
    /// Where, if it matches.
    pub fn try_find(&self, _: &mut Scratch, bytes: &[u8], out: &mut [Place]) -> bool {
        let mut threads: Vec<(StateId, Vec<Place>)> = Vec::new();
        let mut seen = BTreeSet::new();
        for (_, start) in self.nfa.rules() {
            self.reach(start, vec![Place::default(); out.len()], 0, &mut seen, &mut threads);
        }
        for (at, byte) in bytes.iter().enumerate() {
            let mut next = Vec::new();
            let mut seen = BTreeSet::new();
            for (state, places) in threads {
                if let State::Bytes(set, to) = self.nfa.state(state)
                    && set.has(*byte)
                {
                    self.reach(*to, places, at + 1, &mut seen, &mut next);
                }
            }
            threads = next;
        }
        match threads.into_iter().find(|(state, _)| matches!(self.nfa.state(*state), State::Accept(_))) {
            Some((_, places)) => {
                out.copy_from_slice(&places);
                true
            }
            None => false,
        }
    }
    fn reach(
        &self,
        id: StateId,
        mut places: Vec<Place>,
        at: usize,
        seen: &mut BTreeSet<StateId>,
        out: &mut Vec<(StateId, Vec<Place>)>,
    ) {
        if !seen.insert(id) {
            return;
        }
        match self.nfa.state(id) {
            State::Split(arms) => arms.iter().for_each(|arm| self.reach(*arm, places.clone(), at, seen, out)),
            State::Tag(Tag::Begin(l), to) => {
                places[usize::from(l.0)].begin = Some(at);
                self.reach(*to, places, at, seen, out);
            }
            State::Tag(Tag::End(l), to) => {
                places[usize::from(l.0)].end = Some(at);
                self.reach(*to, places, at, seen, out);
            }
            _ => out.push((id, places)),
        }
    }
}
