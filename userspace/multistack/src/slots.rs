//! Numbers for registrations: small enough to index arrays, and not given twice within living memory.
//!
//! A packet steered to a registration may still be on its way when the registration is gone and its slot has a
//! new owner. XDP leaves only `kind`, `id` and `generation` with the packet, and a builtin's `id` says what it
//! *does*. So its generation alone must lead to the registration, and must not lead to its successor:
//!
//! ```text
//!  15        12 11                        0
//! +------------+---------------------------+
//! | lap        | slot                      |   TupleId = Target::generation
//! +------------+---------------------------+
//! ```
//!
//! The lap goes up each time the slot is freed, and the slot freed longest ago is given next. With `n` slots
//! free, a number comes back after `16 · n` further registrations at the earliest.
use std::collections::VecDeque;
use std::fmt;

/// Most registrations at once.
pub const MAX_SLOTS: usize = 1 << SLOT_BITS;

const SLOT_BITS: u32 = 12;
const SLOT_MASK: u16 = (1 << SLOT_BITS) - 1;

/// A registration's number: what the control protocol calls `tuple`, and its targets' generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TupleId(u16);

impl TupleId {
    /// The number as a client or a packet gave it; it may name nothing.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// An index below [`MAX_SLOTS`], for arrays with one element per registration.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> usize {
        (self.0 & SLOT_MASK) as usize
    }

    const fn next_lap(self) -> Self {
        Self(self.0.wrapping_add(1 << SLOT_BITS))
    }
}

impl fmt::Display for TupleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The numbers not in use, longest free first.
#[derive(Debug)]
pub(crate) struct Slots {
    free: VecDeque<TupleId>,
}

impl Slots {
    /// All of `count` slots free. At most [`MAX_SLOTS`] are made.
    pub(crate) fn new(count: usize) -> Self {
        let count = count.min(MAX_SLOTS) as u16;
        Self { free: (0..count).map(TupleId).collect() }
    }

    /// Takes a number, if a slot is free.
    pub(crate) fn take(&mut self) -> Option<TupleId> {
        self.free.pop_front()
    }

    /// Gives a slot back. The number itself is spent: packets may carry it.
    pub(crate) fn give_back(&mut self, id: TupleId) {
        self.free.push_back(id.next_lap());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_after_sixteen_laps_and_not_before() {
        let mut slots = Slots::new(3);
        let mut seen = Vec::new();
        for _ in 0..16 * 3 {
            let id = slots.take().unwrap();
            assert!(!seen.contains(&id), "{id} given twice");
            seen.push(id);
            slots.give_back(id);
        }
        assert_eq!(slots.take(), Some(seen[0]));
    }

    #[test]
    fn a_slot_has_one_holder() {
        let mut slots = Slots::new(2);
        let (a, b) = (slots.take().unwrap(), slots.take().unwrap());
        assert_ne!(a.slot(), b.slot());
        assert_eq!(slots.take(), None);
        slots.give_back(a);
        assert_eq!(slots.take().map(TupleId::slot), Some(a.slot()));
    }

    #[test]
    fn more_slots_than_there_are_numbers_are_not_made() {
        assert_eq!(Slots::new(usize::MAX).free.len(), MAX_SLOTS);
    }
}
