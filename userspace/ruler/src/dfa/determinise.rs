//! Subset construction: sets of states that an NFA may be in become the states of an automaton that is in one.
//!
//! A subset holds the places where the last bytes led, not all that can be reached from there: that is worked out once for
//! each place, so a thousand literals behind one `*` cost no more than the few that are under way.
//!
//! *What cannot matter is dropped:* where a rule matches whatever follows, later rules and its own other ways go. Without
//! this, `* A * | * B *` would remember which of its parts were seen.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Classes, Closure, Nfa, State, StateId};
use crate::ir::ByteSet;
use crate::resolved::RuleId;

/// How much a build may need. Time is not among them: the same source gives the same automaton everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// States before they are merged.
    pub states: usize,
    /// Transitions before states are merged: states times classes.
    pub transitions: usize,
    /// Places that subsets are put together from, over all transitions: what the build costs.
    pub work: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { states: 65_536, transitions: 1 << 24, work: 1 << 26 }
    }
}

impl Limits {
    /// Where they are no wider than others.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        Self {
            states: self.states.min(other.states),
            transitions: self.transitions.min(other.transitions),
            work: self.work.min(other.work),
        }
    }
}

/// An automaton needs more states than are allowed, or finding them costs too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped at {states} states (limit {limit}) for {} rules", rules.len())]
pub struct TooMany {
    /// How many there were when the build stopped.
    pub states: usize,
    /// How many may be.
    pub limit: usize,
    /// The rules that were built together.
    pub rules: Vec<RuleId>,
}

/// A complete automaton, not yet minimal. State 0 is the start.
pub(super) struct Subsets {
    pub(super) classes: Classes,
    pub(super) next: Vec<u32>,
    pub(super) accepts: Vec<Option<RuleId>>,
    /// The first rule that matches here whatever follows.
    pub(super) sure: Vec<Option<RuleId>>,
}

/// What an automaton is to say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Which rule wins.
    Winner,
    /// Whether any rule matches; it is always the first that is named.
    Any,
    /// Which rules an input has matched so far, whatever follows. Each is forgotten at once: whoever asks remembers.
    Sightings,
}

pub(super) fn determinise(nfa: &Nfa, question: Question, limits: &Limits) -> Result<Subsets, TooMany> {
    let classes = Classes::new(nfa.sets());
    let mut build = Build {
        nfa,
        question,
        limits,
        closure: Closure::new(nfa),
        edges: vec![None; nfa.len()],
        known: HashMap::new(),
        subsets: Vec::new(),
        out: Subsets { classes, next: Vec::new(), accepts: Vec::new(), sure: Vec::new() },
    };
    build.run().map_err(|OverLimit| TooMany {
        states: build.subsets.len(),
        limit: limits.states,
        rules: nfa.rules().map(|(rule, _)| rule).collect(),
    })?;
    Ok(build.out)
}

struct OverLimit;

/// The classes of each byte set that can be taken from a state, and where that leads.
type Edges = Rc<[(ByteSet, StateId)]>;

struct Build<'n> {
    nfa: &'n Nfa,
    question: Question,
    limits: &'n Limits,
    closure: Closure,
    edges: Vec<Option<Edges>>,
    known: HashMap<Rc<[StateId]>, u32>,
    subsets: Vec<Rc<[StateId]>>,
    out: Subsets,
}

impl Build<'_> {
    fn run(&mut self) -> Result<(), OverLimit> {
        let classes = self.out.classes.count();
        let mut buckets: Vec<Vec<StateId>> = vec![Vec::new(); classes];
        let mut start: Vec<StateId> = self.nfa.rules().map(|(_, start)| start).collect();
        self.subset(&mut start)?;
        let (mut at, mut work) = (0, 0_usize);
        while let Some(subset) = self.subsets.get(at).map(Rc::clone) {
            for place in &*subset {
                if self.question == Question::Sightings && self.nfa.sure(*place) {
                    continue;
                }
                for (through, next) in self.edges(*place).iter() {
                    through.iter().for_each(|class| buckets[usize::from(class)].push(*next));
                }
            }
            for bucket in &mut buckets {
                work += bucket.len();
                let next = self.subset(bucket)?;
                self.out.next.push(next);
                bucket.clear();
            }
            if self.out.next.len() > self.limits.transitions || work > self.limits.work {
                return Err(OverLimit);
            }
            at += 1;
        }
        Ok(())
    }

    /// The id of a subset; what does not matter in it is dropped.
    fn subset(&mut self, places: &mut Vec<StateId>) -> Result<u32, OverLimit> {
        places.sort_unstable();
        places.dedup();
        self.drop_needless(places);
        if let Some(id) = self.known.get(&places[..]) {
            return Ok(*id);
        }
        let id = u32::try_from(self.subsets.len()).map_err(|_| OverLimit)?;
        if self.subsets.len() >= self.limits.states {
            return Err(OverLimit);
        }
        let subset: Rc<[StateId]> = Rc::from(&places[..]);
        let first = subset.iter().find_map(|place| self.nfa.accepts(*place));
        let accepts = match self.question {
            Question::Any => first.and_then(|_| self.nfa.rules().next()).map(|(rule, _)| rule),
            Question::Winner | Question::Sightings => first,
        };
        let sure = subset.iter().find(|place| self.nfa.sure(**place));
        self.out.accepts.push(accepts);
        self.out.sure.push(sure.and_then(|place| self.nfa.accepts(*place)));
        self.known.insert(Rc::clone(&subset), id);
        self.subsets.push(subset);
        Ok(id)
    }

    /// Drops from places in order what cannot change the answer.
    fn drop_needless(&self, places: &mut Vec<StateId>) {
        let nfa = self.nfa;
        let first = places.iter().copied().find(|place| nfa.sure(*place));
        match (self.question, first) {
            (_, None) => {}
            (Question::Winner, _) => nfa.prune(places),
            (Question::Any, Some(first)) => {
                places.clear();
                places.push(first);
            }
            // One of them says which is the first rule of all that are seen here.
            (Question::Sightings, Some(first)) => places.retain(|place| *place == first || !nfa.sure(*place)),
        }
    }

    fn edges(&mut self, place: StateId) -> Edges {
        if let Some(edges) = &self.edges[place.index()] {
            return Rc::clone(edges);
        }
        let mut edges = Vec::new();
        self.closure.begin();
        self.closure.reach(self.nfa, place, |id, _| {
            if let State::Bytes(set, next) = self.nfa.state(id) {
                edges.push((self.out.classes.within(set), *next));
            }
        });
        let edges = Edges::from(edges);
        self.edges[place.index()] = Some(Rc::clone(&edges));
        edges
    }
}
