//! What can be reached without a byte, in order of preference.

use super::{Nfa, State, StateId};
use crate::ir::Tag;

/// Memory for walks over an NFA; walks allocate nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closure {
    /// When each state was last reached.
    reached: Vec<u32>,
    now: u32,
    /// How many states were reached, since it was made.
    count: u64,
    /// Where to go on, and how many tags are on the way there.
    ways: Vec<(StateId, usize)>,
    tags: Vec<Tag>,
}

impl Closure {
    pub(crate) fn new(nfa: &Nfa) -> Self {
        let mut closure = Self::default();
        closure.fit(nfa);
        closure
    }

    /// Makes room for walks over this NFA too.
    pub(crate) fn fit(&mut self, nfa: &Nfa) {
        if self.reached.len() < nfa.len() {
            self.reached.resize(nfa.len(), 0);
        }
        let tags = nfa.states().filter(|state| matches!(state, State::Tag(..))).count();
        self.ways.reserve(nfa.silent_edges() + 1);
        self.tags.reserve(tags);
    }

    /// How many states were reached, since it was made.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Forgets what was reached.
    pub(crate) fn begin(&mut self) {
        self.now = self.now.checked_add(1).unwrap_or_else(|| {
            self.reached.fill(0);
            1
        });
    }

    /// Reaches what `from` leads to and was not reached before; what takes a byte or accepts is found, with the tags on
    /// the way there.
    pub(crate) fn reach(&mut self, nfa: &Nfa, from: StateId, mut found: impl FnMut(StateId, &[Tag])) {
        self.ways.push((from, 0));
        while let Some((id, tags)) = self.ways.pop() {
            let reached = &mut self.reached[id.index()];
            if *reached == self.now {
                continue;
            }
            *reached = self.now;
            self.count += 1;
            self.tags.truncate(tags);
            match nfa.state(id) {
                State::Bytes(..) | State::Accept(_) => found(id, &self.tags),
                State::Split(arms) => self.ways.extend(arms.iter().rev().map(|arm| (*arm, tags))),
                State::Tag(tag, next) => {
                    self.tags.push(*tag);
                    self.ways.push((*next, tags + 1));
                }
            }
        }
    }
}
