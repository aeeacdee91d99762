//! Judging packets, up to 64 at a time: the header's class, the scans of what is left, then what the rule does.
//!
//! Packets stay in their frames, and verdicts stand in the order of the packets. It allocates nothing, and panics at no
//! packet and at no class that somebody hands over.

use std::{ops::Range, sync::Arc};

use super::{Bound, Deed, Filter, class::ClassId, way::Memory};
use crate::{
    dag::{NodeId, Reached, paths::Mark},
    exec::{engine, lanes::BATCH_MAX},
    resolved::RuleId,
    rewrite::{self, Bounds, Refusal, anonymise::Anonymiser},
};

/// Packets to be judged, wherever they lie.
///
/// Indices are below [`Batch::len`]; judging asks for no others.
pub trait Batch {
    /// How many.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One packet.
    fn packet(&self, index: usize) -> &[u8];

    /// The node that the header program reached with this very filter; [`None`]: it did not run.
    fn class(&self, index: usize) -> Option<NodeId>;

    /// The memory that a packet may grow in, and where in it the packet is.
    fn frame(&mut self, index: usize) -> (&mut [u8], Range<usize>);
}

/// A packet in memory.
#[derive(Debug)]
pub struct Packet<'f> {
    /// The memory that it may grow in.
    pub frame: &'f mut [u8],
    /// Where in it the packet is.
    pub at: Range<usize>,
    /// The node that the header program reached with this very filter; [`None`]: it did not run.
    pub class: Option<NodeId>,
}

/// What a filter says of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule that matched.
    pub rule: Option<RuleId>,
    /// What became of the packet.
    pub fate: Fate,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on as it is, with this code.
    Accepted(u16),
    /// It is to be dropped, with this code.
    Rejected(u16),
    /// No rule matches: it is to be dropped.
    Unmatched,
    /// It is another packet now, in the same frame, and goes on with this code.
    Rewritten {
        /// The code.
        code: u16,
        /// Where it is.
        at: Extent,
        /// How many checksums could not be made and are 0 now.
        skipped_sums: u32,
    },
    /// The new packet cannot be made: it is to be dropped.
    Refused(Refusal),
}

/// Where in its frame a packet is: a range that is copied as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    start: u32,
    end: u32,
}

/// By what way packets came to their class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// From the node that the header program reached.
    pub from_class: u32,
    /// From the packet's first byte.
    pub from_zero: u32,
}

/// What one thread writes while it judges with one filter.
#[derive(Debug)]
pub struct Scratch {
    engines: Vec<engine::Scratch>,
    tags: Memory,
    rewrite: rewrite::Scratch,
    labels: Vec<Range<usize>>,
    /// Packets that the header did not settle, by class.
    open: Vec<Judged>,
}

/// What is known of a packet.
#[derive(Clone, Copy, Debug)]
struct Judged {
    class: ClassId,
    index: usize,
    reached: Reached,
    rule: Option<RuleId>,
}

impl Verdict {
    /// Before anything is known.
    pub const NONE: Self = Self { rule: None, fate: Fate::Unmatched };
}

impl Extent {
    /// Of a range; frames are far shorter than 2³² bytes, and what is not is empty.
    fn of(Range { start, end }: Range<usize>) -> Self {
        let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    /// As a range of bytes.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        // A u32 fits wherever the crate builds.
        self.start as usize..self.end as usize
    }
}

impl Scratch {
    pub(super) fn new(filter: &Filter, bounds: Bounds, anonymiser: Option<Arc<Anonymiser>>) -> Self {
        let labels = filter.rules.iter().map(|rule| rule.labels).max().unwrap_or(0);
        let mut tags = Memory::new(labels);
        filter.ways.iter().for_each(|way| way.fit(&mut tags));
        let rewrite = rewrite::Scratch::new(filter.plans(), bounds, anonymiser);
        Self {
            engines: filter.engines.iter().map(engine::Engine::scratch).collect(),
            tags,
            rewrite: rewrite.unwrap_or_else(|_| unreachable!("binding asks for the key")),
            labels: vec![0..0; labels],
            open: Vec::with_capacity(BATCH_MAX),
        }
    }
}

impl Bound {
    /// Judges packets; as many verdicts as packets.
    pub fn judge(
        &self,
        scratch: &mut Scratch,
        packets: &mut (impl Batch + ?Sized),
        verdicts: &mut [Verdict],
    ) -> Entries {
        let mut entries = Entries::default();
        let count = packets.len().min(verdicts.len());
        for first in (0..count).step_by(BATCH_MAX) {
            let part = first..count.min(first + BATCH_MAX);
            let from_class = self.classify(scratch, packets, part.clone(), verdicts);
            entries.from_class += from_class;
            entries.from_zero += u32::try_from(part.len()).unwrap_or(u32::MAX) - from_class;
            self.scan(scratch, packets);
            for at in 0..scratch.open.len() {
                let known = scratch.open[at];
                let fate = self.act(scratch, &known, packets);
                verdicts[known.index] = Verdict { rule: known.rule, fate };
            }
        }
        entries
    }

    /// Walks the header DAG. Each packet has its leaf's verdict then, copied whatever it is; says how many packets entered at a class.
    ///
    /// It stands alone so that the compiler has all registers for it.
    #[inline(never)]
    fn classify(
        &self,
        scratch: &mut Scratch,
        packets: &(impl Batch + ?Sized),
        part: Range<usize>,
        verdicts: &mut [Verdict],
    ) -> u32 {
        let Filter { walker, dag, ends, .. } = &*self.filter;
        let mut from_class = 0;
        scratch.open.clear();
        for (index, verdict) in part.clone().zip(&mut verdicts[part]) {
            let packet = packets.packet(index);
            let entered = packets.class(index).and_then(|node| walker.begin_at(dag, node, packet));
            from_class += u32::from(entered.is_some());
            let mut walk = entered.unwrap_or_else(|| walker.begin());
            let end = &ends[walker.finish(&mut walk, packet).index()];
            *verdict = end.verdict;
            if !end.settled {
                let reached = walk.reached();
                scratch.open.push(Judged { class: end.class, index, reached, rule: end.verdict.rule });
            }
        }
        scratch.open.sort_unstable_by_key(|known| (known.class, known.index));
        from_class
    }

    /// Runs the scans of each class on its packets.
    fn scan(&self, scratch: &mut Scratch, packets: &(impl Batch + ?Sized)) {
        let Scratch { engines, open, .. } = scratch;
        for members in open.chunk_by_mut(|a, b| a.class == b.class) {
            let Some(Judged { class, .. }) = members.first() else { continue };
            for scan in &self.filter.classes[class.0].scans {
                let mut slices: [&[u8]; BATCH_MAX] = [&[]; BATCH_MAX];
                let mut owners = [0_usize; BATCH_MAX];
                let mut found = [None; BATCH_MAX];
                let mut count = 0;
                for (owner, known) in members.iter().enumerate() {
                    // A rule that comes before all of the scan's cannot be beaten by it.
                    if known.rule.is_some_and(|rule| rule < scan.least) {
                        continue;
                    }
                    let bytes = packets.packet(known.index);
                    let from = position(scan.from, &known.reached, bytes.len());
                    (slices[count], owners[count]) = (bytes.get(from..).unwrap_or_default(), owner);
                    count += 1;
                }
                self.filter.engines[scan.engine.0].judge(
                    &mut engines[scan.engine.0],
                    &slices[..count],
                    &mut found[..count],
                );
                for (owner, rule) in owners[..count].iter().zip(found).filter_map(|(o, r)| Some((*o, r?))) {
                    let known = &mut members[owner].rule;
                    *known = Some(known.map_or(rule, |known| known.min(rule)));
                }
            }
        }
    }

    /// Does what the packet's rule does.
    fn act(&self, scratch: &mut Scratch, known: &Judged, packets: &mut (impl Batch + ?Sized)) -> Fate {
        let Some(id) = known.rule else { return Fate::Unmatched };
        let rule = &self.filter.rules[id.index()];
        match &rule.deed {
            Deed::Accept(code) => Fate::Accepted(*code),
            Deed::Reject(code) => Fate::Rejected(*code),
            Deed::Rewrite(plan, code) => {
                let Scratch { tags, rewrite, labels, .. } = scratch;
                let labels = &mut labels[..rule.labels];
                self.label(tags, known, packets.packet(known.index), id, labels);
                let (frame, at) = packets.frame(known.index);
                match rewrite::apply(plan, frame, at, labels, rewrite) {
                    Ok(new) => Fate::Rewritten {
                        code: *code,
                        at: Extent::of(new.packet),
                        skipped_sums: new.skipped_sums,
                    },
                    Err(refusal) => Fate::Refused(refusal),
                }
            }
        }
    }

    /// Finds the labels of the rule that won.
    fn label(
        &self,
        tags: &mut Memory,
        known: &Judged,
        packet: &[u8],
        rule: RuleId,
        labels: &mut [Range<usize>],
    ) {
        let reached = &known.reached;
        let ways = self.filter.classes[known.class.0].ways(rule);
        let Some((last, others)) = ways.split_last() else { return };
        for way in others {
            if self.filter.ways[way.0].try_find(tags, packet, reached, labels) {
                return;
            }
        }
        // It matched, so the last way is the one if no other is.
        self.filter.ways[last.0].find(tags, packet, reached, labels);
    }
}

impl Batch for [Packet<'_>] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }

    fn packet(&self, index: usize) -> &[u8] {
        let Packet { frame, at, .. } = &self[index];
        frame.get(at.clone()).unwrap_or_default()
    }

    fn class(&self, index: usize) -> Option<NodeId> {
        self[index].class
    }

    fn frame(&mut self, index: usize) -> (&mut [u8], Range<usize>) {
        let Packet { frame, at, .. } = &mut self[index];
        (frame, at.clone())
    }
}

/// Where a mark is in a packet of this length.
pub(super) fn position(mark: Mark, reached: &Reached, len: usize) -> usize {
    match mark {
        Mark::Behind { base, offset } => {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            reached.bases.get(base).map_or(len, |base| base.saturating_add(offset).min(len))
        }
        Mark::End => len,
    }
}
