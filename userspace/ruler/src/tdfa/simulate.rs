//! Simulation of the nondeterministic automaton with positions: slow, but linear in the packet, and it needs no table.
//!
//! The ways that the bytes so far may have gone go on together, most preferred first, each with its own positions. No state
//! is looked at twice for one byte, so there are never more ways than states.

use super::marks::UNSET;
use super::spots::Anchor;
use crate::dfa::{Closure, Nfa, State, StateId};

/// A pattern that is simulated.
#[derive(Clone, Debug)]
pub(super) struct Simulation {
    pub(super) nfa: Nfa,
    pub(super) anchors: usize,
}

/// Memory for simulations.
#[derive(Clone, Debug, Default)]
pub(super) struct Walk {
    closure: Closure,
    now: Ways,
    after: Ways,
    /// The most states that there is room for.
    states: usize,
}

/// For each way its place, and where on it the anchors are.
#[derive(Clone, Debug, Default)]
struct Ways {
    places: Vec<StateId>,
    positions: Vec<usize>,
}

impl Ways {
    fn clear(&mut self) {
        self.places.clear();
        self.positions.clear();
    }

    fn fit(&mut self, ways: usize, anchors: usize) {
        self.places.reserve(ways.saturating_sub(self.places.len()));
        self.positions.reserve((ways * anchors).saturating_sub(self.positions.len()));
    }

    fn positions(&self, way: usize, anchors: usize) -> &[usize] {
        &self.positions[way * anchors..][..anchors]
    }
}

impl Walk {
    /// Makes room for walks of this pattern too.
    pub(super) fn fit(&mut self, simulation: &Simulation) {
        let ways = simulation.nfa.states().filter(|state| matches!(state, State::Bytes(..))).count().max(1);
        self.states = self.states.max(simulation.nfa.len());
        self.closure.fit(&simulation.nfa);
        self.now.fit(ways, simulation.anchors);
        self.after.fit(ways, simulation.anchors);
    }
}

impl Simulation {
    /// Where the anchors are in these bytes, if they match.
    pub(super) fn find(&self, walk: &mut Walk, bytes: &[u8], found: &mut [usize]) -> bool {
        if walk.states < self.nfa.len() {
            walk.fit(self);
        }
        let Walk { closure, now, after, .. } = walk;
        now.clear();
        for (_, start) in self.nfa.rules() {
            now.places.push(start);
            now.positions.resize(self.anchors, UNSET);
        }
        for (at, byte) in bytes.iter().enumerate() {
            if now.places.is_empty() {
                return false;
            }
            self.step(closure, now, after, at, *byte);
            std::mem::swap(now, after);
        }
        self.end(closure, now, bytes.len(), found)
    }

    fn step(&self, closure: &mut Closure, now: &Ways, after: &mut Ways, at: usize, byte: u8) {
        after.clear();
        closure.begin();
        // Behind a way that matches whatever follows, no other can win.
        let mut sure = false;
        for (way, place) in now.places.iter().enumerate() {
            closure.reach(&self.nfa, *place, |id, passed| match self.nfa.state(id) {
                State::Bytes(set, next) if !sure && set.has(byte) => {
                    let begin = after.positions.len();
                    after.places.push(*next);
                    after.positions.extend_from_slice(now.positions(way, self.anchors));
                    passed.iter().for_each(|tag| after.positions[begin + Anchor::of(*tag).index()] = at);
                    sure = self.nfa.sure(*next);
                }
                _ => {}
            });
            if sure {
                return;
            }
        }
    }

    fn end(&self, closure: &mut Closure, now: &Ways, len: usize, found: &mut [usize]) -> bool {
        closure.begin();
        let mut matches = false;
        for (way, place) in now.places.iter().enumerate() {
            closure.reach(&self.nfa, *place, |id, passed| {
                // There is one such state, and it is reached once.
                if matches!(self.nfa.state(id), State::Accept(_)) {
                    matches = true;
                    found.copy_from_slice(now.positions(way, self.anchors));
                    passed.iter().for_each(|tag| found[Anchor::of(*tag).index()] = len);
                }
            });
        }
        matches
    }
}
