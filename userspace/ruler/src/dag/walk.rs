//! The DAG as workers walk it: steps of one cache line each, made so that a packet meets few of them.
//!
//! Nodes that only together say yes are one step, choices among many values are one look into a table, and lengths are
//! asked for beside what they allow to read; `steps` says how. A packet is walked to its leaf before the next one begins:
//! most steps answer alike for most packets, so that a processor that guesses is deep in the next packet while it ends this
//! one. Slower, in random order too, were eight packets in lockstep, with two ways a step, and batches whose walks wait
//! for each other at every table. It is the fast twin of [`Dag::eval`] and says the same of every packet.

use std::hint::select_unpredictable;

use super::{
    Dag, NodeId, Reached,
    condition::Reading,
    eval::Bases,
    perfect::{Key, Slots, Table},
    steps,
    work::{Tally, Work},
};

/// A DAG made to be walked.
#[derive(Clone, Debug)]
pub struct Walker {
    /// Each leads to steps before it or to leaves, so every walk ends.
    pub(super) steps: Vec<Step>,
    /// The tables of all switches.
    pub(super) slots: Slots,
    /// Next bases that are looked behind before it is known whether a packet goes there.
    pub(super) overs: Vec<Over>,
    /// By [`NodeId`]: its step.
    pub(super) begins: Vec<To>,
}

/// A packet's walk: where it is, and what it found.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    at: To,
    bases: Bases,
}

/// A test behind a base, if there are enough bytes.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Step {
    /// One more than the bytes that must be behind the base; 0 if that is known.
    pub(super) need: u32,
    /// Where it leads if they are not.
    pub(super) short: To,
    pub(super) test: Test,
    /// If the test holds, and if not.
    pub(super) yes: To,
    pub(super) no: To,
}

/// What a step asks of the eight bytes at each of its offsets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    /// Whether both are these values under their masks, least significant byte first.
    Equal { offsets: [u16; 2], masks: [u64; 2], values: [u64; 2] },
    /// Whether the masked number is `first` or at most `span` more, where the greatest number is followed by 0.
    Range { reading: Reading, offset: u16, mask: u64, first: u64, span: u64 },
    /// Which two values they are under their masks, least significant byte first: the table leads on, or they are in none.
    Switch { offsets: [u16; 2], masks: Key, table: Table },
    /// As `Switch`, but the second is behind the next base, and what is found in the table goes on from there.
    Across { offsets: [u16; 2], over: u16, masks: Key, table: Table },
    /// No question: the next base.
    Base(Stride),
}

/// How far the next base is: a field tells it, `number * times + plus` bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    pub(super) offset: u16,
    pub(super) shift: u32,
    pub(super) mask: u64,
    pub(super) times: u32,
    pub(super) plus: u32,
}

/// A next base that is looked behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) stride: Stride,
    /// One more than the bytes that must be behind it.
    pub(super) need: u32,
}

/// Where a step leads: the number of a step, or a leaf and how many bases its rests know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct To(u32);

impl To {
    /// Numbers of steps are less, and a leaf's is in the lowest bits.
    const LEAF: u32 = 1 << 31;

    /// The step of this number; there are far fewer than 2³¹, as a DAG has 65,534 nodes and a node few steps.
    pub(super) fn step(number: usize) -> Self {
        Self(u32::try_from(number).unwrap_or(Self::LEAF - 1).min(Self::LEAF - 1))
    }

    pub(super) fn leaf(NodeId(leaf): NodeId, bases: u8) -> Self {
        Self(Self::LEAF | u32::from(bases) << 16 | u32::from(leaf))
    }

    /// The index of its step; a leaf's is that of none.
    #[inline(always)]
    pub(super) const fn index(self) -> usize {
        // A u32 fits wherever the crate builds.
        self.0 as usize
    }

    /// Of a leaf: which.
    #[inline(always)]
    const fn node(self) -> NodeId {
        // The part that `leaf` put there.
        NodeId(self.0 as u16)
    }

    /// Of a leaf: how many bases its rests know.
    const fn bases(self) -> u8 {
        // The part that `leaf` put there.
        (self.0 >> 16) as u8
    }
}

impl Walker {
    /// The same DAG, step by step.
    #[must_use]
    pub fn new(dag: &Dag) -> Self {
        steps::of(dag)
    }

    /// The leaf of a packet.
    #[must_use]
    pub fn eval(&self, packet: &[u8]) -> Reached {
        let mut walk = self.begin();
        self.finish(&mut walk, packet);
        walk.reached()
    }

    /// The leaf of a packet on which a walk came to this node of the same DAG. `None`: there is no such node, or the
    /// packet is not one that comes there.
    #[must_use]
    pub fn eval_from(&self, dag: &Dag, node: NodeId, packet: &[u8]) -> Option<Reached> {
        let mut walk = self.begin_at(dag, node, packet)?;
        self.finish(&mut walk, packet);
        Some(walk.reached())
    }

    /// The same from this node, or from the root, and the work that it is: for those who count it.
    #[must_use]
    pub fn work(&self, dag: &Dag, from: Option<NodeId>, packet: &[u8]) -> Option<(Reached, Work)> {
        let mut work = Work::default();
        let mut walk = match from {
            Some(node) => self.begin_counted(dag, node, packet, &mut work)?,
            None => self.begin(),
        };
        self.finish_counted(&mut walk, packet, &mut work);
        Some((walk.reached(), work))
    }

    /// A walk from the root.
    #[must_use]
    #[inline]
    pub fn begin(&self) -> Walk {
        // A DAG has a root.
        Walk { at: self.begins.first().copied().unwrap_or(To(0)), bases: Bases::START }
    }

    /// A walk that goes on at a node of the same DAG; [`None`] as for [`Walker::eval_from`].
    #[must_use]
    pub fn begin_at(&self, dag: &Dag, node: NodeId, packet: &[u8]) -> Option<Walk> {
        self.begin_counted(dag, node, packet, &mut ())
    }

    #[inline(always)]
    fn begin_counted(&self, dag: &Dag, node: NodeId, packet: &[u8], tally: &mut impl Tally) -> Option<Walk> {
        Some(Walk { at: *self.begins.get(node.index())?, bases: dag.bases_at(node, packet, tally)? })
    }

    /// Walks on until the packet is at a leaf, which is this.
    #[inline]
    pub fn finish(&self, walk: &mut Walk, packet: &[u8]) -> NodeId {
        self.finish_counted(walk, packet, &mut ())
    }

    #[inline(always)]
    fn finish_counted(&self, walk: &mut Walk, packet: &[u8], tally: &mut impl Tally) -> NodeId {
        let mut at = walk.at;
        let (mut here, mut behind) = from(packet, walk.bases.last());
        while let Some(Step { need, short, test, yes, no }) = self.steps.get(at.index()) {
            tally.step();
            // A u32 fits wherever the crate builds.
            if behind < *need as usize {
                at = *short;
                continue;
            }
            tally.read(test.reads());
            at = match test {
                Test::Equal { offsets, masks, values } => {
                    let equal = |n: usize| little(here, offsets[n]) & masks[n] == values[n];
                    if equal(0) && equal(1) { *yes } else { *no }
                }
                Test::Range { reading, offset, mask, first, span } => {
                    let number = match reading {
                        Reading::Big => big(here, *offset),
                        Reading::Little => little(here, *offset),
                    };
                    if (number & mask).wrapping_sub(*first) <= *span { *yes } else { *no }
                }
                Test::Switch { offsets, masks, table } => {
                    let number = |n: usize| little(here, offsets[n]) & masks[n];
                    let (is_in, to) = self.slots.find(table, [number(0), number(1)]);
                    select_unpredictable(is_in, to, *no)
                }
                Test::Across { offsets, over, masks, table } => {
                    let Over { stride, need } = &self.overs[usize::from(*over)];
                    let ahead = stride.of(here);
                    let next = from(here, ahead);
                    if next.1 < *need as usize {
                        at = *no;
                        continue;
                    }
                    let key = [little(here, offsets[0]) & masks[0], little(next.0, offsets[1]) & masks[1]];
                    let (is_in, to) = self.slots.find(table, key);
                    walk.bases.push_if(is_in, walk.bases.last().saturating_add(ahead));
                    (here, behind) = select_unpredictable(is_in, next, (here, behind));
                    select_unpredictable(is_in, to, *no)
                }
                Test::Base(stride) => {
                    let ahead = stride.of(here);
                    (here, behind) = from(here, ahead);
                    walk.bases.push_if(true, walk.bases.last().saturating_add(ahead));
                    *yes
                }
            };
        }
        walk.at = at;
        at.node()
    }
}

impl Test {
    /// How often it reads: both of two, though the first may answer already.
    const fn reads(&self) -> u32 {
        match self {
            Self::Equal { .. } | Self::Switch { .. } => 2,
            Self::Range { .. } | Self::Base(_) => 1,
            // The length of what lies between, and what lies before and behind it.
            Self::Across { .. } => 3,
        }
    }
}

impl Stride {
    /// In bytes, for the packet whose base is here.
    #[inline(always)]
    fn of(&self, here: &[u8]) -> usize {
        let number = big(here, self.offset) >> self.shift & self.mask;
        let ahead = number * u64::from(self.times) + u64::from(self.plus);
        usize::try_from(ahead).unwrap_or(usize::MAX)
    }
}

impl Walk {
    /// Where a walk that is finished ended.
    #[must_use]
    pub fn reached(self) -> Reached {
        self.bases.reached(self.at.node(), self.at.bases())
    }
}

/// The bytes from a base on, which is so far ahead, and one more than there are: a base behind the packet has less than
/// none.
#[inline(always)]
fn from(here: &[u8], ahead: usize) -> (&[u8], usize) {
    here.get(ahead..).map_or((&[], 0), |here| (here, here.len() + 1))
}

#[inline(always)]
fn big(here: &[u8], offset: u16) -> u64 {
    u64::from_be_bytes(load(here, offset))
}

#[inline(always)]
fn little(here: &[u8], offset: u16) -> u64 {
    u64::from_le_bytes(load(here, offset))
}

/// The eight bytes at an offset; those that are not there are 0.
#[inline(always)]
fn load(here: &[u8], offset: u16) -> [u8; 8] {
    let first = usize::from(offset);
    match here.get(first..first + 8).and_then(<[u8]>::first_chunk) {
        Some(bytes) => *bytes,
        None => load_tail(here.get(first..).unwrap_or_default()),
    }
}

#[cold]
#[inline(never)]
fn load_tail(tail: &[u8]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(tail).for_each(|(byte, tail)| *byte = *tail);
    bytes
}
