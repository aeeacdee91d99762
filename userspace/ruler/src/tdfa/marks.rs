//! Where the labels of one packet begin and end.
//!
//! Begins and ends are apart: a label may begin in the headers and end in what follows them, and each part is found by
//! whoever looks there. Nothing here allocates but [`Marks::new`].

use std::ops::Range;

use crate::ir::Tag;
use crate::resolved::LabelId;

/// No position: no packet is that long.
pub(super) const UNSET: usize = usize::MAX;

/// The positions of all tags of a rule; one that is not in the packet is unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Begin and end of each label, in order.
    at: Vec<usize>,
}

impl Marks {
    /// Unset marks for so many labels.
    #[must_use]
    pub fn new(labels: usize) -> Self {
        Self { at: vec![UNSET; 2 * labels] }
    }

    /// Where a tag is.
    #[must_use]
    pub fn get(&self, tag: Tag) -> Option<usize> {
        self.at.get(index(tag)).copied().filter(|at| *at != UNSET)
    }

    /// The bytes of a label, if both of its ends are known.
    #[must_use]
    pub fn range(&self, label: LabelId) -> Option<Range<usize>> {
        Some(self.get(Tag::Begin(label))?..self.get(Tag::End(label))?)
    }

    /// Says where a tag is. A label that these marks have no room for is left out: nobody asks for it.
    pub fn set(&mut self, tag: Tag, at: Option<usize>) {
        if let Some(mark) = self.at.get_mut(index(tag)) {
            *mark = at.unwrap_or(UNSET);
        }
    }

    /// Forgets all positions.
    pub fn clear(&mut self) {
        self.at.fill(UNSET);
    }
}

fn index(tag: Tag) -> usize {
    match tag {
        Tag::Begin(label) => 2 * usize::from(label.0),
        Tag::End(label) => 2 * usize::from(label.0) + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_and_ends_are_apart_and_may_be_missing() {
        let (first, second) = (LabelId(0), LabelId(1));
        let mut marks = Marks::new(2);
        marks.set(Tag::Begin(second), Some(14));
        assert_eq!((marks.get(Tag::Begin(second)), marks.get(Tag::End(second))), (Some(14), None));
        assert_eq!(marks.range(second), None);
        marks.set(Tag::End(second), Some(14));
        assert_eq!((marks.range(first), marks.range(second)), (None, Some(14..14)));
        marks.set(Tag::Begin(LabelId(2)), Some(1));
        assert_eq!(marks.get(Tag::Begin(LabelId(2))), None);
        marks.clear();
        assert_eq!(marks, Marks::new(2));
    }
}
