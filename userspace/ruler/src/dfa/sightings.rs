//! The first rule that matches, by an automaton that forgets which rules it saw: whoever runs it remembers the first.
//!
//! An automaton that has to know at its end which of a hundred rules `* text *` was seen needs its states a hundred times
//! over. Here a state only says which rules match *from here on whatever follows*, and the least of them is kept aside.
//! That is one number more while it runs, so it is not for lanes: it looks at packets of which another automaton found
//! out that some rule matches.

use super::{
    Classes, Limits, Nfa, TooMany,
    determinise::{Question, Subsets, determinise},
};
use crate::{ir::Node, resolved::RuleId};

/// An automaton whose states say which rule they saw.
///
/// # Invariants
/// States that saw a rule have the highest numbers.
#[derive(Clone, Debug)]
pub struct Sightings {
    classes: Classes,
    /// A row a state, a column a class.
    next: Vec<u32>,
    start: u32,
    /// The first state that saw a rule.
    marked: u32,
    /// Which it is, of each state from there on.
    seen: Vec<Option<RuleId>>,
    /// Which rule matches if the input ends here.
    ends: Vec<Option<RuleId>>,
    /// No rule comes before it.
    first: Option<RuleId>,
}

impl Sightings {
    /// The automaton of some rules, in order. It is not the smallest one, as its size hardly matters.
    ///
    /// # Errors
    /// If building it needs more than the limits, or more than `nfa_states` nondeterministic states.
    pub fn new(rules: &[(RuleId, &Node)], nfa_states: usize, limits: &Limits) -> Result<Self, TooMany> {
        let nfa = Nfa::sharing(rules, nfa_states)?;
        let subsets = determinise(&nfa, Question::Sightings, limits)?;
        Ok(Self::ordered(&subsets, nfa.rules().next().map(|(rule, _)| rule)))
    }

    fn ordered(subsets: &Subsets, first: Option<RuleId>) -> Self {
        let columns = subsets.classes.count();
        let (marked, plain): (Vec<usize>, Vec<usize>) =
            (0..subsets.accepts.len()).partition(|state| subsets.sure[*state].is_some());
        let boundary = plain.len();
        let order: Vec<usize> = plain.into_iter().chain(marked).collect();
        let mut ids = vec![0_u32; order.len()];
        (0_u32..).zip(&order).for_each(|(id, state)| ids[*state] = id);
        let row = |state: &usize| &subsets.next[*state * columns..][..columns];
        Self {
            classes: subsets.classes.clone(),
            next: order.iter().flat_map(row).map(|next| ids[*next as usize]).collect(),
            start: ids.first().copied().unwrap_or_default(),
            marked: u32::try_from(boundary).unwrap_or(u32::MAX),
            seen: order[boundary..].iter().map(|state| subsets.sure[*state]).collect(),
            ends: order.iter().map(|state| subsets.accepts[*state]).collect(),
            first,
        }
    }

    /// How many states it has.
    #[must_use]
    pub const fn states(&self) -> usize {
        self.ends.len()
    }

    /// Which bytes are never told apart.
    #[must_use]
    pub const fn classes(&self) -> &Classes {
        &self.classes
    }

    /// How many cells its table has.
    #[must_use]
    pub const fn cells(&self) -> usize {
        self.next.len()
    }

    /// Which rule wins.
    #[must_use]
    pub fn winner(&self, packet: &[u8]) -> Option<RuleId> {
        let mut state = self.start;
        let mut seen = self.seen(state);
        for byte in packet {
            let cell = state as usize * self.classes.count() + usize::from(self.classes.of(*byte));
            state = self.next[cell];
            if state >= self.marked {
                seen = earlier(seen, self.seen(state));
                if seen == self.first {
                    break;
                }
            }
        }
        earlier(seen, self.ends[state as usize])
    }

    fn seen(&self, state: u32) -> Option<RuleId> {
        self.seen.get(state.checked_sub(self.marked)? as usize).copied().flatten()
    }
}

fn earlier(one: Option<RuleId>, other: Option<RuleId>) -> Option<RuleId> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
