//! The two ends of a ring, and how one end falls asleep without missing what the other does.
//!
//! An end keeps an index of its own, which is the truth, and publishes it; the other's index is read into a local,
//! checked, and believed only then. Neither end holds the memory: each call is told where to read and where to write,
//! because the two indices of a ring lie in different regions.
//!
//! **Sleeping.** The sleeper sets its flag, passes a fence, looks at the other's index once more, and blocks only if
//! there is still nothing. The waker publishes, passes a fence, and looks at the flag. Without both fences a store
//! and the load after it may change places, and each misses the other. [`Fenced`] is the proof that a fence was
//! passed: whoever decides about waking asks for one, and one serves all channels of a burst.
use core::{fmt, sync::atomic::Ordering};

use super::{
    layout::Slots,
    memory::{Memory, Writable},
};

/// Bits of `tx_flags`, written by the daemon.
pub mod tx_flags {
    /// The worker sleeps, or is about to: ring after sending.
    pub const NEED_WAKEUP: u32 = 1 << 0;
}

/// Bits of `rx_flags`, written by the application; the daemon clears what it rings for.
pub mod rx_flags {
    /// Ring when packets have come.
    pub const WAKE_ON_RX: u32 = 1 << 0;
    /// Ring when Tx slots became free, once half of the ring is: whoever fills a whole ring is not woken for each burst.
    pub const WAKE_ON_TX_SPACE: u32 = 1 << 1;
}

/// The other end's index is further from ours than the ring has slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Slots in use, if the index were believed.
    pub given: u32,
    /// Slots of the ring.
    pub limit: u32,
}

/// Whether anything was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what moved may have somebody waiting for it"]
pub enum Moved {
    /// The other end has something to see.
    Yes,
    /// All is as it was.
    No,
}

/// Proof that a `SeqCst` fence was passed since it was made.
#[derive(Debug)]
pub struct Fenced(());

/// The end that fills slots.
///
/// # Invariants
/// `prod − cons_seen ≤ slots`: the room it reports was really free.
#[derive(Clone, Copy, Debug)]
pub struct Producer {
    slots: Slots,
    /// Slots before this one are filled.
    prod: u32,
    published: u32,
    /// The consumer's index as last seen.
    cons_seen: u32,
}

/// The end that empties slots.
///
/// # Invariants
/// `prod_seen − cons ≤ slots`: what it reports as waiting was really published.
#[derive(Clone, Copy, Debug)]
pub struct Consumer {
    slots: Slots,
    /// Slots before this one are done with.
    cons: u32,
    published: u32,
    /// The producer's index as last seen.
    prod_seen: u32,
}

/// Slots in use between two free-running indices, if that is possible at all.
///
/// # Errors
/// [`Violation`].
#[inline(always)]
pub const fn used(slots: Slots, prod: u32, cons: u32) -> Result<u32, Violation> {
    let given = prod.wrapping_sub(cons);
    if given <= slots.get() { Ok(given) } else { Err(Violation { given, limit: slots.get() }) }
}

impl Fenced {
    /// Passes a fence of this memory's kind.
    #[inline(always)]
    pub fn by(memory: &(impl Memory + ?Sized)) -> Self {
        memory.fence();
        Self(())
    }
}

impl Moved {
    /// `Yes` if the two indices differ.
    const fn between(before: u32, after: u32) -> Self {
        if before == after { Self::No } else { Self::Yes }
    }

    /// Whether it is [`Moved::Yes`].
    #[must_use]
    pub const fn is_yes(self) -> bool {
        matches!(self, Self::Yes)
    }
}

impl Producer {
    /// The producer of a ring whose indices both are `start`: 0 in fresh memory.
    #[must_use]
    pub const fn new(slots: Slots, start: u32) -> Self {
        Self { slots, prod: start, published: start, cons_seen: start }
    }

    /// Free slots for certain, without a look at the consumer.
    #[must_use]
    #[inline(always)]
    pub const fn room_known(&self) -> u32 {
        self.slots.get() - self.prod.wrapping_sub(self.cons_seen)
    }

    /// Looks at the consumer's index, and returns the free slots.
    ///
    /// # Errors
    /// [`Violation`]; this end is left as it was.
    #[inline]
    pub fn look(&mut self, peer: &(impl Memory + ?Sized), cons_at: usize) -> Result<u32, Violation> {
        // Acquire: the consumer's reads of the slots it gave back come before our writes to them.
        let cons = peer.load_u32(cons_at, Ordering::Acquire);
        used(self.slots, self.prod, cons)?;
        self.cons_seen = cons;
        Ok(self.room_known())
    }

    /// Slots of the ring.
    #[must_use]
    #[inline(always)]
    pub const fn slots(&self) -> u32 {
        self.slots.get()
    }

    /// Filled slots that are not visible yet.
    #[must_use]
    #[inline(always)]
    pub const fn unpublished(&self) -> u32 {
        self.prod.wrapping_sub(self.published)
    }

    /// The next slot for filling, whether it is free or not.
    #[must_use]
    #[inline(always)]
    pub const fn peek(&self) -> u32 {
        self.slots.slot(self.prod)
    }

    /// Takes the next slot for filling; it is not visible before [`Producer::publish`].
    ///
    /// `None` if there is no room for certain.
    #[inline(always)]
    pub fn take(&mut self) -> Option<u32> {
        if self.room_known() == 0 {
            return None;
        }
        let slot = self.slots.slot(self.prod);
        self.prod = self.prod.wrapping_add(1);
        Some(slot)
    }

    /// Makes every filled slot visible.
    #[inline]
    pub fn publish(&mut self, own: &(impl Writable + ?Sized), prod_at: usize) -> Moved {
        let moved = Moved::between(self.published, self.prod);
        if moved.is_yes() {
            // Release: the slots are filled before the index says so.
            own.store_u32(prod_at, self.prod, Ordering::Release);
            self.published = self.prod;
        }
        moved
    }
}

impl Consumer {
    /// The consumer of a ring whose indices both are `start`: 0 in fresh memory.
    #[must_use]
    pub const fn new(slots: Slots, start: u32) -> Self {
        Self { slots, cons: start, published: start, prod_seen: start }
    }

    /// Slots of the ring.
    #[must_use]
    #[inline(always)]
    pub const fn slots(&self) -> u32 {
        self.slots.get()
    }

    /// Filled slots for certain, without a look at the producer.
    #[must_use]
    #[inline(always)]
    pub const fn waiting_known(&self) -> u32 {
        self.prod_seen.wrapping_sub(self.cons)
    }

    /// Looks at the producer's index, and returns the filled slots.
    ///
    /// # Errors
    /// [`Violation`]; this end is left as it was.
    #[inline]
    pub fn look(&mut self, peer: &(impl Memory + ?Sized), prod_at: usize) -> Result<u32, Violation> {
        // Acquire: the slots before this index are filled.
        let prod = peer.load_u32(prod_at, Ordering::Acquire);
        let waiting = used(self.slots, prod, self.cons)?;
        self.prod_seen = prod;
        Ok(waiting)
    }

    /// The slot `ahead` places after the next one, whether it is filled or not.
    #[must_use]
    #[inline(always)]
    pub const fn peek(&self, ahead: u32) -> u32 {
        self.slots.slot(self.cons.wrapping_add(ahead))
    }

    /// Is done with the next `count` slots, at most those that wait for certain.
    #[inline(always)]
    pub fn take(&mut self, count: u32) {
        let waiting = self.waiting_known();
        self.cons = self.cons.wrapping_add(if count < waiting { count } else { waiting });
    }

    /// Gives every slot that is done with back.
    #[inline]
    pub fn publish(&mut self, own: &(impl Writable + ?Sized), cons_at: usize) -> Moved {
        let moved = Moved::between(self.published, self.cons);
        if moved.is_yes() {
            // Release: our reads of the slots come before the producer's next writes.
            own.store_u32(cons_at, self.cons, Ordering::Release);
            self.published = self.cons;
        }
        moved
    }
}

/// The sleeper's first step: says what to be woken for. A [`Fenced`] and a last look at the other's index come next.
#[inline]
pub fn arm(own: &(impl Writable + ?Sized), flags_at: usize, flags: u32) {
    own.store_u32(flags_at, flags, Ordering::Relaxed);
}

/// The sleeper's last step: it is awake.
#[inline]
pub fn disarm(own: &(impl Writable + ?Sized), flags_at: usize) {
    own.store_u32(flags_at, 0, Ordering::Relaxed);
}

/// Which of `wanted` the other side sleeps for, after everything that could wake it was published and a fence passed.
#[must_use]
#[inline]
pub fn sleeps_for(peer: &(impl Memory + ?Sized), flags_at: usize, wanted: u32, _: &Fenced) -> u32 {
    peer.load_u32(flags_at, Ordering::Relaxed) & wanted
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an index says {} slots of {} are in use", self.given, self.limit)
    }
}

impl core::error::Error for Violation {}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::sync::atomic::AtomicU32;
    use std::vec::Vec;

    use super::*;

    const PROD: usize = 0;
    const CONS: usize = 4;

    fn slots() -> Slots {
        Slots::new(64).unwrap()
    }

    #[test]
    fn indices_run_over_the_end_of_u32() {
        let words = [AtomicU32::new(u32::MAX - 1), AtomicU32::new(u32::MAX - 1)];
        let memory = words.as_slice();
        let mut producer = Producer::new(slots(), u32::MAX - 1);
        let mut consumer = Consumer::new(slots(), u32::MAX - 1);
        for round in 0..4_u32 {
            let filled: Vec<u32> = core::iter::from_fn(|| producer.take()).collect();
            assert_eq!(filled.len(), 64, "round {round}");
            assert_eq!(producer.publish(memory, PROD), Moved::Yes);
            assert_eq!(producer.publish(memory, PROD), Moved::No);
            assert_eq!(producer.look(memory, CONS), Ok(0));
            assert_eq!(consumer.look(memory, PROD), Ok(64));
            let seen: Vec<u32> = (0..64).map(|ahead| consumer.peek(ahead)).collect();
            assert_eq!(seen, filled);
            consumer.take(64);
            assert_eq!(consumer.publish(memory, CONS), Moved::Yes);
            assert_eq!(producer.look(memory, CONS), Ok(64));
        }
    }

    #[test]
    fn an_index_beyond_the_ring_is_a_violation_and_changes_nothing() {
        let words = [AtomicU32::new(65), AtomicU32::new(1)];
        let memory = words.as_slice();
        let mut consumer = Consumer::new(slots(), 0);
        assert_eq!(consumer.look(memory, PROD), Err(Violation { given: 65, limit: 64 }));
        assert_eq!(consumer.waiting_known(), 0);
        let mut producer = Producer::new(slots(), 0);
        // One slot was never filled, and is given back: `0 − 1` slots in use.
        assert_eq!(producer.look(memory, CONS), Err(Violation { given: u32::MAX, limit: 64 }));
        assert_eq!(producer.room_known(), 64);
        words[0].store(64, Ordering::Relaxed);
        assert_eq!(consumer.look(memory, PROD), Ok(64));
        consumer.take(1000);
        assert_eq!(consumer.waiting_known(), 0, "no more is taken than waits");
    }

    #[test]
    fn a_flag_is_seen_by_whom_it_is_meant_for() {
        let words = [AtomicU32::new(0)];
        let memory = words.as_slice();
        arm(memory, 0, rx_flags::WAKE_ON_TX_SPACE);
        let fenced = Fenced::by(memory);
        assert_eq!(sleeps_for(memory, 0, rx_flags::WAKE_ON_RX, &fenced), 0);
        let both = rx_flags::WAKE_ON_RX | rx_flags::WAKE_ON_TX_SPACE;
        assert_eq!(sleeps_for(memory, 0, both, &fenced), rx_flags::WAKE_ON_TX_SPACE);
        disarm(memory, 0);
        assert_eq!(sleeps_for(memory, 0, both, &fenced), 0);
    }
}
