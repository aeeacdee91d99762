//! Header paths and the header DAG as structures for programs: nodes with the numbers of those that they lead to.
//!
//! Values of a place are hexadecimal text, as 64 bits are more than JSON's numbers can be trusted with.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::Stages;
use crate::{
    dag::{
        Dag, Decision, Leaf, Node, NodeId, PathId, Start,
        condition::{Place, Reading},
        paths::{Advance, Mark, Path, Rest},
        split::split,
    },
    ir,
    resolved::{LabelId, RuleId},
};

/// Every header path, in order.
#[derive(Debug, Serialize)]
pub struct Paths {
    paths: Vec<PathShown>,
}

/// Every node, in order; the first is where all walks begin.
#[derive(Debug, Serialize)]
pub struct Graph {
    nodes: Vec<NodeShown>,
}

#[derive(Debug, Serialize)]
struct PathShown {
    id: usize,
    rule: RuleId,
    segments: Vec<Segment>,
    begins: Vec<Bound>,
    ends: Vec<Bound>,
    rest: RestShown,
}

#[derive(Debug, Serialize)]
struct Segment {
    bytes: u32,
    conditions: Vec<Condition>,
    then: Option<Distance>,
}

#[derive(Debug, Serialize)]
struct Condition {
    place: PlaceShown,
    allowed: Vec<(Hex, Hex)>,
}

/// Where a label begins or ends.
#[derive(Debug, Serialize)]
struct Bound {
    label: LabelId,
    at: At,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum RestShown {
    End,
    Any,
    Pattern(ir::Node),
    /// What was too big to be written out.
    TooBig(String),
}

/// A position in a packet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum At {
    /// So many bytes behind this base.
    Behind { base: u8, offset: u32 },
    /// Its end.
    End,
}

#[derive(Debug, Serialize)]
struct PlaceShown {
    offset: u16,
    bytes: u8,
    little_endian: bool,
    mask: Hex,
}

/// `(value of the field, shifted down) * times + plus`.
#[derive(Debug, Serialize)]
struct Distance {
    field: PlaceShown,
    shift: u32,
    times: u32,
    plus: u32,
}

#[derive(Debug, Serialize)]
struct NodeShown {
    id: u16,
    /// Behind which base it reads.
    base: u8,
    #[serde(flatten)]
    does: Does,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Does {
    Len { bytes: u32, yes: u16, no: u16 },
    Probe { place: PlaceShown, cases: Vec<Case>, default: u16 },
    Base { advance: Distance, to: u16 },
    Leaf { decision: &'static str, class: Option<usize>, survivors: Vec<Survivor> },
}

#[derive(Debug, Serialize)]
struct Case {
    first: Hex,
    last: Hex,
    to: u16,
}

/// A rule that may still match: behind this path, or as a whole.
#[derive(Debug, Serialize)]
struct Survivor {
    rule: RuleId,
    path: Option<u32>,
}

#[derive(Debug)]
struct Hex(u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl Stages<'_> {
    /// The paths.
    #[must_use]
    pub fn paths(&self) -> Paths {
        // The same paths as the graph's, which numbers them in this order.
        let rules = (0..).map(RuleId).zip(&self.resolved.rules);
        let all = rules.flat_map(|(id, rule)| split(id, &rule.pattern));
        Paths { paths: all.enumerate().map(|(id, path)| shown(id, &path)).collect() }
    }

    /// The graph.
    #[must_use]
    pub fn graph(&self) -> Graph {
        let of_class = |class| self.leaves(class).map(move |leaf| (leaf, class));
        let class_of: BTreeMap<NodeId, usize> = (0..self.classes()).flat_map(of_class).collect();
        let dag = self.filter.dag();
        let shown = dag.nodes().map(|(id, node)| NodeShown {
            id: id.0,
            base: dag.base(id),
            does: does(dag, node, class_of.get(&id).copied()),
        });
        Graph { nodes: shown.collect() }
    }
}

/// What a node does; of leaves, `class` says how they go on.
fn does(dag: &Dag, node: &Node, class: Option<usize>) -> Does {
    match node {
        Node::Len { bytes, yes, no } => Does::Len { bytes: *bytes, yes: yes.0, no: no.0 },
        Node::Base { advance, to } => Does::Base { advance: advance.into(), to: to.0 },
        Node::Probe(probe) => Does::Probe {
            place: (&probe.place).into(),
            cases: probe
                .cases
                .iter()
                .map(|case| Case { first: Hex(case.first), last: Hex(case.last), to: case.to.0 })
                .collect(),
            default: probe.default.0,
        },
        Node::Leaf(leaf) => Does::Leaf {
            decision: match dag.decision(leaf) {
                Decision::NoRule => "no_rule",
                Decision::Rule(..) => "final",
                Decision::Open => "open",
            },
            class,
            survivors: survivors(leaf),
        },
    }
}

fn survivors(leaf: &Leaf) -> Vec<Survivor> {
    let survivor = |survivor: &crate::dag::Survivor| Survivor {
        rule: survivor.rule,
        path: match survivor.start {
            Start::Rest(PathId(path)) => Some(path),
            Start::Whole => None,
        },
    };
    leaf.survivors.iter().map(survivor).collect()
}

fn shown(id: usize, path: &Path) -> PathShown {
    let segment = |segment: &crate::dag::paths::Segment| Segment {
        bytes: segment.bytes,
        conditions: segment
            .conditions
            .iter()
            .map(|condition| Condition {
                place: (&condition.place).into(),
                allowed: condition
                    .allowed
                    .as_slice()
                    .iter()
                    .map(|(first, last)| (Hex(*first), Hex(*last)))
                    .collect(),
            })
            .collect(),
        then: segment.then.as_ref().map(Distance::from),
    };
    let bounds = |bounds: &[(LabelId, Mark)]| -> Vec<Bound> {
        bounds.iter().map(|(label, mark)| Bound { label: *label, at: (*mark).into() }).collect()
    };
    PathShown {
        id,
        rule: path.rule,
        segments: path.segments.iter().map(segment).collect(),
        begins: bounds(&path.begins),
        ends: bounds(&path.ends),
        rest: match &path.rest {
            Rest::End => RestShown::End,
            Rest::Any => RestShown::Any,
            Rest::Pattern(pattern) => match ir::lower(pattern) {
                Ok(node) => RestShown::Pattern(node),
                Err(error) => RestShown::TooBig(error.to_string()),
            },
        },
    }
}

impl From<Mark> for At {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Behind { base, offset } => Self::Behind { base, offset },
            Mark::End => Self::End,
        }
    }
}

impl From<&Place> for PlaceShown {
    fn from(place: &Place) -> Self {
        let little_endian = place.reading == Reading::Little;
        Self { offset: place.offset, bytes: place.bytes, little_endian, mask: Hex(place.mask) }
    }
}

impl From<&Advance> for Distance {
    fn from(advance: &Advance) -> Self {
        let Advance { field, times, plus } = advance;
        Self { field: field.into(), shift: field.shift(), times: *times, plus: *plus }
    }
}
