//! Builds the header DAG, breadth first, from the paths of all rules.
//!
//! A state is what is still unknown: the paths that may hold, each with the checks that it has not passed. A state with
//! something to test becomes a test, and each answer a state; equal states are one node. When a budget is used up, the
//! states that are left become leaves as they are: their rules are judged from the packet's first byte, which is always
//! right.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use super::{
    Case, Dag, Leaf, Node, NodeId, PathId, Probe, RoadId, RoadStep, Start, Survivor,
    checks::{Check, Checks, Left},
    condition::Place,
    paths::{Advance, Path},
    split,
};
use crate::resolved::{Filter, RuleId};

/// How much a DAG may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes; no DAG has more than [`Limits::NODES_MAX`].
    pub nodes: usize,
    /// Paths in all states together, a bound of the work and memory that building takes.
    pub entries: usize,
}

impl Limits {
    /// The most nodes of any DAG.
    pub const NODES_MAX: usize = 65_534;
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: Self::NODES_MAX, entries: 1 << 22 }
    }
}

impl Dag {
    /// The DAG of a filter.
    #[must_use]
    pub fn build(filter: &Filter, limits: &Limits) -> Self {
        let rules = (0..=u16::MAX).map(RuleId).zip(&filter.rules);
        let paths: Vec<Path> = rules.flat_map(|(id, rule)| split::split(id, &rule.pattern)).collect();
        let checks = paths.iter().map(Checks::of).collect();
        let start = RoadStep { base: 0, from: None };
        let mut builder = Builder {
            paths: &paths,
            checks,
            limits,
            nodes: Vec::new(),
            roads: Vec::new(),
            steps: vec![start],
            known: HashMap::new(),
            queue: VecDeque::new(),
            entries: 0,
        };
        builder.run();
        let (nodes, roads, steps) = (builder.nodes, builder.roads, builder.steps);
        let nodes =
            nodes.into_iter().map(|node| node.unwrap_or_else(|| unreachable!("every state was built")));
        Self { nodes: nodes.collect(), roads, steps, rules: filter.rules.len(), paths }
    }
}

/// A path that may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Live {
    path: u32,
    left: Left,
}

/// What is still unknown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    road: RoadId,
    /// How many bytes behind the base are known to be there; `None`: not even the base is.
    least: Option<u32>,
    live: Vec<Live>,
}

/// What tells nodes apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    State(Arc<State>),
    Leaf(RoadId, Arc<Leaf>),
}

/// What to ask next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    /// In order of preference among those that concern as many paths: lowest, then narrowest.
    Place(Place),
    Len(u32),
    Base(Advance),
}

struct Builder<'a> {
    paths: &'a [Path],
    checks: Vec<Checks>,
    limits: &'a Limits,
    nodes: Vec<Option<Node>>,
    roads: Vec<RoadId>,
    steps: Vec<RoadStep>,
    known: HashMap<Key, NodeId>,
    queue: VecDeque<(NodeId, Arc<State>, Question)>,
    entries: usize,
}

impl Builder<'_> {
    fn run(&mut self) {
        let live = (0_u32..).zip(&self.checks);
        let live = live.map(|(path, checks)| Live { path, left: checks.all() }).collect();
        self.node_of(State { road: RoadId(0), least: Some(0), live });
        while let Some((id, state, question)) = self.queue.pop_front() {
            let node = self.ask(&state, question);
            self.nodes[id.index()] = Some(node.unwrap_or_else(|| Node::Leaf(Arc::new(self.leaf(&state)))));
        }
    }

    /// The node of a state, new or known; one with a question waits to be asked.
    fn node_of(&mut self, mut state: State) -> NodeId {
        self.tidy(&mut state);
        let question = self.question(&state);
        let (road, key) = match question {
            Some(_) => (state.road, Key::State(Arc::new(state))),
            None => {
                let leaf = self.leaf(&state);
                let road = self.road_of(&leaf, state.road);
                (road, Key::Leaf(road, Arc::new(leaf)))
            }
        };
        if let Some(id) = self.known.get(&key) {
            return *id;
        }
        let id =
            NodeId(u16::try_from(self.nodes.len()).unwrap_or_else(|_| unreachable!("checked by `room`")));
        self.known.insert(key.clone(), id);
        self.roads.push(road);
        match (key, question) {
            (Key::State(state), Some(question)) => {
                self.nodes.push(None);
                self.entries += state.live.len();
                self.queue.push_back((id, state, question));
            }
            (Key::Leaf(_, leaf), _) => self.nodes.push(Some(Node::Leaf(leaf))),
            (Key::State(_), None) => unreachable!("a state without a question is a leaf"),
        }
        id
    }

    /// Drops what stands behind a path that surely holds, and makes equal what no longer differs.
    fn tidy(&self, state: &mut State) {
        let sure = |live: &Live| live.left == Left::NONE && self.path(live).is_final();
        if let Some(first) = state.live.iter().position(sure) {
            state.live.truncate(first + 1);
        }
        let needed =
            state.live.iter().flat_map(|live| self.here(state.road, live)).map(|(_, check)| match check {
                Check::Least(_) | Check::Most(_) => 0,
                Check::Holds(place, _) => place.end(),
                Check::Base(advance) => advance.field.end(),
            });
        // Bytes that nobody will read need not be known to be there, unless a length is still asked for.
        let needed = needed.max().unwrap_or(0);
        let asked = |check: &Check| matches!(check, Check::Least(_) | Check::Most(_));
        if !state.live.iter().any(|live| self.here(state.road, live).any(|(_, check)| asked(check))) {
            state.least = state.least.map(|least| least.min(needed));
        }
    }

    /// The checks of a path that can be made behind the base of this road.
    fn here(&self, road: RoadId, live: &Live) -> impl Iterator<Item = (Left, &Check)> {
        let base = self.steps[usize::from(road.0)].base;
        let left = if live.left == Left::LOST { Left::NONE } else { live.left };
        let checks = self.checks_of(live).left(left);
        checks.filter(move |(_, segment, _)| *segment == base).map(|(own, _, check)| (own, check))
    }

    /// The test that concerns the most paths, then lowest, then narrowest; a next base if there is no other.
    fn question(&self, state: &State) -> Option<Question> {
        let decided = |live: &Live| live.left == Left::NONE && self.path(live).is_final();
        if state.live.first().is_none_or(decided) {
            return None;
        }
        let mut places: BTreeMap<Place, u32> = BTreeMap::new();
        let mut lengths: BTreeMap<u32, u32> = BTreeMap::new();
        let mut bases: Vec<(Advance, u32)> = Vec::new();
        let (mut short, mut shortest) = (0, None::<u32>);
        for live in &state.live {
            let mut others = false;
            for (_, check) in self.here(state.road, live) {
                match check {
                    Check::Holds(place, _) if state.least.is_some_and(|least| place.end() <= least) => {
                        *places.entry(*place).or_default() += 1;
                        others = true;
                    }
                    Check::Holds(..) => others = true,
                    Check::Least(bytes) => {
                        short += 1;
                        shortest = Some(shortest.map_or(*bytes, |least| least.min(*bytes)));
                        others = true;
                    }
                    Check::Most(bytes) => {
                        *lengths.entry(bytes + 1).or_default() += 1;
                        others = true;
                    }
                    Check::Base(advance) if !others => {
                        match bases.iter_mut().find(|(other, _)| other == advance) {
                            Some((_, count)) => *count += 1,
                            None => bases.push((*advance, 1)),
                        }
                    }
                    Check::Base(_) => {}
                }
            }
        }
        if let Some(bytes) = shortest {
            *lengths.entry(bytes).or_default() += short;
        }
        let places =
            places.into_iter().map(|(place, count)| (count, place.offset.into(), Question::Place(place)));
        let lengths = lengths.into_iter().map(|(bytes, count)| (count, bytes, Question::Len(bytes)));
        // Of equals the lower, of those the narrower one: `max_by` takes the last, so everything is the other way round.
        let best = places.chain(lengths).max_by(|a: &(u32, u32, _), b: &(u32, u32, _)| {
            a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2))
        });
        let first_of_most = |bases: Vec<(Advance, u32)>| {
            let most = bases.iter().map(|(_, count)| *count).max()?;
            bases.into_iter().find(|(_, count)| *count == most).map(|(advance, _)| Question::Base(advance))
        };
        best.map(|(.., question)| question).or_else(|| first_of_most(bases))
    }

    /// The node that asks; `None` if a budget does not allow its answers.
    fn ask(&mut self, state: &State, question: Question) -> Option<Node> {
        match question {
            Question::Len(bytes) => {
                let [yes, no] = [self.long(state, bytes), self.short(state, bytes)];
                self.room(&[&yes, &no])?;
                let yes = self.node_of(yes);
                Some(Node::Len { bytes, yes, no: self.node_of(no) })
            }
            Question::Place(place) => self.probe(state, place),
            Question::Base(advance) => {
                let next = self.beyond(state, advance)?;
                self.room(&[&next])?;
                Some(Node::Base { advance, to: self.node_of(next) })
            }
        }
    }

    /// Whether the budgets allow so many more states.
    fn room(&self, states: &[&State]) -> Option<()> {
        let entries: usize = states.iter().map(|state| state.live.len()).sum();
        let nodes = self.limits.nodes.min(Limits::NODES_MAX);
        let fits = self.nodes.len() + states.len() <= nodes && self.entries + entries <= self.limits.entries;
        fits.then_some(())
    }

    /// The state in which there are at least so many bytes.
    fn long(&self, state: &State, bytes: u32) -> State {
        let kept = |live: &Live| {
            let mut passed = Left::NONE;
            for (own, check) in self.here(state.road, live) {
                match check {
                    Check::Least(least) if *least <= bytes => passed = own,
                    Check::Most(most) if *most < bytes => return None,
                    _ => {}
                }
            }
            Some(Live { left: live.left.without(passed), ..*live })
        };
        State { least: Some(bytes), live: state.live.iter().filter_map(kept).collect(), ..*state }
    }

    /// The state in which there are fewer bytes.
    fn short(&self, state: &State, bytes: u32) -> State {
        let kept = |live: &Live| {
            let mut passed = Left::NONE;
            for (own, check) in self.here(state.road, live) {
                match check {
                    Check::Least(least) if bytes <= *least => return None,
                    Check::Most(most) if bytes <= most + 1 => passed = own,
                    _ => {}
                }
            }
            Some(Live { left: live.left.without(passed), ..*live })
        };
        State { live: state.live.iter().filter_map(kept).collect(), ..*state }
    }

    fn probe(&mut self, state: &State, place: Place) -> Option<Node> {
        let pieces = self.pieces(state, place);
        let mut seen = HashSet::new();
        let distinct = pieces.iter().map(|(.., state)| state).filter(|state| seen.insert(*state));
        self.room(&distinct.collect::<Vec<_>>())?;
        let mut cases: Vec<Case> = Vec::with_capacity(pieces.len());
        for (first, last, state) in pieces {
            let to = self.node_of(state);
            match cases.last_mut().filter(|before| before.to == to && before.last + 1 == first) {
                Some(before) => before.last = last,
                None => cases.push(Case { first, last, to }),
            }
        }
        let mut values: BTreeMap<NodeId, u128> = BTreeMap::new();
        for case in &cases {
            *values.entry(case.to).or_default() += u128::from(case.last - case.first) + 1;
        }
        let most = values.into_iter().max_by_key(|(id, values)| (*values, std::cmp::Reverse(*id)));
        let (default, _) = most.unwrap_or_else(|| unreachable!("there is a value"));
        cases.retain(|case| case.to != default);
        Some(Node::Probe(Probe { place, cases, default }))
    }

    /// All values of a place, in order, with the state that each leads to.
    fn pieces(&self, state: &State, place: Place) -> Vec<(u64, u64, State)> {
        // What each path says: nothing of this place, or where its values begin and end.
        let mut free: Vec<(usize, Live)> = Vec::new();
        let mut edges: BTreeMap<u64, Vec<(usize, Option<Live>)>> = BTreeMap::from([(0, Vec::new())]);
        for (index, live) in state.live.iter().enumerate() {
            let mut asks = self.here(state.road, live).filter_map(|(own, check)| match check {
                Check::Holds(asked, allowed) if *asked == place => Some((own, allowed)),
                _ => None,
            });
            let Some((own, allowed)) = asks.next() else {
                free.push((index, *live));
                continue;
            };
            let passed = Live { left: live.left.without(own), ..*live };
            for (first, last) in allowed.as_slice() {
                edges.entry(*first).or_default().push((index, Some(passed)));
                if let Some(next) = last.checked_add(1).filter(|next| *next <= place.mask) {
                    edges.entry(next).or_default().push((index, None));
                }
            }
        }
        let ends = edges.keys().skip(1).map(|next| next - 1).chain([place.mask]);
        let ends: Vec<u64> = ends.collect();
        let mut now: BTreeMap<usize, Live> = BTreeMap::new();
        let mut pieces = Vec::with_capacity(edges.len());
        for ((first, changes), last) in edges.into_iter().zip(ends) {
            for (index, change) in changes {
                match change {
                    Some(live) => now.insert(index, live),
                    None => now.remove(&index),
                };
            }
            let mut live: Vec<(usize, Live)> = now.iter().map(|(index, live)| (*index, *live)).collect();
            live.extend(&free);
            live.sort_unstable_by_key(|(index, _)| *index);
            let live = live.into_iter().map(|(_, live)| live);
            let live = match first == last {
                true => live.filter_map(|live| self.knowing(state.road, live, place, first)).collect(),
                false => live.collect(),
            };
            pieces.push((first, last, State { live, ..*state }));
        }
        pieces
    }

    /// A path where this place has this value: what it asks of the same bytes elsewhere is answered too. Without this,
    /// strings of different lengths at one place would be as many independent tests, with all their combinations.
    fn knowing(&self, road: RoadId, live: Live, place: Place, value: u64) -> Option<Live> {
        let mut passed = Left::NONE;
        for (own, check) in self.here(road, &live) {
            let Check::Holds(other, allowed) = check else { continue };
            let Some((known, bits)) = place.shared_with(other, value) else { continue };
            match allowed.only() {
                _ if known == other.mask => match allowed.has(bits) {
                    true => passed = passed.with(own),
                    false => return None,
                },
                Some(only) if only & known != bits => return None,
                _ => {}
            }
        }
        Some(Live { left: live.left.without(passed), ..live })
    }

    /// The state behind the next base; `None` if there are too many roads.
    fn beyond(&mut self, state: &State, advance: Advance) -> Option<State> {
        let base = self.steps[usize::from(state.road.0)].base;
        let step = RoadStep { base: base + 1, from: Some((state.road, advance)) };
        let road = match self.steps.iter().position(|other| *other == step) {
            Some(known) => known,
            None => {
                self.steps.push(step);
                self.steps.len() - 1
            }
        };
        let road = RoadId(u16::try_from(road).ok()?);
        let moved = |live: &Live| {
            let mut here = self.here(state.road, live);
            let own = here.find_map(|(own, check)| match check {
                Check::Base(other) if *other == advance => Some(own),
                _ => None,
            });
            match own {
                Some(own) => Live { left: live.left.without(own), ..*live },
                None if live.left == Left::NONE => *live,
                None => Live { left: Left::LOST, ..*live },
            }
        };
        Some(State { road, least: None, live: state.live.iter().map(moved).collect() })
    }

    /// What is left of a state that asks nothing more.
    fn leaf(&self, state: &State) -> Leaf {
        let mut survivors: Vec<Survivor> = Vec::new();
        for live in &state.live {
            let rule = self.path(live).rule;
            let undecided = Survivor { rule, start: Start::Whole };
            if survivors.last() == Some(&undecided) {
                // The whole pattern has all ways of its rule.
                continue;
            }
            let decided = live.left == Left::NONE;
            let start = if decided { Start::Rest(PathId(live.path)) } else { Start::Whole };
            survivors.push(Survivor { rule, start });
            if decided && self.path(live).is_final() {
                break;
            }
        }
        Leaf { survivors }
    }

    /// The road as far as a leaf's rests need it: where they begin, and their labels.
    fn road_of(&self, leaf: &Leaf, mut road: RoadId) -> RoadId {
        let bases = leaf.survivors.iter().filter_map(|survivor| match survivor.start {
            Start::Rest(PathId(path)) => {
                usize::try_from(path).ok().map(|path| self.paths[path].segments.len())
            }
            Start::Whole => None,
        });
        let needed = bases.max().unwrap_or(1);
        while let RoadStep { base, from: Some((before, _)) } = self.steps[usize::from(road.0)] {
            if usize::from(base) < needed {
                break;
            }
            road = before;
        }
        road
    }

    fn path(&self, live: &Live) -> &Path {
        &self.paths[usize::try_from(live.path).unwrap_or(usize::MAX)]
    }

    fn checks_of(&self, live: &Live) -> &Checks {
        &self.checks[usize::try_from(live.path).unwrap_or(usize::MAX)]
    }
}
