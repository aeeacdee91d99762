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
    dfa::TooMany,
    ir::{Node, Tag},
    resolved::LabelId,
    tdfa::{self, Labels, Method, Place},
};

/// A header path and the rest behind it, or a whole pattern.
#[derive(Debug)]
pub(super) struct Way {
    /// By [`LabelId`]: what the header tells.
    told: Vec<Told>,
    /// What must match behind the header, and where that begins.
    rest: Option<Rest>,
}

/// What the header tells of one label.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    begin: Option<Mark>,
    end: Option<Mark>,
}

#[derive(Debug)]
struct Rest {
    from: Mark,
    labels: Labels,
    /// Whether it has labels at all.
    asked: Asked,
}

/// Whether the rest has to be looked at for labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    ForLabels,
    OnlyWhetherItMatches,
}

impl Way {
    /// Of a rule with so many labels: a path, and the regex of its rest unless that is final; or no path, and the regex of
    /// the whole rule.
    pub(super) fn new(
        path: Option<&Path>,
        rest: Option<&Node>,
        labels: usize,
        limits: &tdfa::Limits,
    ) -> Result<Self, TooMany> {
        let mut told = vec![Told::default(); labels];
        for (label, mark) in path.iter().flat_map(|path| &path.begins) {
            told[usize::from(label.0)].begin = Some(*mark);
        }
        for (label, mark) in path.iter().flat_map(|path| &path.ends) {
            told[usize::from(label.0)].end = Some(*mark);
        }
        let ids = (0..=u16::MAX).map(LabelId).zip(&told);
        let tags: BTreeSet<Tag> = ids
            .flat_map(|(id, told)| {
                let begin = told.begin.is_none().then_some(Tag::Begin(id));
                let end = told.end.is_none().then_some(Tag::End(id));
                begin.into_iter().chain(end)
            })
            .collect();
        let from = path.map_or(Mark::Behind { base: 0, offset: 0 }, Path::end);
        let asked = if tags.is_empty() { Asked::OnlyWhetherItMatches } else { Asked::ForLabels };
        let rest = match rest {
            Some(node) => Some(Rest { from, labels: Labels::new(node, &tags, limits)?, asked }),
            None => None,
        };
        Ok(Self { told, rest })
    }

    /// By what means labels are found behind the header, if they are.
    pub(super) fn method(&self) -> Option<Method> {
        self.rest.as_ref().filter(|rest| rest.asked == Asked::ForLabels).map(|rest| rest.labels.method())
    }

    /// Makes memory large enough for it.
    pub(super) fn fit(&self, scratch: &mut Memory) {
        let labels = self.told.len().max(scratch.places.len());
        scratch.places.resize(labels, Place::default());
        if let Some(rest) = &self.rest {
            rest.labels.fit(&mut scratch.tags);
        }
    }

    /// Where the labels are in a packet that matched this way; those that were not on it are empty.
    pub(super) fn find(
        &self,
        memory: &mut Memory,
        packet: &[u8],
        reached: &Reached,
        labels: &mut [Range<usize>],
    ) {
        let places = &mut memory.places[..self.told.len()];
        places.fill(Place::default());
        if let Some(rest) = self.rest.as_ref().filter(|rest| rest.asked == Asked::ForLabels) {
            rest.labels.find(&mut memory.tags, rest.of(packet, reached), places);
        }
        self.tell(places, packet, reached, labels);
    }

    /// The same, if the packet did match this way. Says whether it did.
    pub(super) fn try_find(
        &self,
        memory: &mut Memory,
        packet: &[u8],
        reached: &Reached,
        labels: &mut [Range<usize>],
    ) -> bool {
        let places = &mut memory.places[..self.told.len()];
        places.fill(Place::default());
        if let Some(rest) = &self.rest
            && !rest.labels.try_find(&mut memory.tags, rest.of(packet, reached), places)
        {
            return false;
        }
        self.tell(places, packet, reached, labels);
        true
    }

    /// Puts together what the header tells and what was found behind it.
    fn tell(&self, places: &[Place], packet: &[u8], reached: &Reached, labels: &mut [Range<usize>]) {
        let from = self.rest.as_ref().map_or(0, |rest| position(rest.from, reached, packet.len()));
        let place = |told: Option<Mark>, found: Option<usize>| match told {
            Some(mark) => Some(position(mark, reached, packet.len())),
            None => found.map(|found| from + found),
        };
        for ((told, found), label) in self.told.iter().zip(places).zip(labels) {
            let bound = place(told.begin, found.begin).zip(place(told.end, found.end));
            *label = bound.map_or(0..0, |(begin, end)| begin..end);
        }
    }
}

impl Rest {
    fn of<'p>(&self, packet: &'p [u8], reached: &Reached) -> &'p [u8] {
        packet.get(position(self.from, reached, packet.len())..).unwrap_or_default()
    }
}

/// What finding labels writes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    tags: tdfa::Scratch,
    places: Vec<Place>,
}
