//! The nondeterministic automaton of some rules, after Thompson.
//!
//! It is built backwards, from the end of each rule, and equal states of a rule are one: alternatives that end alike share
//! their ends, so that the lengths 6, 14, … 2,046 of one option field need 2,046 states and not the sum. Rules share
//! nothing: each has a range of ids, in the order of the rules.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::TooMany;
use crate::ir::{ByteSet, Node, Tag};
use crate::resolved::RuleId;

/// Which state of an [`Nfa`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StateId(u32);

impl StateId {
    /// As an index; ids come from lengths, so it fits.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a state does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Takes one byte of a set.
    Bytes(ByteSet, StateId),
    /// Takes nothing and goes on at each of these, earlier preferred; none is the end of the way.
    Split(Vec<StateId>),
    /// Takes nothing and remembers the position.
    Tag(Tag, StateId),
    /// The rule matches if the input ends here.
    Accept(RuleId),
}

/// A nondeterministic automaton.
#[derive(Clone, Debug)]
pub struct Nfa {
    states: Vec<State>,
    /// Of each rule, in order: its number, where it starts, and the first state id that is not its own any more.
    rules: Vec<(RuleId, StateId, StateId)>,
    /// What is known of each state.
    facts: Vec<Facts>,
}

/// What holds of a state without looking at a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// Its rule matches if the input ends here.
    accepts: bool,
    /// Its rule matches whatever follows.
    sure: bool,
}

impl Nfa {
    /// The automaton of some rules, in order, without tags.
    ///
    /// # Errors
    /// If it needs more states than `limit`.
    pub fn of_rules(rules: &[(RuleId, &Node)], limit: usize) -> Result<Self, TooMany> {
        Self::with_tags(rules, &BTreeSet::new(), limit)
    }

    /// The automaton of some rules, in order, that remembers these tags.
    ///
    /// # Errors
    /// If it needs more states than `limit`.
    pub fn with_tags(rules: &[(RuleId, &Node)], tags: &BTreeSet<Tag>, limit: usize) -> Result<Self, TooMany> {
        let mut builder = Builder {
            nfa: Self { states: Vec::new(), rules: Vec::new(), facts: Vec::new() },
            known: HashMap::new(),
            tags,
            limit,
        };
        for (rule, node) in rules {
            builder.known.clear();
            let built = builder.state(State::Accept(*rule)).and_then(|accept| builder.node(node, accept));
            let Some(start) = built else {
                return Err(TooMany {
                    states: limit,
                    limit,
                    rules: rules.iter().map(|(rule, _)| *rule).collect(),
                });
            };
            let end = builder.next_id();
            builder.nfa.rules.push((*rule, start, end));
        }
        builder.nfa.find_facts();
        Ok(builder.nfa)
    }

    /// The automaton of some rules, without tags, in which all rules that begin with `*` share it. Which rule a state
    /// belongs to is known only of states that accept.
    ///
    /// # Errors
    /// If it needs more states than `limit`.
    pub(super) fn sharing(rules: &[(RuleId, &Node)], limit: usize) -> Result<Self, TooMany> {
        let none = BTreeSet::new();
        let mut builder = Builder {
            nfa: Self { states: Vec::new(), rules: Vec::new(), facts: Vec::new() },
            known: HashMap::new(),
            tags: &none,
            limit,
        };
        builder.shared(rules).ok_or_else(|| TooMany {
            states: limit,
            limit,
            rules: rules.iter().map(|(rule, _)| *rule).collect(),
        })?;
        builder.nfa.find_facts();
        Ok(builder.nfa)
    }

    /// How many states it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// What a state does.
    #[must_use]
    pub fn state(&self, id: StateId) -> &State {
        &self.states[id.index()]
    }

    /// Its states, in order of ids.
    pub(crate) fn states(&self) -> impl Iterator<Item = &State> {
        self.states.iter()
    }

    /// Its rules, in order, and where each starts.
    pub fn rules(&self) -> impl Iterator<Item = (RuleId, StateId)> {
        self.rules.iter().map(|(rule, start, _)| (*rule, *start))
    }

    /// The rule that matches if the input ends here.
    pub(crate) fn accepts(&self, state: StateId) -> Option<RuleId> {
        self.facts[state.index()].accepts.then(|| self.rules[self.rule_index(state)].0)
    }

    /// Whether the rule of a state matches whatever follows.
    pub(crate) fn sure(&self, state: StateId) -> bool {
        self.facts[state.index()].sure
    }

    /// Which of the rules a state belongs to.
    pub(crate) fn rule_index(&self, state: StateId) -> usize {
        self.rules.partition_point(|(_, _, end)| *end <= state)
    }

    /// Drops from a set of states, in order of ids, what cannot change the verdict: where a rule is sure, its other states
    /// and those of later rules.
    pub(crate) fn prune(&self, states: &mut Vec<StateId>) {
        let Some(first) = states.iter().position(|state| self.sure(*state)) else { return };
        let sure = states[first];
        // Ids of one rule are side by side, so what else is left of this rule stands at the end.
        states.truncate(first);
        let rule = self.rule_index(sure);
        while states.last().is_some_and(|state| self.rule_index(*state) == rule) {
            states.pop();
        }
        states.push(sure);
    }

    /// Facts go against the way of the states; loops need more than one round.
    fn find_facts(&mut self) {
        self.facts = vec![Facts::default(); self.states.len()];
        loop {
            let mut changed = false;
            for (index, state) in self.states.iter().enumerate() {
                let facts = match state {
                    State::Bytes(..) => Facts::default(),
                    State::Accept(_) => Facts { accepts: true, sure: false },
                    State::Tag(_, next) => self.facts[next.index()],
                    State::Split(arms) => {
                        let accepts = arms.iter().any(|arm| self.facts[arm.index()].accepts);
                        let circles = |arm: &StateId| match &self.states[arm.index()] {
                            State::Bytes(set, next) => *set == ByteSet::ALL && next.index() == index,
                            _ => false,
                        };
                        let sure = accepts && arms.iter().any(circles)
                            || arms.iter().any(|arm| self.facts[arm.index()].sure);
                        Facts { accepts, sure }
                    }
                };
                changed |= std::mem::replace(&mut self.facts[index], facts) != facts;
            }
            if !changed {
                return;
            }
        }
    }

    /// Every set of bytes that some state takes.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &ByteSet> {
        let mut seen = std::collections::HashSet::new();
        self.states.iter().filter_map(move |state| match state {
            State::Bytes(set, _) => seen.insert(*set).then_some(set),
            _ => None,
        })
    }

    /// How many ways lead from one state to the next without a byte.
    pub(crate) fn silent_edges(&self) -> usize {
        let edges = |state: &State| match state {
            State::Split(arms) => arms.len(),
            State::Tag(..) => 1,
            State::Bytes(..) | State::Accept(_) => 0,
        };
        self.states.iter().map(edges).sum()
    }
}

struct Builder<'t> {
    nfa: Nfa,
    known: HashMap<State, StateId>,
    tags: &'t BTreeSet<Tag>,
    limit: usize,
}

/// Each function gives `None` beyond the limit.
impl Builder<'_> {
    /// Where to begin to match `node` and then go on at `next`.
    fn node(&mut self, node: &Node, next: StateId) -> Option<StateId> {
        match node {
            Node::Byte(set) => self.state(State::Bytes(*set, next)),
            Node::Tag(tag) if self.tags.contains(tag) => self.state(State::Tag(*tag, next)),
            Node::Tag(_) => Some(next),
            Node::Seq(parts) => parts.iter().rev().try_fold(next, |next, part| self.node(part, next)),
            Node::Alt(arms) => {
                let arms: Option<Vec<StateId>> = arms.iter().map(|arm| self.node(arm, next)).collect();
                self.split(arms?)
            }
            Node::Repeat { body, least, most } => {
                let mut entry = match most {
                    None => self.again(body, next)?,
                    Some(most) => {
                        (*least..*most).try_fold(next, |entry, _| self.optional(body, entry, next))?
                    }
                };
                for _ in 0..*least {
                    entry = self.node(body, entry)?;
                }
                Some(entry)
            }
        }
    }

    /// All rules; what they share comes first.
    fn shared(&mut self, rules: &[(RuleId, &Node)]) -> Option<()> {
        let search = self.push(State::Split(Vec::new()))?;
        let again = self.push(State::Bytes(ByteSet::ALL, search))?;
        let mut sought = vec![again];
        for (rule, node) in rules {
            self.known.clear();
            let accept = self.state(State::Accept(*rule))?;
            let start = match after_any(node) {
                Some(rest) => {
                    sought.push(rest.iter().rev().try_fold(accept, |next, part| self.node(part, next))?);
                    search
                }
                None => self.node(node, accept)?,
            };
            let end = self.next_id();
            self.nfa.rules.push((*rule, start, end));
        }
        self.nfa.states[search.index()] = State::Split(sought);
        Some(())
    }

    fn optional(&mut self, body: &Node, then: StateId, next: StateId) -> Option<StateId> {
        let once = self.node(body, then)?;
        self.split(vec![next, once])
    }

    fn again(&mut self, body: &Node, next: StateId) -> Option<StateId> {
        let id = self.push(State::Split(Vec::new()))?;
        let once = self.node(body, id)?;
        let ways = State::Split(vec![next, once]);
        self.nfa.states[id.index()] = ways;
        Some(id)
    }

    fn split(&mut self, mut arms: Vec<StateId>) -> Option<StateId> {
        let mut seen = BTreeSet::new();
        arms.retain(|arm| seen.insert(*arm));
        match arms[..] {
            [only] => Some(only),
            _ => self.state(State::Split(arms)),
        }
    }

    fn state(&mut self, state: State) -> Option<StateId> {
        if let Some(id) = self.known.get(&state) {
            return Some(*id);
        }
        let id = self.push(state.clone())?;
        self.known.insert(state, id);
        Some(id)
    }

    fn push(&mut self, state: State) -> Option<StateId> {
        let id = self.next_id();
        (self.nfa.states.len() < self.limit).then(|| self.nfa.states.push(state))?;
        Some(id)
    }

    fn next_id(&self) -> StateId {
        StateId(u32::try_from(self.nfa.states.len()).unwrap_or(u32::MAX))
    }
}

/// What comes after the `*` that a rule begins with, if that takes at least one byte: else the place where all rules search
/// would accept one of them.
fn after_any(node: &Node) -> Option<&[Node]> {
    let Node::Seq(parts) = node else { return None };
    let (first, rest) = parts.split_first()?;
    let takes = rest.iter().any(|part| part.length().is_none_or(|length| length.least > 0));
    (*first == Node::any() && takes).then_some(rest)
}
