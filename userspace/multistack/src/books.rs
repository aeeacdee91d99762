//! What became of each packet of a session and of its tuples: counters, and the sums that must agree.
//!
//! ```text
//! read         tx_read = tx_sent + tx_hairpin + Σ tx_* drops
//! handed over          = rx_delivered + rx_ring_full + rx_stale + rx_unclaimed + rx_bad_ip_checksum + rx_too_long
//! ```
//!
//! A session's counters lie in its down region, where the application reads them too. Those of its tuples lie in memory
//! of the daemon's own: one page for each tuple and channel, written by that channel's worker alone, read by anybody
//! who has the memory, while nobody waits for anybody. A packet is counted for its tuple where that was found; one
//! that was refused before is in the session's counters alone, so that no tuple pays for another's.
//!
//! Books are kept, not judged: what is counted as what, others say.
use core::sync::atomic::{Ordering, fence};

use abi::counter::Role;
use abi::shm::counter::{ChannelCounter, SPACE};
use abi::shm::memory::{Memory, Writable};

use crate::registry::SESSION_TUPLES;

/// Tuple number of a packet whose tuple is not known. No tuple has it.
pub const NO_TUPLE: u16 = u16::MAX;

/// Bytes of one tuple's page: whose it is, then its counters.
const PAGE: usize = 256;

/// Where the counters of a page begin; before them the tuple's number plus one, 0 for nobody's.
const COUNTERS: usize = 8;

const _: () = assert!(COUNTERS + ChannelCounter::COUNT * 8 <= PAGE && ChannelCounter::COUNT <= SPACE);

/// The values of all counters.
pub type Counts = [u64; ChannelCounter::COUNT];

/// Bytes of the memory in which a session keeps the books of its tuples. Pages of tuples that it does not have are never
/// touched.
#[must_use]
pub const fn size(channels: u16) -> usize {
    channels as usize * SESSION_TUPLES * PAGE
}

/// Where a tuple's page lies.
const fn page(channel: u16, tuple: u16) -> usize {
    // No two tuples of a session share a number modulo `SESSION_TUPLES`.
    (channel as usize * SESSION_TUPLES + tuple as usize % SESSION_TUPLES) * PAGE
}

/// What was counted for a session or for one of its tuples, at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Book(Counts);

/// Books that do not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{read} packets were read, {ended} of them have an end")]
pub struct Imbalance {
    /// `tx_read`.
    pub read: u64,
    /// Those that were sent, handed over or dropped.
    pub ended: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self([0; ChannelCounter::COUNT])
    }
}

impl Book {
    /// The book with these values, in the order of [`ChannelCounter::ALL`]; what is missing is 0.
    pub fn from_counts(counts: impl IntoIterator<Item = u64>) -> Self {
        let mut book = Self::default();
        book.0.iter_mut().zip(counts).for_each(|(own, count)| *own = count);
        book
    }

    /// Adds a packet.
    pub const fn count(&mut self, counter: ChannelCounter) {
        self.0[counter.index()] += 1;
    }

    /// The value of a counter.
    #[must_use]
    pub const fn get(&self, counter: ChannelCounter) -> u64 {
        self.0[counter.index()]
    }

    /// Every counter and its value.
    pub fn rows(&self) -> impl Iterator<Item = (ChannelCounter, u64)> + '_ {
        ChannelCounter::ALL.iter().map(|&counter| (counter, self.get(counter)))
    }

    /// Adds what another book has: the same session on another worker.
    pub fn add(&mut self, other: &Self) {
        for (own, more) in self.0.iter_mut().zip(&other.0) {
            *own += more;
        }
    }

    /// How many packets the session was handed, whatever became of them.
    #[must_use]
    pub fn handed_over(&self) -> u64 {
        self.sum(|counter| counter.name().starts_with("rx_"))
    }

    /// Whether every packet that was read has exactly one end.
    ///
    /// # Errors
    /// [`Imbalance`].
    pub fn balance(&self) -> Result<(), Imbalance> {
        let read = self.get(ChannelCounter::TxRead);
        let ended = self.sum(|c| c.name().starts_with("tx_") && c.role() != Role::Submitted);
        if read == ended { Ok(()) } else { Err(Imbalance { read, ended }) }
    }

    fn sum(&self, which: impl Fn(ChannelCounter) -> bool) -> u64 {
        self.rows().filter(|&(counter, _)| which(counter)).map(|(_, n)| n).sum()
    }
}

/// The book of a tuple on one channel; empty if the page is another's.
#[must_use]
pub fn book_of(memory: &(impl Memory + ?Sized), channel: u16, tuple: u16) -> Book {
    let at = page(channel, tuple);
    if memory.load_u64(at) != owner(tuple) {
        return Book::default();
    }
    // What is read after the owner was seen is not older than it.
    fence(Ordering::Acquire);
    Book(core::array::from_fn(|index| memory.load_u64(at + COUNTERS + 8 * index)))
}

/// Says that a tuple's page is nobody's, because the tuple is released: whoever gets its number begins anew.
pub fn forget(memory: &(impl Writable + ?Sized), channel: u16, tuple: u16) {
    memory.store_u64(page(channel, tuple), 0);
}

const fn owner(tuple: u16) -> u64 {
    tuple as u64 + 1
}

/// A worker's end of the books of one channel.
///
/// It is told the session's counters now and then, and adds what they grew by to the tuple that the packets were of: a
/// burst for one tuple costs one addition for each counter that moved, not one for each packet.
#[derive(Debug)]
pub(crate) struct Pages<M> {
    memory: M,
    channel: u16,
    /// The session's counters when it was told last.
    settled: Counts,
}

impl<M: Writable> Pages<M> {
    /// Pages of zeros; `None` if the memory has no room for this channel's.
    pub(crate) fn new(memory: M, channel: u16) -> Option<Self> {
        let need = size(channel.checked_add(1)?);
        (need <= memory.size()).then_some(Self { memory, channel, settled: [0; ChannelCounter::COUNT] })
    }

    /// What the session's counters grew by since the last call was for `tuple`. Only those counters are looked at whose
    /// bit is set in `moved`.
    #[inline]
    pub(crate) fn settle(&mut self, tuple: u16, counters: &Counts, moved: u64) {
        let at = page(self.channel, tuple);
        if tuple != NO_TUPLE && moved != 0 && self.memory.load_u64(at) != owner(tuple) {
            self.begin(at, tuple);
        }
        let mut left = moved;
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            let more = counters[index] - self.settled[index];
            self.settled[index] = counters[index];
            if tuple != NO_TUPLE {
                let at = at + COUNTERS + 8 * index;
                self.memory.store_u64(at, self.memory.load_u64(at) + more);
            }
        }
    }

    /// A tuple's first packets: what an earlier one in the same place had is gone with it.
    #[cold]
    fn begin(&self, at: usize, tuple: u16) {
        (0..ChannelCounter::COUNT).for_each(|index| self.memory.store_u64(at + COUNTERS + 8 * index, 0));
        fence(Ordering::Release);
        self.memory.store_u64(at, owner(tuple));
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU32;

    use super::*;
    use ChannelCounter::{RxDelivered, TxRead, TxSent};

    const CHANNELS: u16 = 2;

    fn memory() -> Box<[AtomicU32]> {
        (0..size(CHANNELS) / 4).map(|_| AtomicU32::new(0)).collect()
    }

    /// The counters of a session that counts for a tuple, as a channel drives them.
    struct Session<'a> {
        pages: Pages<&'a [AtomicU32]>,
        counters: Counts,
    }

    impl Session<'_> {
        fn count(&mut self, tuple: u16, counters: &[ChannelCounter]) {
            let mut moved = 0;
            for counter in counters {
                self.counters[counter.index()] += 1;
                moved |= 1 << counter.index();
            }
            self.pages.settle(tuple, &self.counters, moved);
        }
    }

    fn session(memory: &[AtomicU32], channel: u16) -> Session<'_> {
        let pages = Pages::new(memory, channel).expect("room");
        Session { pages, counters: [0; ChannelCounter::COUNT] }
    }

    #[test]
    fn every_tx_counter_is_an_end_or_the_beginning_and_every_rx_counter_is_handed_over() {
        for &counter in ChannelCounter::ALL {
            let mut book = Book::default();
            book.count(counter);
            let name = counter.name();
            assert_eq!(book.handed_over(), u64::from(name.starts_with("rx_")), "{name}");
            assert_eq!(book.balance().is_err(), name.starts_with("tx_"), "{name}");
        }
    }

    #[test]
    fn a_packet_that_was_read_has_one_end() {
        let mut book = Book::default();
        let ends = |c: &&ChannelCounter| c.name().starts_with("tx_") && c.role() != Role::Submitted;
        for &end in ChannelCounter::ALL.iter().filter(ends) {
            book.count(TxRead);
            book.count(end);
        }
        assert_eq!(book.balance(), Ok(()));
        book.count(TxSent);
        let imbalance = book.balance().unwrap_err();
        assert_eq!(imbalance.to_string(), "14 packets were read, 15 of them have an end");
    }

    #[test]
    fn a_tuple_has_its_own_packets_and_a_successor_none_of_them() {
        let memory = memory();
        let mut session = session(&memory, 1);
        session.count(7, &[TxRead, TxSent]);
        session.count(NO_TUPLE, &[TxRead, ChannelCounter::TxNotOwner]);
        session.count(8, &[RxDelivered]);
        session.count(7, &[TxRead, TxSent]);
        let get = |tuple, counter| book_of(&*memory, 1, tuple).get(counter);
        assert_eq!([7, 8, 9].map(|tuple| get(tuple, TxRead)), [2, 0, 0]);
        assert_eq!([7, 8, 9].map(|tuple| get(tuple, RxDelivered)), [0, 1, 0]);
        assert_eq!(get(NO_TUPLE, TxRead), 0);
        assert_eq!(book_of(&*memory, 0, 7), Book::default(), "the other channel's");
        // Another number in the same place, and the same number given again.
        let successor = 7 + SESSION_TUPLES as u16;
        session.count(successor, &[RxDelivered]);
        assert_eq!([get(7, TxRead), get(successor, TxRead), get(successor, RxDelivered)], [0, 0, 1]);
        forget(&*memory, 1, successor);
        assert_eq!(get(successor, RxDelivered), 0);
        session.count(successor, &[TxRead, TxSent]);
        assert_eq!([get(successor, RxDelivered), get(successor, TxRead)], [0, 1]);
    }

    #[test]
    fn pages_of_all_tuples_lie_in_the_memory_and_apart() {
        let memory = memory();
        let last = SESSION_TUPLES as u16 - 1;
        for channel in 0..CHANNELS {
            let mut session = session(&memory, channel);
            for tuple in [0, last] {
                session.count(tuple, ChannelCounter::ALL);
            }
        }
        for (channel, tuple) in (0..CHANNELS).flat_map(|channel| [(channel, 0), (channel, last)]) {
            let book = book_of(&*memory, channel, tuple);
            assert!(book.rows().all(|(_, n)| n == 1), "{channel} {tuple}: {book:?}");
        }
        assert!(Pages::new(&*memory, CHANNELS).is_none());
    }

    #[test]
    fn books_of_several_workers_add_up() {
        let (mut all, mut other) = (Book::default(), Book::default());
        all.count(RxDelivered);
        other.count(RxDelivered);
        other.count(ChannelCounter::RxRingFull);
        all.add(&other);
        assert_eq!((all.get(RxDelivered), all.handed_over()), (2, 3));
    }
}
