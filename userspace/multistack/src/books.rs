//! What became of each packet of a session and of its tuples, on one worker: counters, and the sums that must agree.
//!
//! ```text
//! read         tx_read = tx_sent + tx_hairpin + Σ tx_* drops
//! handed over          = rx_delivered + rx_ring_full + rx_stale + rx_unclaimed + rx_bad_ip_checksum + rx_too_long
//! ```
//!
//! Books are kept, not judged: what is counted as what, others say. A tuple's book has those packets whose tuple was
//! found; a packet that was refused before that is in the session's alone, so that no tuple pays for another's.
use abi::counter::Role;
use abi::shm::counter::ChannelCounter;

use crate::registry::SESSION_TUPLES;

/// The counters of a session on one worker, or of one of its tuples there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book([u64; ChannelCounter::COUNT]);

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
    /// Adds a packet.
    #[inline]
    pub const fn count(&mut self, counter: ChannelCounter) {
        self.0[counter.index()] += 1;
    }

    /// The value of a counter.
    #[must_use]
    #[inline]
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

/// The books of a session on one worker.
#[derive(Debug, Default)]
pub struct Books {
    session: Book,
    /// By the tuple's number modulo [`SESSION_TUPLES`], which no two tuples of a session share.
    tuples: Vec<Option<(u16, Book)>>,
}

impl Books {
    /// Opens a book for a tuple: before its first packet, never for one.
    ///
    /// An earlier tuple with the same place loses its book; its packets stay in the session's.
    pub fn open(&mut self, tuple: u16) {
        let place = place(tuple);
        if self.tuples.len() <= place {
            self.tuples.resize(place + 1, None);
        }
        self.tuples[place] = Some((tuple, Book::default()));
    }

    /// Closes a tuple's book.
    pub fn close(&mut self, tuple: u16) {
        if self.book(tuple).is_some() {
            self.tuples[place(tuple)] = None;
        }
    }

    /// Counts a packet, for its tuple too if that is known and has a book.
    #[inline]
    pub fn count(&mut self, counter: ChannelCounter, tuple: Option<u16>) {
        self.session.count(counter);
        if let Some(book) = tuple.and_then(|tuple| self.book(tuple)) {
            book.count(counter);
        }
    }

    /// Counts a packet that was read from the application's ring, and its end.
    #[inline]
    pub fn count_read(&mut self, end: ChannelCounter, tuple: Option<u16>) {
        self.count(ChannelCounter::TxRead, tuple);
        self.count(end, tuple);
    }

    /// The session's own book.
    #[must_use]
    pub const fn session(&self) -> &Book {
        &self.session
    }

    /// The books of its tuples, by place.
    pub fn tuples(&self) -> impl Iterator<Item = (u16, &Book)> {
        self.tuples.iter().flatten().map(|(tuple, book)| (*tuple, book))
    }

    #[inline]
    fn book(&mut self, tuple: u16) -> Option<&mut Book> {
        let entry = self.tuples.get_mut(place(tuple))?.as_mut();
        entry.filter(|(owner, _)| *owner == tuple).map(|(_, book)| book)
    }
}

#[inline]
const fn place(tuple: u16) -> usize {
    tuple as usize % SESSION_TUPLES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tx_counter_is_an_end_or_the_beginning_and_every_rx_counter_is_handed_over() {
        for &counter in ChannelCounter::ALL {
            let mut books = Books::default();
            books.count(counter, None);
            let (name, book) = (counter.name(), books.session());
            assert_eq!(book.handed_over(), u64::from(name.starts_with("rx_")), "{name}");
            assert_eq!(book.balance().is_err(), name.starts_with("tx_"), "{name}");
        }
    }

    #[test]
    fn a_packet_that_was_read_has_one_end() {
        let mut books = Books::default();
        let ends = |c: &&ChannelCounter| c.name().starts_with("tx_") && c.role() != Role::Submitted;
        for &end in ChannelCounter::ALL.iter().filter(ends) {
            books.count_read(end, None);
        }
        assert_eq!(books.session().balance(), Ok(()));
        books.count(ChannelCounter::TxSent, None);
        let imbalance = books.session().balance().unwrap_err();
        assert_eq!(imbalance.to_string(), "14 packets were read, 15 of them have an end");
    }

    #[test]
    fn a_tuple_has_its_own_packets_and_a_successor_none_of_them() {
        let mut books = Books::default();
        books.open(7);
        books.count_read(ChannelCounter::TxSent, Some(7));
        books.count_read(ChannelCounter::TxNotOwner, None);
        books.count(ChannelCounter::RxDelivered, Some(8));
        let tuple = |books: &Books, c| books.tuples().map(|(n, book)| (n, book.get(c))).collect::<Vec<_>>();
        assert_eq!(tuple(&books, ChannelCounter::TxRead), [(7, 1)]);
        assert_eq!(tuple(&books, ChannelCounter::RxDelivered), [(7, 0)]);
        assert_eq!(books.session().get(ChannelCounter::TxRead), 2);
        let successor = 7 + SESSION_TUPLES as u16;
        books.open(successor);
        books.count_read(ChannelCounter::TxSent, Some(7));
        assert_eq!(tuple(&books, ChannelCounter::TxRead), [(successor, 0)]);
        books.close(7);
        assert_eq!(books.tuples().count(), 1);
        books.close(successor);
        assert_eq!(books.tuples().count(), 0);
        assert_eq!(books.session().get(ChannelCounter::TxRead), 3);
    }

    #[test]
    fn books_of_several_workers_add_up() {
        let (mut all, mut other) = (Book::default(), Book::default());
        all.count(ChannelCounter::RxDelivered);
        other.count(ChannelCounter::RxDelivered);
        other.count(ChannelCounter::RxRingFull);
        all.add(&other);
        assert_eq!((all.get(ChannelCounter::RxDelivered), all.handed_over()), (2, 3));
    }
}
