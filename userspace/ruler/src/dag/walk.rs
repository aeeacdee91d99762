//! The DAG as workers walk it: every test is one of two ways, all steps are alike, and eight packets go in lockstep.
//!
//! A processor cannot guess which header comes next; so a step loads eight bytes, shifts, masks and compares, and picks
//! the number of the next step without a jump. While one packet waits for its bytes, seven others go on. It is the fast
//! twin of [`Dag::eval`] and says the same of every packet.

use super::{
    Dag, Node, NodeId, Reached,
    condition::{Place, Reading},
    eval::Bases,
    paths::Advance,
    switch::{Profile, Tree, cheapest},
};

/// A DAG made to be walked.
#[derive(Clone, Debug)]
pub struct Walker {
    steps: Vec<Step>,
    /// By [`NodeId`]: its first step.
    begins: Vec<u32>,
}

/// How many packets are walked at once.
pub const LANES: usize = 8;

/// A packet's walk: where it is, and what it found.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    at: u32,
    bases: Bases,
}

/// One test of two ways: whether `number - first`, wrapping, is at most `span`. The number is made of the eight bytes at
/// the offset, or it is one more than there are bytes behind the base.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// By how many bits the number lies further left than in the eight bytes.
    shift: u8,
    kind: Kind,
    offset: u16,
    /// If not, and if so.
    ways: [u32; 2],
    mask: u64,
    /// All ones if the number is about how many bytes there are, else 0.
    length: u64,
    first: u64,
    span: u64,
}

/// What a step does beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Test,
    /// It reads the least significant byte first.
    Little,
    /// It is no test: the field tells the next base, `number * first + span` bytes on.
    Base,
    /// Nothing at all: it is this leaf, whose rests know so many bases, and it leads to itself.
    Leaf { leaf: NodeId, bases: u8 },
}

impl Walker {
    /// The same DAG, step by step.
    #[must_use]
    pub fn new(dag: &Dag) -> Self {
        let mut draft = Draft { steps: Vec::new(), begins: vec![0; dag.nodes().count()] };
        for id in dag.forward() {
            draft.begins[id.index()] = draft.next();
            match dag.node(id) {
                Node::Len { bytes, yes, no } => {
                    let first = u64::from(*bytes) + 1;
                    let span = u64::MAX - first;
                    let step = Step { length: u64::MAX, first, span, ..Step::nothing(Kind::Test) };
                    draft.steps.push((step, To::Node(*yes), To::Node(*no)));
                }
                Node::Probe(probe) => {
                    let first = draft.tree(&probe.place, &cheapest(probe, &Profile::EQUAL));
                    if let To::Node(_) = first {
                        // All values lead to one node: a step that asks nothing.
                        draft.steps.push((Step::nothing(Kind::Test), first, first));
                    }
                }
                Node::Base { advance, to } => {
                    draft.steps.push((Step::base(advance), To::Node(*to), To::Node(*to)));
                }
                Node::Leaf(_) => {
                    let kind = Kind::Leaf { leaf: id, bases: dag.base(id) + 1 };
                    draft.steps.push((Step::nothing(kind), To::Node(id), To::Node(id)));
                }
            }
        }
        draft.finish()
    }

    /// The leaf of a packet.
    #[must_use]
    pub fn eval(&self, packet: &[u8]) -> Reached {
        self.finish([self.begin()], [packet])[0]
    }

    /// The leaf of a packet on which a walk came to this node of the same DAG. `None`: there is no such node, or the
    /// packet is not one that comes there.
    #[must_use]
    pub fn eval_from(&self, dag: &Dag, node: NodeId, packet: &[u8]) -> Option<Reached> {
        Some(self.finish([self.begin_at(dag, node, packet)?], [packet])[0])
    }

    /// A walk from the root.
    #[must_use]
    #[inline]
    pub fn begin(&self) -> Walk {
        Walk { at: self.begins.first().copied().unwrap_or(0), bases: Bases::START }
    }

    /// A walk that goes on at a node of the same DAG; [`None`] as for [`Walker::eval_from`].
    #[must_use]
    pub fn begin_at(&self, dag: &Dag, node: NodeId, packet: &[u8]) -> Option<Walk> {
        Some(Walk { at: *self.begins.get(node.index())?, bases: dag.bases_at(node, packet)? })
    }

    /// Walks on, all packets in lockstep, until each is at a leaf.
    #[must_use]
    pub fn finish<const N: usize>(&self, mut walks: [Walk; N], packets: [&[u8]; N]) -> [Reached; N] {
        let mut bases = walks.map(|walk| walk.bases.last());
        loop {
            let mut all_there = true;
            for lane in 0..N {
                let step = self.step(walks[lane].at);
                let (packet, base) = (packets[lane], bases[lane]);
                let number = match step.kind {
                    Kind::Test => u64::from_be_bytes(load(packet, base, step.offset)),
                    Kind::Leaf { .. } => continue,
                    Kind::Little => u64::from_le_bytes(load(packet, base, step.offset)),
                    Kind::Base => {
                        let number = u64::from_be_bytes(load(packet, base, step.offset));
                        let ahead = ((number >> step.shift) & step.mask) * step.first + step.span;
                        bases[lane] = base.saturating_add(usize::try_from(ahead).unwrap_or(usize::MAX));
                        walks[lane].bases.push(bases[lane]);
                        walks[lane].at = step.ways[1];
                        all_there = false;
                        continue;
                    }
                };
                // One more than there are, so that a base behind the packet has less than none.
                let behind = (packet.len() + 1).saturating_sub(base) as u64;
                let number = ((number >> step.shift) & step.mask) | (behind & step.length);
                let holds = number.wrapping_sub(step.first) <= step.span;
                walks[lane].at = step.ways[usize::from(holds)];
                all_there = false;
            }
            if all_there {
                return walks.map(|walk| match self.step(walk.at).kind {
                    Kind::Leaf { leaf, bases } => walk.bases.reached(leaf, bases),
                    Kind::Test | Kind::Little | Kind::Base => unreachable!("each is at a leaf"),
                });
            }
        }
    }

    #[inline(always)]
    fn step(&self, at: u32) -> &Step {
        // Numbers of steps are made here, so each is there.
        match self.steps.get(at as usize) {
            Some(step) => step,
            None => unreachable!("a step leads to a step"),
        }
    }
}

impl Step {
    const fn nothing(kind: Kind) -> Self {
        Self { shift: 0, kind, offset: 0, ways: [0; 2], mask: 0, length: 0, first: 0, span: 0 }
    }

    /// A step that reads a place.
    fn reading(place: &Place) -> Self {
        let (kind, shift) = match place.reading {
            Reading::Big => (Kind::Test, 64 - 8 * place.bytes.clamp(1, 8)),
            Reading::Little => (Kind::Little, 0),
        };
        Self { mask: place.mask, offset: place.offset, shift, ..Self::nothing(kind) }
    }

    /// A step to the next base; a field that counts lies in a byte or two, most significant first.
    fn base(Advance { field, times, plus }: &Advance) -> Self {
        let read = Self::reading(field);
        let shift = read.shift + u8::try_from(field.shift()).unwrap_or(0);
        let (first, span) = (u64::from(*times), u64::from(*plus));
        Self { mask: field.mask >> field.shift(), first, span, shift, kind: Kind::Base, ..read }
    }
}

/// Steps whose ends are still nodes.
struct Draft {
    steps: Vec<(Step, To, To)>,
    begins: Vec<u32>,
}

/// Where a step leads.
#[derive(Clone, Copy)]
enum To {
    Node(NodeId),
    Step(u32),
}

impl Draft {
    fn next(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    /// Writes a tree's tests, the first one next; says where the tree begins.
    fn tree(&mut self, place: &Place, tree: &Tree) -> To {
        let (mask, first, span, yes, no) = match tree {
            Tree::Done(node) => return To::Node(*node),
            Tree::Bit { bit, set, clear, .. } => (*bit, *bit, 0, Some(set), Some(clear)),
            Tree::AtLeast { value, yes, no } => (place.mask, *value, u64::MAX - value, Some(yes), Some(no)),
            Tree::Equal { value, no, .. } => (place.mask, *value, 0, None, Some(no)),
        };
        let number = self.next();
        let at = self.steps.len();
        let step = Step { mask, first, span, ..Step::reading(place) };
        self.steps.push((step, To::Step(0), To::Step(0)));
        let yes = match (yes, tree) {
            (Some(yes), _) => self.tree(place, yes),
            (None, Tree::Equal { yes, .. }) => To::Node(*yes),
            (None, _) => unreachable!("only equality leads to a node at once"),
        };
        let no = no.map_or(To::Step(0), |no| self.tree(place, no));
        (self.steps[at].1, self.steps[at].2) = (yes, no);
        To::Step(number)
    }

    fn finish(self) -> Walker {
        let Self { steps, begins } = self;
        let end = |to| match to {
            To::Node(node) => begins[node.index()],
            To::Step(step) => step,
        };
        let steps =
            steps.into_iter().map(|(step, yes, no)| Step { ways: [end(no), end(yes)], ..step }).collect();
        Walker { steps, begins }
    }
}

/// The eight bytes behind a base and an offset; those that are not there are 0.
#[inline(always)]
fn load(packet: &[u8], base: usize, offset: u16) -> [u8; 8] {
    let first = base.saturating_add(usize::from(offset));
    match packet.get(first..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => *bytes,
        None => load_tail(packet, first),
    }
}

#[cold]
fn load_tail(packet: &[u8], first: usize) -> [u8; 8] {
    let mut bytes = [0; 8];
    let tail = packet.get(first..).unwrap_or_default();
    bytes.iter_mut().zip(tail).for_each(|(byte, tail)| *byte = *tail);
    bytes
}
