//! Walks the DAG on a packet, as workers do: from the root, or from the node where the eBPF program stopped.
//!
//! It allocates nothing and reads each place once; a node number that means nothing here is refused.

use super::{Case, Dag, Node, NodeId, RoadId, paths::SEGMENTS_MAX, work::Tally};

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The leaf's node.
    pub leaf: NodeId,
    /// The bases that its rests are counted from.
    pub bases: Bases,
}

/// Where segments begin in one packet.
#[derive(Clone, Copy, Debug)]
pub struct Bases {
    /// Those that are known come first; what stands behind them means nothing.
    at: [u32; SEGMENTS_MAX],
    count: u8,
}

impl Bases {
    pub(super) const START: Self = Self { at: [0; SEGMENTS_MAX], count: 1 };

    /// A base; `None` if the walk did not come so far.
    #[must_use]
    pub fn get(&self, base: u8) -> Option<usize> {
        let at = self.known().get(usize::from(base))?;
        usize::try_from(*at).ok()
    }

    fn known(&self) -> &[u32] {
        self.at.get(..usize::from(self.count)).unwrap_or_default()
    }

    pub(super) fn last(&self) -> usize {
        self.get(self.count - 1).unwrap_or(usize::MAX)
    }

    /// With one more, if it is one; one too many changes nothing, but there never is.
    #[inline]
    pub(super) fn push_if(&mut self, is_one: bool, base: usize) {
        if let Some(at) = self.at.get_mut(usize::from(self.count)) {
            *at = u32::try_from(base).unwrap_or(u32::MAX);
            self.count += u8::from(is_one);
        }
    }

    /// The end of a walk at a leaf, which may need fewer bases than the walk found.
    pub(super) fn reached(mut self, leaf: NodeId, needed: u8) -> Reached {
        self.count = self.count.min(needed);
        Reached { leaf, bases: self }
    }
}

impl PartialEq for Bases {
    fn eq(&self, other: &Self) -> bool {
        self.known() == other.known()
    }
}

impl Eq for Bases {}

impl Dag {
    /// The leaf of a packet.
    #[must_use]
    pub fn eval(&self, packet: &[u8]) -> Reached {
        self.walk(NodeId::ROOT, Bases::START, packet)
    }

    /// The leaf of a packet on which a walk came to this node. `None`: there is no such node, or the packet is not one
    /// that comes there.
    #[must_use]
    pub fn eval_from(&self, node: NodeId, packet: &[u8]) -> Option<Reached> {
        let bases = self.bases_at(node, packet, &mut ())?;
        Some(self.walk(node, bases, packet))
    }

    fn walk(&self, mut node: NodeId, mut bases: Bases, packet: &[u8]) -> Reached {
        loop {
            let base = bases.last();
            node = match self.node(node) {
                Node::Len { bytes, yes, no } => {
                    let end = usize::try_from(*bytes).ok().and_then(|bytes| base.checked_add(bytes));
                    if end.is_some_and(|end| end <= packet.len()) { *yes } else { *no }
                }
                // A length was tested before, unless the walk began at a node where this packet never comes.
                Node::Probe(probe) => {
                    probe.place.read(packet, base).map_or(probe.default, |value| probe.to(value))
                }
                Node::Base { advance, to } => {
                    bases.push_if(
                        true,
                        base.saturating_add(advance.distance(packet, base).unwrap_or(usize::MAX)),
                    );
                    *to
                }
                Node::Leaf(_) => return bases.reached(node, self.base(node) + 1),
            };
        }
    }

    /// The bases of a packet on which a walk came to this node.
    pub(super) fn bases_at(&self, node: NodeId, packet: &[u8], tally: &mut impl Tally) -> Option<Bases> {
        self.bases(*self.roads.get(node.index())?, packet, tally)
    }

    fn bases(&self, road: RoadId, packet: &[u8], tally: &mut impl Tally) -> Option<Bases> {
        let step = self.steps.get(usize::from(road.0))?;
        let Some((before, advance)) = step.from else { return Some(Bases::START) };
        let mut bases = self.bases(before, packet, tally)?;
        let base = bases.last();
        tally.read(1);
        bases.push_if(true, base.checked_add(advance.distance(packet, base)?)?);
        Some(bases)
    }
}

impl super::Probe {
    /// Where a value leads.
    #[must_use]
    pub fn to(&self, value: u64) -> NodeId {
        let behind = self.cases.partition_point(|case| case.last < value);
        match self.cases.get(behind) {
            Some(Case { first, to, .. }) if *first <= value => *to,
            _ => self.default,
        }
    }
}
