//! What is said of addresses, as a sorted list of ranges that do not overlap: a route table, flattened.
//!
//! A lookup is one binary search. Lists are laid one over the other, as rules ask one table after the other.
use std::fmt::Debug;

/// A function from addresses to what is said of them.
///
/// # Invariants
/// Sorted, no two ranges begin at one address. Each range ends before the next; before the first lies
/// [`Default::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranges<T>(Box<[(u128, T)]>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T: Copy + Default + PartialEq + Debug> Ranges<T> {
    /// What is said of nested spans, given outer ones before those inside them: the innermost has the last word, and of
    /// equal ones the later.
    pub(super) fn nested(spans: impl IntoIterator<Item = (u128, u128, T)>) -> Self {
        let mut nest = Nest { open: Vec::new(), done: Vec::new() };
        for (first, last, said) in spans {
            nest.open(first, last, said);
        }
        nest.finish()
    }

    #[inline]
    pub(super) fn find(&self, addr: u128) -> T {
        let after = self.0.partition_point(|&(first, _)| first <= addr);
        after.checked_sub(1).and_then(|at| self.0.get(at)).map_or_else(T::default, |&(_, said)| said)
    }

    /// `lower` where this list says nothing, which is [`Default::default`].
    pub(super) fn over(&self, lower: &Self) -> Self {
        let nothing = T::default();
        self.merge(lower, |own, other| if own == nothing { other } else { own })
    }

    /// What both lists together say of every address.
    pub(super) fn merge<U, V>(&self, other: &Ranges<U>, both: impl Fn(T, U) -> V) -> Ranges<V>
    where
        U: Copy + Default + PartialEq + Debug,
        V: Copy + Default + PartialEq + Debug,
    {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let (mut said, mut done) = ((T::default(), U::default()), Vec::<(u128, V)>::new());
        loop {
            let next = [a.peek().map(|&&(first, _)| first), b.peek().map(|&&(first, _)| first)];
            let Some(first) = next.into_iter().flatten().min() else { break };
            if let Some(&(_, own)) = a.next_if(|&&(begins, _)| begins == first) {
                said.0 = own;
            }
            if let Some(&(_, theirs)) = b.next_if(|&&(begins, _)| begins == first) {
                said.1 = theirs;
            }
            let now = both(said.0, said.1);
            if done.last().map_or_else(V::default, |&(_, before)| before) != now {
                done.push((first, now));
            }
        }
        Ranges(done.into())
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }
}

/// Ranges being flattened: those open around the current address, the innermost last.
struct Nest<T> {
    open: Vec<(u128, T)>,
    done: Vec<(u128, T)>,
}

impl<T: Copy + Default> Nest<T> {
    fn open(&mut self, first: u128, last: u128, said: T) {
        self.close_before(first);
        self.begin(first, said);
        self.open.push((last, said));
    }

    /// Closes all that end before `first`; what lies around them goes on.
    fn close_before(&mut self, first: u128) {
        while let Some((last, _)) = self.open.pop_if(|&mut (last, _)| last < first) {
            self.resume_after(last);
        }
    }

    fn resume_after(&mut self, last: u128) {
        if let Some(next) = last.checked_add(1) {
            self.begin(next, self.open.last().map_or_else(T::default, |&(_, said)| said));
        }
    }

    fn begin(&mut self, first: u128, said: T) {
        self.done.pop_if(|&mut (begun, _)| begun == first);
        self.done.push((first, said));
    }

    fn finish(mut self) -> Ranges<T> {
        while let Some((last, _)) = self.open.pop() {
            self.resume_after(last);
        }
        Ranges(self.done.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_has_the_last_word_and_the_outer_goes_on() {
        let ranges =
            Ranges::nested([(0, 99, 1_u8), (10, 19, 2), (12, 12, 3), (19, 19, 4), (200, u128::MAX, 5)]);
        let said = [0, 9, 10, 11, 12, 13, 18, 19, 20, 99, 100, 199, 200, u128::MAX].map(|at| ranges.find(at));
        assert_eq!(said, [1, 1, 2, 2, 3, 2, 2, 4, 1, 1, 0, 0, 5, 5]);
    }

    #[test]
    fn what_lies_below_shows_where_nothing_is_said() {
        let upper = Ranges::nested([(10, 19, 1_u8), (15, 16, 0)]);
        let lower = Ranges::nested([(0, u128::MAX, 7), (12, 15, 8)]);
        let both = upper.over(&lower);
        let said = [0, 9, 10, 12, 14, 15, 16, 17, 19, 20, u128::MAX].map(|at| both.find(at));
        assert_eq!(said, [7, 7, 1, 1, 1, 8, 7, 1, 1, 7, 7]);
        assert_eq!(upper.over(&Ranges::default()).find(12), 1);
        assert_eq!(Ranges::default().over(&lower), lower);
        // Neighbours that say the same are one.
        assert_eq!(Ranges::nested([(0, 5, 7_u8)]).over(&Ranges::nested([(0, 9, 7)])).len(), 2);
    }
}
