//! Scratch rings: bounded queues from one engine to one other, as the IXP's scratchpad rings joined microengines.
//!
//! ```text
//!  slots   [ . . C x x x x x P . . . ]      C = head: next to be taken, advanced by the consumer alone
//!                  └─ waiting ─┘            P = tail: next to be filled, advanced by the producer alone
//! ```
//!
//! Head and tail run freely in `usize` and are masked only to reach a slot, so full (`tail - head == capacity`) and
//! empty (`tail == head`) differ without a spare slot. Each side keeps a private copy of the other's index and
//! looks at the shared one only when the copy says that it cannot go on: a burst costs one cache line from the
//! other core, not one for each item.
//!
//! A ring never blocks, never allocates after it was made, and cannot be shared by two producers or two consumers:
//! its halves are values that can be moved and not cloned.
#![allow(unsafe_code, reason = "slots are shared by two threads; the indices say whose each one is")]

use std::mem::MaybeUninit;

use thiserror::Error;

use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// Most slots of a ring.
pub const MAX_SLOTS: usize = 1 << 20;

/// A ring of this size cannot be made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{given} slots are not a power of two up to {limit}")]
pub struct RingSize {
    /// What was asked for.
    pub given: usize,
    /// [`MAX_SLOTS`].
    pub limit: usize,
}

/// Kept apart so that the two sides do not write to one cache line (128: the adjacent-line prefetcher pairs 64s).
#[repr(align(128))]
struct Apart<T>(T);

struct Ring<T> {
    /// Written by the producer: slots before it are filled.
    tail: Apart<AtomicUsize>,
    /// Written by the consumer: slots before it are free again.
    head: Apart<Taken>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

struct Taken {
    head: AtomicUsize,
    /// Most items the consumer ever saw waiting.
    high_water: AtomicUsize,
}

// SAFETY: a slot is reached by the producer while `tail <= index < head + capacity` and by the consumer while
// `head <= index < tail`; these never overlap, and the Release and Acquire on the index between them hand the
// slot's value from one thread to the other, for which `T: Send` is enough.
unsafe impl<T: Send> Sync for Ring<T> {}

/// The half that fills a ring.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    tail: usize,
    /// The consumer's head as last seen: it can only have moved on.
    head_seen: usize,
}

/// The half that empties a ring.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    head: usize,
    /// The producer's tail as last seen: it can only have moved on.
    tail_seen: usize,
    high_water: usize,
}

/// A look at a ring from outside.
pub struct Level<T> {
    ring: Arc<Ring<T>>,
}

/// Makes a ring of `slots` slots and returns its two halves.
///
/// # Errors
/// [`RingSize`] if `slots` is not a power of two, or above [`MAX_SLOTS`].
pub fn ring<T>(slots: usize) -> Result<(Producer<T>, Consumer<T>), RingSize> {
    ring_at(slots, 0)
}

/// A ring whose indices begin at `start`: tests let them run over the end of `usize`.
fn ring_at<T>(slots: usize, start: usize) -> Result<(Producer<T>, Consumer<T>), RingSize> {
    if !slots.is_power_of_two() || MAX_SLOTS < slots {
        return Err(RingSize { given: slots, limit: MAX_SLOTS });
    }
    let taken = Taken { head: AtomicUsize::new(start), high_water: AtomicUsize::new(0) };
    let ring = Arc::new(Ring {
        tail: Apart(AtomicUsize::new(start)),
        head: Apart(taken),
        slots: (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let producer = Producer { ring: Arc::clone(&ring), tail: start, head_seen: start };
    Ok((producer, Consumer { ring, head: start, tail_seen: start, high_water: 0 }))
}

impl<T> Ring<T> {
    fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The slot of a free-running index. The mask keeps it inside whatever the index is.
    #[inline(always)]
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }

    fn len(&self) -> usize {
        // Head first: read after it, the tail cannot be behind.
        let head = self.head.0.head.load(Ordering::Acquire);
        self.tail.0.load(Ordering::Acquire).wrapping_sub(head).min(self.capacity())
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let mut index = self.head.0.head.load(Ordering::Acquire);
        let tail = self.tail.0.load(Ordering::Acquire);
        while index != tail {
            // SAFETY: `head <= index < tail`, so this slot is filled and nobody has taken it; both halves are gone.
            self.slot(index).with_mut(|slot| drop(unsafe { slot.cast::<T>().read() }));
            index = index.wrapping_add(1);
        }
    }
}

impl<T> Producer<T> {
    /// Room for how many items there is at least; looks at the consumer's index if there seems to be less than
    /// `want`.
    #[inline]
    fn room(&mut self, want: usize) -> usize {
        let capacity = self.ring.capacity();
        let known = capacity - self.tail.wrapping_sub(self.head_seen);
        if want <= known {
            return known;
        }
        // Acquire: the consumer's reads of the slots it gave back come before our writes to them.
        self.head_seen = self.ring.head.0.head.load(Ordering::Acquire);
        capacity - self.tail.wrapping_sub(self.head_seen)
    }

    /// Writes a slot that is free; it is not visible before `publish`.
    #[inline]
    fn write(&mut self, item: T) {
        self.ring.slot(self.tail).with_mut(|slot| {
            // SAFETY: `room` found `tail < head + capacity`, so the consumer is done with this slot, and this is
            // the only producer.
            unsafe { slot.cast::<T>().write(item) };
        });
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    fn publish(&self) {
        // Release: the items are there before the index says so.
        self.ring.tail.0.store(self.tail, Ordering::Release);
    }

    /// Puts one item in.
    ///
    /// # Errors
    /// The item, if the ring is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.room(1) == 0 {
            return Err(item);
        }
        self.write(item);
        self.publish();
        Ok(())
    }

    /// Moves items from the front of `items` in, as many as fit, and returns how many; one look, one publication.
    #[inline]
    pub fn push_burst(&mut self, items: &mut Vec<T>) -> usize {
        let count = self.room(items.len()).min(items.len());
        if count == 0 {
            return 0;
        }
        for item in items.drain(..count) {
            self.write(item);
        }
        self.publish();
        count
    }

    /// A look at this ring from outside.
    #[must_use]
    pub fn level(&self) -> Level<T> {
        Level { ring: Arc::clone(&self.ring) }
    }
}

impl<T> Consumer<T> {
    /// How many items wait at least; looks at the producer's index if there seem to be fewer than `want`.
    #[inline]
    fn waiting(&mut self, want: usize) -> usize {
        let known = self.tail_seen.wrapping_sub(self.head);
        if want <= known {
            return known;
        }
        // Acquire: the items before this index are there.
        self.tail_seen = self.ring.tail.0.load(Ordering::Acquire);
        let waiting = self.tail_seen.wrapping_sub(self.head);
        if self.high_water < waiting {
            self.high_water = waiting;
            self.ring.head.0.high_water.store(waiting, Ordering::Relaxed);
        }
        waiting
    }

    /// Takes the next item; its slot is not given back before `release`.
    #[inline]
    fn read(&mut self) -> T {
        // SAFETY: `waiting` found `head < tail`, so the slot is filled; it is read once, as `head` moves past it,
        // and this is the only consumer.
        let item = self.ring.slot(self.head).with_mut(|slot| unsafe { slot.cast::<T>().read() });
        self.head = self.head.wrapping_add(1);
        item
    }

    #[inline]
    fn release(&self) {
        // Release: our reads of the slots come before the producer's next writes.
        self.ring.head.0.head.store(self.head, Ordering::Release);
    }

    /// Takes one item out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.waiting(1) == 0 {
            return None;
        }
        let item = self.read();
        self.release();
        Some(item)
    }

    /// Appends at most `max` items to `into` and returns how many; one look, one release.
    #[inline]
    pub fn pop_burst(&mut self, into: &mut Vec<T>, max: usize) -> usize {
        let count = self.waiting(max).min(max);
        if count == 0 {
            return 0;
        }
        into.extend((0..count).map(|_| self.read()));
        self.release();
        count
    }

    /// Items waiting now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether nothing waits now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A look at this ring from outside.
    #[must_use]
    pub fn level(&self) -> Level<T> {
        Level { ring: Arc::clone(&self.ring) }
    }
}

impl<T> Level<T> {
    /// Items waiting now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ring.len()
    }

    /// Slots.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Most items that the consumer ever found waiting.
    #[must_use]
    pub fn high_water(&self) -> usize {
        self.ring.head.0.high_water.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
