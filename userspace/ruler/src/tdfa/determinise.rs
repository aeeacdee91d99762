//! Subset construction with positions: an automaton that knows where anchors are on every way that is under way.
//!
//! A state is the ways that the bytes so far may have gone, most preferred first: for each the place it has reached, and
//! in which *slot* the position of each anchor lies that it has passed. What can be reached from a place without a byte is
//! looked at with the next byte, so an anchor on a way that this byte does not take is never written down (V. Laurikari's
//! construction, with one byte of look-ahead). Slots are numbered as the state first names them, so that states which
//! differ only in names are one.
//!
//! *What cannot win is dropped:* of two ways to one place the less preferred, and behind a way that matches whatever
//! follows all others.

use std::collections::HashMap;
use std::rc::Rc;

use super::spots::Anchor;
use super::{Excess, Limits};
use crate::dfa::{Classes, Closure, Nfa, State, StateId};
use crate::ir::{ByteSet, Tag};

/// Where a position comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source<S> {
    /// It is kept here.
    Kept(S),
    /// It is how many bytes came before this one.
    Here,
}

/// Which of a state's positions.
pub(super) type Slot = u32;

/// A complete automaton whose positions have no registers yet. State 0 is the start.
pub(super) struct Slotted {
    pub(super) classes: Classes,
    /// A row a state, a column a class.
    pub(super) next: Vec<u32>,
    /// For each of these which of the lists.
    pub(super) lists: Vec<u32>,
    /// Where each slot of the next state comes from.
    pub(super) sources: Vec<Vec<Source<Slot>>>,
    /// How many slots each state has.
    pub(super) slots: Vec<usize>,
    /// If the input may end in a state, where each anchor is then.
    pub(super) outcomes: Vec<Option<Vec<Option<Source<Slot>>>>>,
}

pub(super) fn determinise(nfa: &Nfa, anchors: usize, limits: &Limits) -> Result<Slotted, Excess> {
    let classes = Classes::new(nfa.sets());
    let bytes = classes.sets().iter().filter_map(|set| set.iter().next()).collect();
    let mut build = Build {
        nfa,
        anchors,
        limits,
        bytes,
        closure: Closure::new(nfa),
        edges: Edges::default(),
        taken: vec![0; nfa.len()],
        now: 0,
        names: Vec::new(),
        known: HashMap::new(),
        states: Vec::new(),
        known_sources: HashMap::new(),
        out: Slotted {
            classes,
            next: Vec::new(),
            lists: Vec::new(),
            sources: Vec::new(),
            slots: Vec::new(),
            outcomes: Vec::new(),
        },
    };
    build.run()?;
    Ok(build.out)
}

/// The ways of a state: places, and for each place and anchor 0 or the slot plus one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ways {
    places: Vec<StateId>,
    slots: Vec<u32>,
}

/// What leads on from a state with a byte.
#[derive(Default)]
struct Edges<'n> {
    edges: Vec<Edge<'n>>,
    /// The anchors on the ways of all edges.
    passed: Vec<usize>,
}

struct Edge<'n> {
    set: &'n ByteSet,
    next: StateId,
    /// From which way of the state.
    way: usize,
    /// Which of [`Edges::passed`].
    passed: std::ops::Range<usize>,
}

struct Build<'n> {
    nfa: &'n Nfa,
    anchors: usize,
    limits: &'n Limits,
    /// One byte of each class.
    bytes: Vec<u8>,
    closure: Closure,
    edges: Edges<'n>,
    /// When each place was last taken.
    taken: Vec<usize>,
    now: usize,
    /// The slots of the state before, and "here", by their new numbers less one.
    names: Vec<Source<Slot>>,
    known: HashMap<Rc<Ways>, u32>,
    states: Vec<Rc<Ways>>,
    known_sources: HashMap<Vec<Source<Slot>>, u32>,
    out: Slotted,
}

impl Build<'_> {
    fn run(&mut self) -> Result<(), Excess> {
        let start = self.nfa.rules().map(|(_, start)| start).collect::<Vec<_>>();
        let slots = vec![0; start.len() * self.anchors];
        self.state(Ways { places: start, slots }, 0)?;
        let (mut at, mut work) = (0, 0);
        while let Some(state) = self.states.get(at).map(Rc::clone) {
            let outcome = self.look(&state);
            self.out.outcomes.push(outcome);
            for class in 0..self.bytes.len() {
                self.step(&state, self.bytes[class])?;
                work += 1 + self.edges.edges.len() * (1 + self.anchors);
            }
            if work > self.limits.work {
                return Err(Excess::Work { states: self.states.len(), limit: self.limits.work });
            }
            at += 1;
        }
        Ok(())
    }

    /// Finds the edges of a state, and where anchors are if the input ends there.
    fn look(&mut self, state: &Ways) -> Option<Vec<Option<Source<Slot>>>> {
        let Self { nfa, closure, edges: Edges { edges, passed }, anchors, .. } = self;
        let nfa = *nfa;
        let mut outcome = None;
        edges.clear();
        passed.clear();
        closure.begin();
        for (way, place) in state.places.iter().enumerate() {
            closure.reach(nfa, *place, |id, tags| match nfa.state(id) {
                State::Bytes(set, next) => {
                    let first = passed.len();
                    passed.extend(tags.iter().map(|tag| Anchor::of(*tag).index()));
                    edges.push(Edge { set, next: *next, way, passed: first..passed.len() });
                }
                // There is one such state, and it is reached once.
                State::Accept(_) => {
                    outcome = Some(ends(&state.slots[way * *anchors..][..*anchors], tags));
                }
                State::Split(_) | State::Tag(..) => {}
            });
        }
        outcome
    }

    /// Where a byte leads.
    fn step(&mut self, state: &Ways, byte: u8) -> Result<(), Excess> {
        self.now += 1;
        self.names.clear();
        let mut ways = Ways::default();
        for edge in self.edges.edges.iter().filter(|edge| edge.set.has(byte)) {
            if std::mem::replace(&mut self.taken[edge.next.index()], self.now) == self.now {
                continue;
            }
            let kept = &state.slots[edge.way * self.anchors..][..self.anchors];
            let passed = &self.edges.passed[edge.passed.clone()];
            ways.places.push(edge.next);
            for (anchor, slot) in kept.iter().enumerate() {
                let source = match slot.checked_sub(1) {
                    _ if passed.contains(&anchor) => Some(Source::Here),
                    slot => slot.map(Source::Kept),
                };
                ways.slots.push(source.map_or(0, |source| named(&mut self.names, source)));
            }
            if self.nfa.sure(edge.next) {
                if self.anchors == 0 {
                    ways.places = vec![edge.next];
                }
                break;
            }
        }
        if self.anchors == 0 {
            // Without positions the order of ways does not matter.
            ways.places.sort_unstable();
        }
        let next = self.state(ways, self.names.len())?;
        let list = self.list();
        self.out.next.push(next);
        self.out.lists.push(list);
        Ok(())
    }

    fn state(&mut self, ways: Ways, slots: usize) -> Result<u32, Excess> {
        if let Some(id) = self.known.get(&ways) {
            return Ok(*id);
        }
        if slots > self.limits.registers {
            return Err(Excess::Registers { registers: slots, limit: self.limits.registers });
        }
        let (states, limit) = (self.states.len() + 1, self.limits.states);
        let id = u32::try_from(self.states.len()).ok().filter(|_| states <= limit);
        let id = id.ok_or(Excess::States { states, limit })?;
        let ways = Rc::new(ways);
        self.known.insert(Rc::clone(&ways), id);
        self.states.push(ways);
        self.out.slots.push(slots);
        Ok(id)
    }

    /// The list of where the new slots come from.
    fn list(&mut self) -> u32 {
        if let Some(list) = self.known_sources.get(&self.names) {
            return *list;
        }
        let list = u32::try_from(self.out.sources.len()).unwrap_or(u32::MAX);
        self.out.sources.push(self.names.clone());
        self.known_sources.insert(self.names.clone(), list);
        list
    }
}

/// The number of a source, plus one: an old one if it has been named.
fn named(names: &mut Vec<Source<Slot>>, source: Source<Slot>) -> u32 {
    let index = names.iter().position(|known| *known == source).unwrap_or_else(|| {
        names.push(source);
        names.len() - 1
    });
    // There are at most as many as anchors in all ways, whose numbers are held in memory.
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

fn ends(slots: &[u32], passed: &[Tag]) -> Vec<Option<Source<Slot>>> {
    let mut ends: Vec<_> = slots.iter().map(|slot| slot.checked_sub(1).map(Source::Kept)).collect();
    passed.iter().for_each(|tag| ends[Anchor::of(*tag).index()] = Some(Source::Here));
    ends
}
