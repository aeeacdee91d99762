//! Simulation of the nondeterministic automaton: slow, but linear in the packet, and it needs no table.
//!
//! After each byte it knows every state that some way leads to; no state is looked at twice for one byte.

use crate::dfa::{Closure, Nfa, State, StateId};
use crate::resolved::RuleId;

/// Memory for simulations of one automaton.
#[derive(Clone, Debug)]
pub struct Walk {
    closure: Closure,
    now: Vec<StateId>,
    after: Vec<StateId>,
}

impl Walk {
    /// Memory for this automaton.
    #[must_use]
    pub fn new(nfa: &Nfa) -> Self {
        let states = || Vec::with_capacity(nfa.len());
        Self { closure: Closure::new(nfa), now: states(), after: states() }
    }

    /// How many states were reached, since it was made.
    #[must_use]
    pub const fn reached(&self) -> u64 {
        self.closure.count()
    }
}

/// Which rule wins.
pub fn verdict(nfa: &Nfa, walk: &mut Walk, packet: &[u8]) -> Option<RuleId> {
    let Walk { closure, now, after } = walk;
    now.clear();
    closure.begin();
    for (_, start) in nfa.rules() {
        closure.reach(nfa, start, |id, _| now.push(id));
    }
    for byte in packet {
        if now.is_empty() {
            return None;
        }
        after.clear();
        closure.begin();
        for id in now.iter() {
            if let State::Bytes(set, next) = nfa.state(*id)
                && set.has(*byte)
            {
                closure.reach(nfa, *next, |id, _| after.push(id));
            }
        }
        std::mem::swap(now, after);
    }
    // Rules own ascending ranges of ids, and the first rule wins.
    now.iter().filter(|id| matches!(nfa.state(**id), State::Accept(_))).min().and_then(|id| nfa.accepts(*id))
}
