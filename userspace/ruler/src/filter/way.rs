//! A way that a rule can have matched: which part of its labels the header tells, and what finds the others.
//!
//! It says where labels lie, never whether the header was this one: the header DAG did.

use std::{collections::BTreeSet, ops::Range};

use super::judge::position;
use crate::{
    dag::{
        Reached,
        paths::{Mark, Path},
    },
    ir::{Node, Tag},
    resolved::LabelId,
    tdfa::{self, Candidate, Labels, Marks, Method, TooBig},
};

/// A header path and the rest behind it, or a whole pattern.
#[derive(Debug)]
pub(super) struct Way {
    /// What the header tells of labels.
    told: Vec<(Tag, Mark)>,
    /// Where the rest begins, if it has to be looked at.
    from: Mark,
    /// Finds the labels of the rest, if it has any.
    labels: Option<Labels>,
    /// Says whether the rest matches, where another way may have matched instead; [`None`] if it always does.
    candidate: Option<Candidate>,
}

/// What finding labels writes.
#[derive(Debug)]
pub(super) struct Memory {
    tags: tdfa::Scratch,
    marks: Marks,
}

impl Way {
    /// Of a rule with so many labels: a path, and the regex of its rest unless that is final; or no path, and the regex of
    /// the whole rule.
    pub(super) fn new(
        path: Option<&Path>,
        rest: Option<&Node>,
        labels: usize,
        limits: &tdfa::Limits,
    ) -> Result<Self, TooBig> {
        let begins =
            path.iter().flat_map(|path| &path.begins).map(|(label, mark)| (Tag::Begin(*label), *mark));
        let ends = path.iter().flat_map(|path| &path.ends).map(|(label, mark)| (Tag::End(*label), *mark));
        let told: Vec<(Tag, Mark)> = begins.chain(ends).collect();
        let known: BTreeSet<Tag> = told.iter().map(|(tag, _)| *tag).collect();
        let labels = match rest {
            Some(node) if known.len() < 2 * labels => Some(Labels::new(&without(node, &known), limits)?),
            _ => None,
        };
        let from = path.map_or(Mark::Behind { base: 0, offset: 0 }, Path::end);
        Ok(Self { told, from, labels, candidate: None })
    }

    /// Makes it able to say whether a packet matched this way, by the regex of what must match.
    pub(super) fn make_candidate(&mut self, rest: &Node, limits: &tdfa::Limits) -> Result<(), TooBig> {
        if self.candidate.is_none() {
            let known: BTreeSet<Tag> = self.told.iter().map(|(tag, _)| *tag).collect();
            self.candidate = Some(Candidate::new(&without(rest, &known), limits)?);
        }
        Ok(())
    }

    /// What the header tells, and where the rest begins.
    pub(super) fn header(&self) -> (&[(Tag, Mark)], Mark) {
        (&self.told, self.from)
    }

    /// What finds the labels of the rest, and what says whether it matches.
    pub(super) fn automata(&self) -> (Option<&Labels>, Option<&Candidate>) {
        (self.labels.as_ref(), self.candidate.as_ref())
    }

    /// By what means labels are found behind the header, if they are.
    pub(super) fn method(&self) -> Option<Method> {
        self.labels.as_ref().map(Labels::method)
    }

    /// Makes memory large enough for it.
    pub(super) fn fit(&self, memory: &mut Memory) {
        self.labels.iter().for_each(|labels| labels.fit(&mut memory.tags));
        self.candidate.iter().for_each(|candidate| candidate.fit(&mut memory.tags));
    }

    /// Where the labels are in a packet that matched this way; those that were not on it are empty.
    pub(super) fn find(
        &self,
        memory: &mut Memory,
        packet: &[u8],
        reached: &Reached,
        labels: &mut [Range<usize>],
    ) {
        memory.marks.clear();
        if let Some(rest) = &self.labels {
            let from = position(self.from, reached, packet.len());
            rest.find(&mut memory.tags, packet, from, &mut memory.marks);
        }
        self.tell(memory, packet, reached, labels);
    }

    /// The same, if the packet did match this way. Says whether it did.
    pub(super) fn try_find(
        &self,
        memory: &mut Memory,
        packet: &[u8],
        reached: &Reached,
        labels: &mut [Range<usize>],
    ) -> bool {
        memory.marks.clear();
        if let Some(candidate) = &self.candidate {
            let from = position(self.from, reached, packet.len());
            if !candidate.try_find(&mut memory.tags, packet, from, &mut memory.marks) {
                return false;
            }
        }
        self.tell(memory, packet, reached, labels);
        true
    }

    /// Puts together what the header tells and what was found behind it.
    fn tell(&self, memory: &mut Memory, packet: &[u8], reached: &Reached, labels: &mut [Range<usize>]) {
        for (tag, mark) in &self.told {
            memory.marks.set(*tag, Some(position(*mark, reached, packet.len())));
        }
        for (label, id) in labels.iter_mut().zip((0..=u16::MAX).map(LabelId)) {
            *label = memory.marks.range(id).unwrap_or(0..0);
        }
    }
}

impl Memory {
    /// For rules with at most so many labels.
    pub(super) fn new(labels: usize) -> Self {
        Self { tags: tdfa::Scratch::default(), marks: Marks::new(labels) }
    }
}

/// The same regex without these tags.
fn without(node: &Node, known: &BTreeSet<Tag>) -> Node {
    match node {
        Node::Byte(set) => Node::Byte(*set),
        Node::Tag(tag) if known.contains(tag) => Node::empty(),
        Node::Tag(tag) => Node::Tag(*tag),
        Node::Seq(parts) => Node::seq(parts.iter().map(|part| without(part, known))),
        Node::Alt(arms) => Node::Alt(arms.iter().map(|arm| without(arm, known)).collect()),
        Node::Repeat { body, least, most } => {
            Node::Repeat { body: Box::new(without(body, known)), least: *least, most: *most }
        }
    }
}
