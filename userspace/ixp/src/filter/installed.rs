//! One filter as it is attached: bound, numbered, with memory for each engine that will run it.
//!
//! An engine never makes such memory while packets flow, and never frees it: it takes a seat and gives it back.
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use ruler::{
    filter::{Bound, Scratch},
    resolved::RuleId,
    rewrite::Bounds,
};

/// A bound filter, and its number.
#[derive(Debug)]
pub struct Installed {
    bound: Bound,
    generation: u64,
    /// Seats that no engine sits on.
    free: Mutex<Vec<Seat>>,
    /// What was counted, each by one engine at a time.
    tallies: Mutex<Vec<Arc<Tally>>>,
    /// What engines counted that have left, while outputs could be otherwise long.
    past: FilterCounts,
}

/// What one engine needs to run a filter.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) scratch: Box<Scratch>,
    pub(crate) tally: Arc<Tally>,
}

/// What one engine counted. Its engine is the only writer.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By [`RuleId`]: packets that matched, and those of them that could not be rewritten.
    rules: Box<[[AtomicU64; 2]]>,
    unmatched: AtomicU64,
    /// Whether its seat is gone: then nobody counts here any more.
    has_left: AtomicBool,
}

/// How many packets a filter judged, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// In the order of the rules.
    pub rules: Vec<RuleCount>,
    /// Packets that no rule matched.
    pub unmatched: u64,
}

/// What became of a rule's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCount {
    /// Packets that it was the first to match.
    pub matched: u64,
    /// Those of them that it could not rewrite, and which were dropped.
    pub refused: u64,
}

impl Installed {
    /// A bound filter under a number, with memory for so many engines.
    #[must_use]
    pub fn new(bound: Bound, generation: u64, engines: usize) -> Arc<Self> {
        let past = FilterCounts { rules: vec![RuleCount::default(); bound.filter().rules()], unmatched: 0 };
        let this = Self { bound, generation, free: Mutex::default(), tallies: Mutex::default(), past };
        this.seated(engines)
    }

    /// The same filter where outputs may be otherwise long, with memory of its own. It has the same number, as its rules are
    /// the same and so is what a class of it means; and what was counted so far, and is until the last engine has changed
    /// over, is in its counts.
    #[must_use]
    pub fn within(&self, bounds: Bounds, engines: usize) -> Arc<Self> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let has_left = |tally: &Arc<Tally>| tally.has_left.load(Ordering::Acquire);
        let (left, kept): (Vec<_>, Vec<_>) = tallies.iter().cloned().partition(has_left);
        let mut past = self.past.clone();
        left.iter().for_each(|tally| tally.add_to(&mut past));
        let (bound, generation) = (self.bound.within(bounds), self.generation);
        let this = Self { bound, generation, free: Mutex::default(), tallies: Mutex::new(kept), past };
        this.seated(engines)
    }

    fn seated(self, engines: usize) -> Arc<Self> {
        let seats = (0..engines).map(|_| self.make_seat()).collect();
        Arc::new(Self { free: Mutex::new(seats), ..self })
    }

    /// The filter.
    #[must_use]
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Its number; a later one is greater.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Its number as `RxMeta` has it.
    #[must_use]
    #[inline]
    pub const fn class_generation(&self) -> u8 {
        self.generation.to_le_bytes()[0]
    }

    /// What it did so far, on all engines.
    #[must_use]
    pub fn counts(&self) -> FilterCounts {
        let mut sum = self.past.clone();
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().for_each(|tally| tally.add_to(&mut sum));
        sum
    }

    /// Engines whose counts are still kept apart.
    #[cfg(test)]
    pub(super) fn counting(&self) -> usize {
        self.tallies.lock().unwrap().len()
    }

    /// A seat for an engine; one is made, which takes time, if more engines want one than were reckoned with.
    pub(crate) fn take_seat(&self) -> Seat {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| self.make_seat())
    }

    pub(crate) fn give_back(&self, seat: Seat) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(seat);
    }

    fn make_seat(&self) -> Seat {
        let rules = (0..self.bound.filter().rules()).map(|_| Default::default()).collect();
        let tally = Arc::new(Tally { rules, ..Tally::default() });
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&tally));
        Seat { scratch: Box::new(self.bound.scratch()), tally }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tally.has_left.store(true, Ordering::Release);
    }
}

impl Tally {
    /// Counts a packet for the rule that it matched.
    #[inline]
    pub(crate) fn matched(&self, rule: Option<RuleId>) {
        match rule {
            Some(rule) => self.rules.get(rule.index()).into_iter().for_each(|[matched, _]| add(matched)),
            None => add(&self.unmatched),
        }
    }

    /// Counts a packet that its rule could not rewrite.
    pub(crate) fn refused(&self, rule: Option<RuleId>) {
        let rule = rule.and_then(|rule| self.rules.get(rule.index()));
        rule.into_iter().for_each(|[_, refused]| add(refused));
    }

    fn add_to(&self, sum: &mut FilterCounts) {
        sum.unmatched += self.unmatched.load(Ordering::Relaxed);
        for (sum, [matched, refused]) in sum.rules.iter_mut().zip(&self.rules) {
            sum.matched += matched.load(Ordering::Relaxed);
            sum.refused += refused.load(Ordering::Relaxed);
        }
    }
}

/// One writer, so it need not be an atomic addition.
#[inline]
fn add(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}
