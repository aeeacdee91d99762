//! The header DAG: one decision graph for the fronts of all rules of a filter.
//!
//! A walk from its root tests lengths and fields until it reaches a leaf, which says which rules are left, in order, and
//! where the rest of each begins. The graph is what workers walk ([`Dag::eval`]) and what the eBPF program is made from;
//! a walk that was cut short there goes on here from the node it reached ([`Dag::eval_from`]).
//!
//! It decides nothing that needs a search: what stands behind a `*` is left to the rests.

pub mod build;
mod checks;
pub mod condition;
mod dump;
mod eval;
pub mod paths;
mod perfect;
pub mod ranges;
pub mod split;
mod steps;
pub mod switch;
mod walk;
mod window;
mod work;

use std::sync::Arc;

pub use build::Limits;
use condition::Place;
pub use eval::{Bases, Reached};
use paths::{Advance, Path};
pub use walk::{Walk, Walker};
pub use work::Work;

use crate::resolved::RuleId;

/// Which node; they are numbered from the root, breadth first, so that what is near the root has small numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// Which of a [`Dag`]'s paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

/// Which way the bases were found: an index into a list of steps, the packet's start being step 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoadId(u16);

/// The header DAG of one filter.
#[derive(Clone, Debug)]
pub struct Dag {
    /// By [`NodeId`]; the first is the root.
    nodes: Vec<Node>,
    /// By node: how its bases are found.
    roads: Vec<RoadId>,
    /// By [`RoadId`]; a step's predecessor stands before it.
    steps: Vec<RoadStep>,
    /// By [`PathId`].
    paths: Vec<Path>,
    /// How many rules the filter has.
    rules: usize,
}

/// The last step of a road.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct RoadStep {
    /// Its base's number: 0 for the packet's start.
    base: u8,
    /// The road before it, and how far it goes; `None` for the packet's start.
    from: Option<(RoadId, Advance)>,
}

/// A test, or the end of tests. All tests read behind the base that was found last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// Whether there are at least so many bytes.
    Len {
        /// The bytes.
        bytes: u32,
        /// If so.
        yes: NodeId,
        /// If not.
        no: NodeId,
    },
    /// Which values a place has; a LEN before it made sure that it is in the packet.
    Probe(Probe),
    /// The next base.
    Base {
        /// How far it is; its field is in the packet.
        advance: Advance,
        /// Whatever it is.
        to: NodeId,
    },
    /// No further test.
    Leaf(Arc<Leaf>),
}

/// A choice by value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// What is read.
    pub place: Place,
    /// In order of value, none overlapping.
    pub cases: Vec<Case>,
    /// For all other values.
    pub default: NodeId,
}

/// Values that lead to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Case {
    /// The least.
    pub first: u64,
    /// The greatest.
    pub last: u64,
    /// Where they lead.
    pub to: NodeId,
}

/// A header class: what is left of a filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    /// The rules that may still match, in order; none: no rule matches. Nothing stands behind one that surely matches.
    /// A rule may be here several times, for several of its paths, in order of preference.
    pub survivors: Vec<Survivor>,
}

/// A rule that may still match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Survivor {
    /// The rule.
    pub rule: RuleId,
    /// What must match for it.
    pub start: Start,
}

/// Where the work on a surviving rule begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// All of this path holds: only its rest is left.
    Rest(PathId),
    /// Its header was not decided: the whole pattern, from the packet's first byte.
    Whole,
}

/// What a leaf says without a further look at the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No rule matches.
    NoRule,
    /// This rule matches, on this path.
    Rule(RuleId, PathId),
    /// The rests decide.
    Open,
}

impl NodeId {
    /// Where every walk begins.
    pub const ROOT: Self = Self(0);

    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Dag {
    /// A node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// A path.
    #[must_use]
    pub fn path(&self, PathId(id): PathId) -> &Path {
        // A u32 fits wherever the crate builds; the table is never empty when an id exists.
        &self.paths[usize::try_from(id).unwrap_or(usize::MAX)]
    }

    /// How many rules the filter has.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.rules
    }

    /// Every node with its number, in order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..=u16::MAX).map(NodeId).zip(&self.nodes)
    }

    /// The base that a node reads behind, 0 for the packet's start.
    #[must_use]
    pub fn base(&self, id: NodeId) -> u8 {
        self.steps[usize::from(self.roads[id.index()].0)].base
    }

    /// What a leaf says.
    #[must_use]
    pub fn decision(&self, leaf: &Leaf) -> Decision {
        match leaf.survivors.first() {
            None => Decision::NoRule,
            Some(Survivor { rule, start: Start::Rest(path) }) if self.path(*path).is_final() => {
                Decision::Rule(*rule, *path)
            }
            Some(_) => Decision::Open,
        }
    }

    /// By node: the most tests that a walk from the root makes before it.
    #[must_use]
    pub fn depths(&self) -> Vec<u32> {
        let mut depths = vec![0; self.nodes.len()];
        for id in self.forward() {
            let next = depths[id.index()] + 1;
            self.node(id).each_next(|to| depths[to.index()] = next.max(depths[to.index()]));
        }
        depths
    }

    /// Every node, each before those it leads to.
    #[must_use]
    pub fn forward(&self) -> Vec<NodeId> {
        let mut waiting = vec![0_u32; self.nodes.len()];
        for (_, node) in self.nodes() {
            node.each_next(|to| waiting[to.index()] += 1);
        }
        // Depth first, the last successor at once, so that what follows a node in code mostly follows it here.
        let (mut order, mut ready) = (Vec::with_capacity(self.nodes.len()), vec![NodeId::ROOT]);
        while let Some(id) = ready.pop() {
            order.push(id);
            self.node(id).each_next(|to| {
                waiting[to.index()] -= 1;
                if waiting[to.index()] == 0 {
                    ready.push(to);
                }
            });
        }
        order
    }
}

impl Node {
    /// Every node that this one leads to, as often as it does; the most likely last.
    pub fn each_next(&self, mut each: impl FnMut(NodeId)) {
        match self {
            Self::Len { yes, no, .. } => [*no, *yes].into_iter().for_each(each),
            Self::Probe(probe) => {
                each(probe.default);
                probe.cases.iter().for_each(|case| each(case.to));
            }
            Self::Base { to, .. } => each(*to),
            Self::Leaf(_) => {}
        }
    }
}
