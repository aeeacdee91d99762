//! Where tags lie by the pattern alone: a fixed distance from its start or its end, or before an *anchor*.
//!
//! An anchor is a place in the pattern that only a run over the packet finds. Tags of one sequence with parts of fixed
//! length between them need one anchor together, and it stands behind those parts: of all the ways that begin at a `*`,
//! few get there, so few positions are remembered, and for `* b:("GET " …)` none before a `GET ` was seen.
//!
//! No packet is looked at here.

use std::collections::BTreeMap;

use crate::ir::{Length, Node, Tag};
use crate::resolved::LabelId;

/// Where a tag lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Spot {
    /// So many bytes behind the pattern's start.
    Start(usize),
    /// So many bytes before the pattern's end.
    End(usize),
    /// So many bytes before this anchor; nowhere, if the anchor was not met.
    Anchor(Anchor, usize),
}

/// A place that a run over the packet finds; numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(super) struct Anchor(u16);

/// A pattern, and where its tags lie in what it matches.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// In order of tags.
    pub(super) spots: Vec<(Tag, Spot)>,
    /// How many anchors there are.
    pub(super) anchors: usize,
    /// The pattern without tags but its anchors.
    pub(super) node: Node,
}

impl Anchor {
    /// As an index.
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// How it stands in the pattern: as where the label of its number begins.
    pub(super) const fn tag(self) -> Tag {
        Tag::Begin(LabelId(self.0))
    }

    /// The anchor that stands in the pattern as this.
    pub(super) const fn of(tag: Tag) -> Self {
        match tag {
            Tag::Begin(label) | Tag::End(label) => Self(label.0),
        }
    }
}

impl Layout {
    pub(super) fn of(node: &Node) -> Self {
        let seen = survey(node, Some(0), Some(0));
        let mut anchoring = Anchoring { seen: &seen, spots: BTreeMap::new(), anchors: Vec::new() };
        let node = anchoring.node(node);
        Self { spots: anchoring.spots.into_iter().collect(), anchors: anchoring.anchors.len(), node }
    }

    /// All anchors, in order.
    pub(super) fn anchors(&self) -> impl Iterator<Item = Anchor> {
        (0..u16::MAX).take(self.anchors).map(Anchor)
    }
}

/// What is known of a tag.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// How often it stands in the pattern.
    sites: usize,
    presence: Presence,
    /// How far it is from the pattern's start and end, if always the same.
    start: Option<u32>,
    end: Option<u32>,
}

/// Whether a match can be without a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Always,
    Sometimes,
}

impl Seen {
    /// Where it lies, if that needs no run.
    fn fixed(&self) -> Option<Spot> {
        match (self.presence, self.start, self.end) {
            (Presence::Always, Some(bytes), _) => Some(Spot::Start(bytes as usize)),
            (Presence::Always, None, Some(bytes)) => Some(Spot::End(bytes as usize)),
            _ => None,
        }
    }

    /// It stands in two arms.
    fn or(self, other: Self) -> Self {
        Self {
            sites: self.sites + other.sites,
            presence: if self.presence == other.presence { self.presence } else { Presence::Sometimes },
            start: self.start.filter(|_| self.start == other.start),
            end: self.end.filter(|_| self.end == other.end),
        }
    }
}

type Survey = BTreeMap<Tag, Seen>;

/// All tags of a node that begins and ends so far from the pattern's start and end. What never matches has none.
fn survey(node: &Node, start: Option<u32>, end: Option<u32>) -> Survey {
    if node.length().is_none() {
        return Survey::new();
    }
    match node {
        Node::Byte(_) => Survey::new(),
        Node::Tag(tag) => Survey::from([(*tag, Seen { sites: 1, presence: Presence::Always, start, end })]),
        Node::Seq(parts) => survey_sequence(parts, start, end),
        Node::Alt(arms) => {
            let arms: Vec<Survey> =
                arms.iter().filter(|arm| arm.length().is_some()).map(|arm| survey(arm, start, end)).collect();
            let mut all = Survey::new();
            for (tag, seen) in arms.iter().flatten() {
                all.entry(*tag).and_modify(|known| *known = known.or(*seen)).or_insert(*seen);
            }
            all.retain(|tag, seen| {
                if !arms.iter().all(|arm| arm.contains_key(tag)) {
                    seen.presence = Presence::Sometimes;
                }
                true
            });
            all
        }
        Node::Repeat { most: Some(0), .. } => Survey::new(),
        Node::Repeat { body, least, most } => {
            let once = *most == Some(1);
            let mut all = survey(body, start.filter(|_| once), end.filter(|_| once));
            if *least == 0 {
                all.values_mut().for_each(|seen| seen.presence = Presence::Sometimes);
            }
            all
        }
    }
}

fn survey_sequence(parts: &[Node], start: Option<u32>, end: Option<u32>) -> Survey {
    let mut ends = Vec::with_capacity(parts.len());
    parts.iter().rev().fold(end, |end, part| {
        ends.push(end);
        past(end, part)
    });
    let mut all = Survey::new();
    let mut start = start;
    for (part, end) in parts.iter().zip(ends.into_iter().rev()) {
        for (tag, seen) in survey(part, start, end) {
            // On one way it is bound at most once; were it not, the last would hold, which only a run tells.
            let twice = |known: &mut Seen| *known = Seen { start: None, end: None, ..known.or(seen) };
            all.entry(tag).and_modify(twice).or_insert(seen);
        }
        start = past(start, part);
    }
    all
}

/// A distance and the length of a part.
fn past(distance: Option<u32>, part: &Node) -> Option<u32> {
    Some(distance?.saturating_add(fixed_length(part)?))
}

fn fixed_length(node: &Node) -> Option<u32> {
    node.length().and_then(Length::fixed)
}

/// Takes tags out of a pattern and puts anchors in.
struct Anchoring<'s> {
    seen: &'s Survey,
    spots: BTreeMap<Tag, Spot>,
    /// Which tags stand at their own anchor.
    anchors: Vec<Option<Tag>>,
}

/// Tags of a sequence, and how many bytes of it came since.
type Waiting = Vec<(Tag, usize)>;

impl Anchoring<'_> {
    fn node(&mut self, node: &Node) -> Node {
        if node.length().is_none() {
            return Node::never();
        }
        match node {
            Node::Byte(set) => Node::Byte(*set),
            Node::Tag(_) => self.sequence(std::slice::from_ref(node)),
            Node::Seq(parts) => self.sequence(parts),
            Node::Alt(arms) => Node::alt(arms.iter().map(|arm| self.node(arm))),
            Node::Repeat { most: Some(0), .. } => Node::empty(),
            Node::Repeat { body, least, most } => {
                Node::Repeat { body: Box::new(self.node(body)), least: *least, most: *most }
            }
        }
    }

    fn sequence(&mut self, parts: &[Node]) -> Node {
        let mut placed = Vec::with_capacity(parts.len());
        let mut waiting = Waiting::new();
        for part in parts {
            if let Node::Tag(tag) = part {
                placed.extend(self.tag(*tag, &mut waiting));
                continue;
            }
            match fixed_length(part) {
                Some(bytes) => waiting.iter_mut().for_each(|(_, since)| *since += bytes as usize),
                None => placed.extend(self.anchor(&mut waiting)),
            }
            placed.push(self.node(part));
        }
        placed.extend(self.anchor(&mut waiting));
        Node::seq(placed)
    }

    /// A tag that stands in several places has its anchor there, as they differ in what follows.
    fn tag(&mut self, tag: Tag, waiting: &mut Waiting) -> Option<Node> {
        let seen = self.seen.get(&tag)?;
        if let Some(spot) = seen.fixed() {
            self.spots.insert(tag, spot);
            return None;
        }
        if seen.sites == 1 {
            waiting.push((tag, 0));
            return None;
        }
        let known = self.anchors.iter().position(|known| *known == Some(tag));
        let index = known.unwrap_or_else(|| {
            self.anchors.push(Some(tag));
            self.anchors.len() - 1
        });
        let anchor = numbered(index);
        self.spots.insert(tag, Spot::Anchor(anchor, 0));
        Some(Node::Tag(anchor.tag()))
    }

    /// The anchor of all tags that wait for one.
    fn anchor(&mut self, waiting: &mut Waiting) -> Option<Node> {
        if waiting.is_empty() {
            return None;
        }
        let anchor = numbered(self.anchors.len());
        self.anchors.push(None);
        for (tag, since) in waiting.drain(..) {
            self.spots.insert(tag, Spot::Anchor(anchor, since));
        }
        Some(Node::Tag(anchor.tag()))
    }
}

fn numbered(index: usize) -> Anchor {
    match u16::try_from(index) {
        Ok(number) => Anchor(number),
        Err(_) => unreachable!("a rule has at most 64 labels"),
    }
}

#[cfg(test)]
mod tests;
