//! Where labels lie in a pattern by its text alone: between which of its pieces, and how many bytes those have.
//!
//! It looks at no packet. What stands in an arm or in a repetition has no place here, as not every packet has it.

use std::collections::BTreeMap;

use crate::resolved::{Allowed, Field, LabelId, Order, Pattern};

/// A place between two pieces of a pattern; 0 is before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cut(usize);

impl Cut {
    /// Before the first piece: where the packet begins.
    pub(super) const START: Self = Self(0);
}

/// How many bytes a piece has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Width {
    /// At least.
    pub(super) least: u64,
    /// At most, if there is an end to it.
    pub(super) most: Option<u64>,
}

impl Width {
    const NOTHING: Self = Self::exactly(0);

    const fn exactly(bytes: u64) -> Self {
        Self { least: bytes, most: Some(bytes) }
    }

    /// Whether it is always this many.
    pub(super) fn is(self, bytes: usize) -> bool {
        u64::try_from(bytes).is_ok_and(|bytes| self == Self::exactly(bytes))
    }

    /// Whether it is never less than this many.
    pub(super) fn has(self, bytes: usize) -> bool {
        u64::try_from(bytes).is_ok_and(|bytes| bytes <= self.least)
    }

    fn plus(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(mine, theirs)| mine.saturating_add(theirs));
        Self { least: self.least.saturating_add(other.least), most }
    }

    fn times(self, least: u32, most: Option<u32>) -> Self {
        let most = self.most.zip(most).map(|(bytes, times)| bytes.saturating_mul(u64::from(times)));
        Self { least: self.least.saturating_mul(u64::from(least)), most }
    }

    fn or(self, other: Self) -> Self {
        let most = self.most.zip(other.most).map(|(mine, theirs)| mine.max(theirs));
        Self { least: self.least.min(other.least), most }
    }
}

/// The pieces of a pattern that every packet has, one after the other, and the labels around them.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    pieces: Vec<Width>,
    labels: BTreeMap<LabelId, Labelled<'a>>,
}

#[derive(Debug)]
struct Labelled<'a> {
    from: Cut,
    to: Cut,
    body: &'a Pattern,
}

impl<'a> Outline<'a> {
    /// Of a whole pattern.
    pub(super) fn of(pattern: &'a Pattern) -> Self {
        let mut outline = Self { pieces: Vec::new(), labels: BTreeMap::new() };
        outline.add(pattern);
        outline
    }

    fn add(&mut self, pattern: &'a Pattern) {
        match pattern {
            Pattern::Seq(parts) => parts.iter().for_each(|part| self.add(part)),
            Pattern::Label(label, body) => {
                let from = self.end();
                self.add(body);
                self.labels.insert(*label, Labelled { from, to: self.end(), body });
            }
            piece => self.pieces.push(width(piece)),
        }
    }

    /// Behind the last piece: where the packet ends.
    pub(super) fn end(&self) -> Cut {
        Cut(self.pieces.len())
    }

    /// Where a label begins and ends, if every packet has it.
    pub(super) fn place(&self, label: LabelId) -> Option<(Cut, Cut)> {
        self.labels.get(&label).map(|labelled| (labelled.from, labelled.to))
    }

    /// How many bytes lie between two cuts; none if the second is not behind the first.
    pub(super) fn between(&self, from: Cut, to: Cut) -> Option<Width> {
        let pieces = self.pieces.get(from.0..to.0)?;
        Some(pieces.iter().fold(Width::NOTHING, |sum, piece| sum.plus(*piece)))
    }

    /// The first four bits of a label, if every packet has it and the same there: an IP header's version.
    pub(super) fn version(&self, label: LabelId) -> Option<u64> {
        self.labels.get(&label).and_then(|labelled| first_nibble(labelled.body))
    }
}

fn width(pattern: &Pattern) -> Width {
    match pattern {
        Pattern::Run(fields) => {
            Width::exactly(fields.iter().map(|field| u64::from(field.bits)).sum::<u64>() / 8)
        }
        Pattern::Any => Width { least: 0, most: None },
        Pattern::Seq(parts) => parts.iter().map(width).fold(Width::NOTHING, Width::plus),
        Pattern::Alt(arms) => arms.iter().map(width).reduce(Width::or).unwrap_or(Width::NOTHING),
        Pattern::Repeat { body, least, most } => width(body).times(*least, *most),
        Pattern::Counted { plus, .. } => Width { least: u64::try_from(*plus).unwrap_or(0), most: None },
        Pattern::Label(_, body) => width(body),
    }
}

fn first_nibble(pattern: &Pattern) -> Option<u64> {
    match pattern {
        Pattern::Run(fields) => fields.first().and_then(nibble_of),
        Pattern::Seq(parts) => parts.first().and_then(first_nibble),
        Pattern::Label(_, body) => first_nibble(body),
        _ => None,
    }
}

/// The highest four bits of a field that can hold one thing only there.
fn nibble_of(field: &Field) -> Option<u64> {
    let below = u32::from(field.bits.checked_sub(4)?);
    let top = 0xf << below;
    let only = |tests: &[crate::resolved::Test]| {
        let nibble = tests.first()?.first >> below;
        let same = |test: &crate::resolved::Test| {
            test.order == Order::Big
                && test.mask & top == top
                && test.first >> below == nibble
                && test.last >> below == nibble
        };
        tests.iter().all(same).then_some(nibble)
    };
    field.all_of.iter().find_map(|allowed| match allowed {
        Allowed::AnyOf(tests) => only(tests),
        Allowed::NoneOf(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolved::Test;

    fn bytes(count: usize) -> Pattern {
        Pattern::Run(vec![Field { bits: 8, all_of: Vec::new(), counts: None }; count])
    }

    fn between(first: u64, last: u64, bits: u8) -> Pattern {
        let test = Test { order: Order::Big, mask: u64::MAX >> (64 - u32::from(bits)), first, last };
        let rest = Field { bits: 64 - bits, all_of: Vec::new(), counts: None };
        let field = Field { bits, all_of: vec![Allowed::AnyOf(vec![test])], counts: None };
        Pattern::Run(vec![field, rest])
    }

    fn label(id: u16, body: Pattern) -> Pattern {
        Pattern::Label(LabelId(id), Box::new(body))
    }

    #[test]
    fn labels_have_places_unless_only_some_packets_have_them() {
        let pattern = Pattern::Seq(vec![
            label(0, Pattern::Seq(vec![bytes(2), label(1, bytes(3))])),
            Pattern::Alt(vec![label(2, bytes(4)), Pattern::Seq(vec![bytes(1), bytes(6)])]),
            label(3, Pattern::Any),
        ]);
        let outline = Outline::of(&pattern);
        assert_eq!(outline.place(LabelId(0)), Some((Cut::START, Cut(2))));
        assert_eq!(outline.place(LabelId(1)), Some((Cut(1), Cut(2))));
        assert_eq!(outline.place(LabelId(2)), None);
        assert_eq!(outline.place(LabelId(3)), Some((Cut(3), outline.end())));
        assert_eq!(outline.between(Cut(0), Cut(2)), Some(Width::exactly(5)));
        assert_eq!(outline.between(Cut(2), Cut(3)), Some(Width { least: 4, most: Some(7) }));
        assert_eq!(outline.between(Cut(0), Cut(4)), Some(Width { least: 9, most: None }));
        assert_eq!(outline.between(Cut(2), Cut(0)), None);
    }

    #[test]
    fn repetitions_and_counted_bytes_have_widths() {
        let three = |most| width(&Pattern::Repeat { body: Box::new(bytes(3)), least: 2, most });
        assert_eq!(three(Some(4)), Width { least: 6, most: Some(12) });
        assert_eq!(three(None), Width { least: 6, most: None });
        let counted = |plus| width(&Pattern::Counted { field: crate::resolved::Counter(0), times: 4, plus });
        assert_eq!(counted(-20), Width { least: 0, most: None });
        assert_eq!(counted(6), Width { least: 6, most: None });
    }

    #[test]
    fn a_version_is_known_where_the_text_leaves_one() {
        let version = |body| {
            let pattern = label(0, body);
            Outline::of(&pattern).version(LabelId(0))
        };
        assert_eq!(version(between(4, 4, 4)), Some(4));
        assert_eq!(version(between(0x45, 0x4f, 8)), Some(4));
        assert_eq!(version(between(0x45, 0x50, 8)), None);
        assert_eq!(version(Pattern::Seq(vec![label(1, between(6, 6, 4))])), Some(6));
        assert_eq!(version(bytes(20)), None);
        assert_eq!(version(Pattern::Any), None);
    }
}
