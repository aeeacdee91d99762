//! Packets that come back with the mark of the filter that judged them: what was sent, and what became of it.
//!
//! Pure. A packet counts as back only if it is right to the byte, checksums and all, but for which of the marks it has.
use anyhow::Result;
use octroi_tests::lab::{Flow, Pair, Stamp, frame::V4_HEADERS};

use super::{ECHO, mixture::SPORT};

/// Bytes of payload: one for the mark, and those that say which packet it is.
const PAYLOAD: usize = 64;

/// The mark that packets are sent with.
const UNJUDGED: u8 = b'?';

/// Those that filters `a` and `b` write over it.
const MARKS: [u8; 2] = [b'A', b'B'];

/// UDP's number in IPv4.
const UDP: u8 = 17;

/// Flows that take turns.
const FLOWS: u16 = 8;

/// What became of the packets, by their own account.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Sent so far.
    pub(super) sent: u64,
    /// Those that came back right and in order, by mark: A and B.
    pub(super) marked: [u64; 2],
    /// Came back before one that was sent earlier, or once more.
    pub(super) out_of_order: u64,
    /// Came and are none of ours, or have another byte changed.
    pub(super) foreign: u64,
}

/// What was sent, and what came back.
pub(super) struct Book {
    flows: Vec<Flow>,
    /// The least number that has not come back, if none is lost.
    next: u64,
    /// What became of all so far.
    pub(super) tally: Tally,
}

impl Book {
    /// Nothing sent yet, of flows between these ends of a pair.
    pub(super) fn new(pair: &Pair) -> Self {
        Self::of((0..FLOWS).map(|n| Flow::v4(&pair.peer, SPORT + n, &pair.served, ECHO)).collect())
    }

    fn of(flows: Vec<Flow>) -> Self {
        Self { flows, next: 0, tally: Tally::default() }
    }

    /// The next packet to be sent, which counts as sent.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn next_packet(&mut self) -> Result<Vec<u8>> {
        let packet = self.packet(self.tally.sent)?;
        self.tally.sent += 1;
        Ok(packet)
    }

    /// The packet of this number.
    fn packet(&self, number: u64) -> Result<Vec<u8>> {
        self.flow(number).udp(&[], &payload(UNJUDGED, number))
    }

    fn flow(&self, number: u64) -> Flow {
        self.flows[(number % u64::from(FLOWS)) as usize]
    }

    /// Enters a frame that came.
    ///
    /// # Errors
    /// What it must be like cannot be written.
    pub(super) fn take(&mut self, frame: &[u8]) -> Result<()> {
        // Pings and TCP are the OS's.
        if frame.get(12..14) != Some(&[8, 0]) || frame.get(23) != Some(&UDP) {
            return Ok(());
        }
        let Some((number, mark)) = self.identify(frame)? else {
            self.tally.foreign += 1;
            return Ok(());
        };
        if number < self.next {
            self.tally.out_of_order += 1;
            return Ok(());
        }
        self.next = number + 1;
        self.tally.marked[mark] += 1;
        Ok(())
    }

    /// The number of the packet that this answers, and which mark it has, if it is right to the byte.
    fn identify(&self, frame: &[u8]) -> Result<Option<(u64, usize)>> {
        let Some((mark, stamp)) = frame.get(V4_HEADERS..).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let stamp = Stamp::read(stamp).filter(|stamp| stamp.sequence < self.tally.sent);
        let (Some(stamp), Some(which)) = (stamp, MARKS.iter().position(|known| known == mark)) else {
            return Ok(None);
        };
        let answer = self.flow(stamp.sequence).reversed().udp(&[], &payload(*mark, stamp.sequence))?;
        Ok((answer == frame).then_some((stamp.sequence, which)))
    }
}

impl Tally {
    /// Those that came back right and in order, whatever their mark.
    pub(super) fn back(&self) -> u64 {
        self.marked.iter().sum()
    }
}

fn payload(mark: u8, number: u64) -> Vec<u8> {
    let stamp = Stamp { flow: 0, sequence: number };
    [&[mark], &stamp.payload(PAYLOAD - 1)[..]].concat()
}

#[cfg(test)]
mod tests {
    use octroi_tests::lab::Mac;

    use super::*;

    fn book() -> Book {
        let flow = |n| Flow {
            from_mac: Mac([2, 0, 0, 0, 0, 1]),
            to_mac: Mac([2, 0, 0, 0, 0, 2]),
            from: ([10, 77, 0, 101], SPORT + n).into(),
            to: ([10, 77, 0, 2], ECHO).into(),
        };
        let mut book = Book::of((0..FLOWS).map(flow).collect());
        (0..20).for_each(|_| drop(book.next_packet().unwrap()));
        book
    }

    fn taken(frames: impl IntoIterator<Item = (u64, u8)>) -> Tally {
        let mut book = book();
        for (number, mark) in frames {
            let frame = book.flow(number).reversed().udp(&[], &payload(mark, number)).unwrap();
            book.take(&frame).unwrap();
        }
        book.tally
    }

    #[test]
    fn marks_are_counted_and_what_is_wrong_is_seen() {
        let tally = taken([(0, b'A'), (1, b'B'), (2, b'B')]);
        assert_eq!((tally.marked, tally.out_of_order, tally.foreign), ([1, 2], 0, 0));
        let tally = taken([(0, b'A'), (0, b'B'), (2, b'B'), (1, b'B')]);
        assert_eq!((tally.marked, tally.out_of_order), ([1, 1], 2));
        // Not judged, and never sent.
        assert_eq!(taken([(0, UNJUDGED), (20, b'A')]).foreign, 2);
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let whole = book().flow(3).reversed().udp(&[], &payload(b'A', 3)).unwrap();
        for at in 0..whole.len() {
            let mut frame = whole.clone();
            frame[at] ^= 0x80;
            let mut book = book();
            book.take(&frame).unwrap();
            assert_eq!(book.tally.back(), 0, "byte {at}");
        }
    }
}
