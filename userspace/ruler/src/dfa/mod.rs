//! From the regex form to the smallest automaton that says which rule wins: no tags, one answer at the end of the input.
//!
//! All rules of one group become one automaton. It accepts whole inputs only, and of several rules the first wins. It
//! knows nothing of where labels are; that is found afterwards, for the one rule that won.

mod classes;
mod closure;
mod determinise;
mod dump;
mod minimise;
mod nfa;
mod partition;
mod sightings;
mod structure;
mod table;

pub use classes::Classes;
pub(crate) use closure::Closure;
pub use determinise::{Limits, TooMany};
pub(crate) use minimise::merged_classes;
pub use nfa::{Nfa, State, StateId};
pub(crate) use partition::Partition;
pub use sightings::Sightings;
pub use table::{Large, Row, SMALL_CELLS, Small, States, Table, WIDE_STATES, Wide};

use crate::{ir::Node, resolved::RuleId};
use determinise::{Question, determinise};

/// The smallest complete automaton of some rules.
///
/// # Invariants
/// State ids follow a breadth-first walk from the start, but for the *special* ones, which are the highest: first those that
/// *jump* (some bytes do not matter, whatever they are) or *wait* (all bytes but one lead back), then the *decided* ones
/// (whatever follows, this rule wins), then, if there is one, the *dead* state (whatever follows, no rule matches). Decided
/// and dead states lead to themselves, and no other state does so with every byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dfa {
    classes: Classes,
    /// A row a state, a column a class.
    next: Vec<u32>,
    /// Which rule wins if the input ends here.
    accepts: Vec<Option<RuleId>>,
    start: u32,
    special: u32,
    /// The first state that is decided or dead.
    settled: u32,
    /// Of the states from `special` to `settled`.
    skips: Vec<Skip>,
}

/// What need not be read in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    /// So many bytes do not matter, and then the automaton is in that state.
    Over { bytes: usize, to: u32 },
    /// Only this byte leads on.
    Until(u8),
}

impl Dfa {
    /// The smallest automaton of what an NFA's rules match.
    ///
    /// # Errors
    /// If building it needs more than the limits.
    pub fn new(nfa: &Nfa, limits: &Limits) -> Result<Self, TooMany> {
        Ok(minimise::minimise(&determinise(nfa, Question::Winner, limits)?))
    }

    /// The smallest automaton that says whether any of some rules matches, by naming the first of them. None of them may
    /// be needed to tell which: that takes more states, often far more.
    ///
    /// # Errors
    /// If building it needs more than the limits, or more than `nfa_states` nondeterministic states.
    pub fn any_of(rules: &[(RuleId, &Node)], nfa_states: usize, limits: &Limits) -> Result<Self, TooMany> {
        let nfa = Nfa::sharing(rules, nfa_states)?;
        Ok(minimise::minimise(&determinise(&nfa, Question::Any, limits)?))
    }

    /// How many states it has.
    #[must_use]
    pub const fn states(&self) -> usize {
        self.accepts.len()
    }

    /// Which bytes are never told apart.
    #[must_use]
    pub const fn classes(&self) -> &Classes {
        &self.classes
    }

    /// How many cells its table has: states times classes, these rounded up to a power of two.
    #[must_use]
    pub const fn cells(&self) -> usize {
        self.states() << self.shift()
    }

    /// How far a state id is shifted to give its row.
    const fn shift(&self) -> u32 {
        self.classes.count().next_power_of_two().trailing_zeros()
    }

    fn row(&self, state: usize) -> &[u32] {
        let classes = self.classes.count();
        &self.next[state * classes..][..classes]
    }
}

#[cfg(test)]
mod tests;
