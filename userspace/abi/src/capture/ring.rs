//! The two ends of a capture's ring: records of any length in a power of two of bytes.
//!
//! Each end keeps an index of its own, which is the truth. The writer believes the reader's index as far as it is
//! possible, and no further: nonsense means no room. The reader copies a record out before it looks, and refuses one
//! that cannot be.
use core::sync::atomic::Ordering;

use zerocopy::{FromBytes, IntoBytes};

use super::{Counts, Line, RECORD, Record, RingAt};
use crate::shm::memory::{Memory, Writable};

/// Bytes that every record begins on.
const UNIT: u32 = 8;

/// The end of a worker.
///
/// # Invariants
/// `published ≤ prod`, and bytes from `prod` on are the worker's as far as `room` says: it alone writes the ring.
#[derive(Debug)]
pub struct Writer<D, U> {
    down: D,
    up: U,
    at: RingAt,
    prod: u32,
    published: u32,
    /// The reader's index as last seen.
    cons_seen: u32,
    counts: [Counts; Line::COUNT],
}

/// A record that lies in the ring and does not count yet: dropping it leaves the ring as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged(u32);

/// The end of the program that captures.
#[derive(Debug)]
pub struct Reader {
    at: RingAt,
    cons: u32,
    /// The writer's index as last seen.
    prod_seen: u32,
}

/// The ring says what cannot be: whoever wrote it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonsense {
    /// Where.
    pub at: u32,
}

impl<D: Writable, U: Memory> Writer<D, U> {
    /// The writing end of a fresh ring.
    pub const fn new(down: D, up: U, at: RingAt) -> Self {
        let counts = [Counts { taken: 0, lost: 0 }; Line::COUNT];
        Self { down, up, at, prod: 0, published: 0, cons_seen: 0, counts }
    }

    /// Writes a record and the bytes of its packet behind everything that was committed; `None` if there is no room.
    ///
    /// [`Record::size`] and [`Record::captured`] are filled in here.
    #[inline]
    pub fn stage(&mut self, record: Record, packet: &[u8]) -> Option<Staged> {
        let captured = u16::try_from(packet.len()).ok()?;
        let need = (RECORD as u32 + u32::from(captured)).next_multiple_of(UNIT);
        let left = self.at.bytes - (self.prod & (self.at.bytes - 1));
        let skip = if left < need { left } else { 0 };
        if self.room(skip + need) < skip + need {
            return None;
        }
        if skip != 0 {
            let over = Record { size: skip, ..Record::default() };
            // What is left may be shorter than a record: its first word and the point are all that is read.
            self.down.copy_in(self.at.byte(self.prod), over.as_bytes().get(..UNIT as usize)?);
        }
        let at = self.at.byte(self.prod.wrapping_add(skip));
        self.down.copy_in(at, Record { size: need, captured, ..record }.as_bytes());
        self.down.copy_in(at + RECORD, packet);
        Some(Staged(skip + need))
    }

    /// Bytes that are free; looks at the reader's index if there seem to be fewer than `want`.
    #[inline]
    fn room(&mut self, want: u32) -> u32 {
        let size = self.at.bytes;
        let known = size - self.prod.wrapping_sub(self.cons_seen);
        if want <= known {
            return known;
        }
        // Acquire: the reader's reads of the bytes it gave back come before our writes to them.
        let cons = self.up.load_u32(self.at.cons, Ordering::Acquire);
        let used = self.prod.wrapping_sub(cons);
        if size < used {
            return 0;
        }
        self.cons_seen = cons;
        size - used
    }

    /// Makes a staged record the last one.
    #[inline]
    pub fn commit(&mut self, staged: Staged) {
        self.prod = self.prod.wrapping_add(staged.0);
    }

    /// Shows everything that was committed.
    #[inline]
    pub fn publish(&mut self) {
        if self.published != self.prod {
            // Release: the records are there before the index says so.
            self.down.store_u32(self.at.prod(), self.prod, Ordering::Release);
            self.published = self.prod;
        }
    }

    /// Counts a packet that was put into the ring.
    #[inline]
    pub fn took(&mut self, line: Line) {
        let counts = &mut self.counts[line.index()];
        counts.taken += 1;
        self.down.store_u64(self.at.counts(line), counts.taken);
    }

    /// Counts a packet for which there was no room.
    #[inline]
    pub fn lost(&mut self, line: Line) {
        let counts = &mut self.counts[line.index()];
        counts.lost += 1;
        self.down.store_u64(self.at.counts(line) + 8, counts.lost);
    }
}

impl Reader {
    /// The reading end of a fresh ring.
    #[must_use]
    pub const fn new(at: RingAt) -> Self {
        Self { at, cons: 0, prod_seen: 0 }
    }

    /// The next record, if one is there; it stays the next until [`Reader::take`].
    ///
    /// # Errors
    /// [`Nonsense`].
    pub fn peek(&mut self, down: &(impl Memory + ?Sized)) -> Result<Option<Record>, Nonsense> {
        loop {
            let waits = self.waits(down)?;
            if waits == 0 {
                return Ok(None);
            }
            let mut bytes = [0; RECORD];
            let head = bytes.get_mut(..(waits as usize).min(RECORD)).unwrap_or_default();
            // At the ring's end there may be less than a record, which then is to be skipped.
            let till_end = self.at.bytes - (self.cons & (self.at.bytes - 1));
            let len = head.len().min(till_end as usize);
            down.copy_out(self.at.byte(self.cons), &mut head[..len]);
            let Ok(record) = Record::read_from_bytes(&bytes) else { return Err(self.nonsense()) };
            let possible = UNIT <= record.size && record.size <= waits && record.size.is_multiple_of(UNIT);
            if !possible {
                return Err(self.nonsense());
            }
            if record.point != 0 {
                let bytes = RECORD as u32 + u32::from(record.captured);
                let whole = bytes <= record.size && record.size <= till_end;
                return if whole { Ok(Some(record)) } else { Err(self.nonsense()) };
            }
            self.cons = self.cons.wrapping_add(record.size);
        }
    }

    /// Copies the bytes of the record that was peeked at out, as many as `into` holds, and goes on to the next one.
    pub fn take(&mut self, down: &(impl Memory + ?Sized), record: &Record, into: &mut [u8]) {
        let len = into.len().min(usize::from(record.captured));
        if let Some(into) = into.get_mut(..len) {
            down.copy_out(self.at.byte(self.cons) + RECORD, into);
        }
        self.cons = self.cons.wrapping_add(record.size);
    }

    /// Gives everything that was taken back to the writer.
    pub fn publish(&self, up: &(impl Writable + ?Sized)) {
        // Release: our reads come before the writer's next writes.
        up.store_u32(self.at.cons, self.cons, Ordering::Release);
    }

    fn waits(&mut self, down: &(impl Memory + ?Sized)) -> Result<u32, Nonsense> {
        if self.prod_seen == self.cons {
            // Acquire: the records before this index are there.
            self.prod_seen = down.load_u32(self.at.prod(), Ordering::Acquire);
        }
        let waits = self.prod_seen.wrapping_sub(self.cons);
        if waits <= self.at.bytes { Ok(waits) } else { Err(self.nonsense()) }
    }

    const fn nonsense(&self) -> Nonsense {
        Nonsense { at: self.cons }
    }
}

#[cfg(test)]
mod tests;
