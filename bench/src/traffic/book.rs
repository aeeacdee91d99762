//! The receiver's book: every frame that arrived is entered once, and the sum at the end says what did not.
//!
//! ```text
//! received = in order + late + duplicates + too old + corrupt
//! lost     = sent − in order − late            (a frame that came damaged is lost, too)
//! ```
//!
//! Latency counts from the time a frame was *scheduled* to leave: a sender that falls behind cannot hide it
//! (coordinated omission). Times are 48 bits wide and compared modulo that.
use abi::pktgen::{Stamp, TIME_MASK};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    reader::{Reader, Unread},
    sequence::{Arrival, MAX_WINDOW, MIN_WINDOW, Sequence},
};

/// Bits of all windows together: 8 MiB at most, unless there are more than a million flows.
pub const WINDOW_BITS: u32 = 1 << 26;
/// Longest latency that is told apart; longer ones count as this long.
pub const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Significant decimal digits of a latency.
const DIGITS: u8 = 3;

/// Everything a receiver enters.
#[derive(Clone, Debug)]
pub struct Book {
    reader: Reader,
    flows: Box<[Sequence]>,
    tally: Tally,
    latency: Histogram<u64>,
    begun_ns: Option<u64>,
}

/// The columns of the book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Generated frames that arrived, in whatever state.
    pub received: u64,
    /// Bytes of these, without FCS.
    pub bytes: u64,
    /// Frames that arrived as the highest of their flow.
    pub in_order: u64,
    /// Frames that arrived after a higher one of their flow (RFC 4737).
    pub late: u64,
    /// Furthest that a late frame was behind.
    pub late_extent_max: u64,
    /// Frames that had arrived before.
    pub duplicates: u64,
    /// Late or duplicate, but too old to know.
    pub too_old: u64,
    /// Frames whose payload was changed.
    pub corrupt: u64,
    /// Frames of somebody else: in no sum.
    pub foreign: u64,
    /// Frames that were scheduled before this book was begun, by an earlier run: in no sum.
    pub earlier: u64,
}

/// Quantiles of a distribution of times, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// The least.
    pub min_ns: u64,
    /// Median.
    pub p50_ns: u64,
    /// 99 of 100 are at most this.
    pub p99_ns: u64,
    /// 999 of 1000 are at most this.
    pub p99_9_ns: u64,
    /// The greatest.
    pub max_ns: u64,
}

/// The sum at the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// What arrived.
    #[serde(flatten)]
    pub tally: Tally,
    /// What was sent, or, if nobody said, what must have been sent as its successors arrived.
    pub expected: u64,
    /// What never arrived whole.
    pub lost: u64,
    /// `lost / expected`.
    pub loss_ratio: f64,
    /// From scheduled to received.
    pub latency: Latency,
}

impl Book {
    /// An empty book for the frames that `reader` reads, of `flows` flows.
    ///
    /// # Errors
    /// None that the constants here can cause; the histogram's own bounds are passed on.
    pub fn new(reader: Reader, flows: u32) -> Result<Self, hdrhistogram::CreationError> {
        let window = (WINDOW_BITS / flows.max(1)).clamp(MIN_WINDOW, MAX_WINDOW);
        // Rounded down, so that all windows together stay within their limit.
        let window = 1 << window.ilog2();
        Ok(Self {
            reader,
            flows: vec![Sequence::new(window); flows as usize].into(),
            tally: Tally::default(),
            latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS)?,
            begun_ns: None,
        })
    }

    /// Leaves out frames that were scheduled before `now_ns`: a run that overloaded its receiver leaves some behind,
    /// and their numbers would be taken for the next one's.
    pub const fn begin(&mut self, now_ns: u64) {
        self.begun_ns = Some(now_ns);
    }

    /// Enters a frame that was received at `now_ns`, and returns its stamp.
    ///
    /// # Errors
    /// [`Unread`] if it has none, or none that can be believed; it is entered all the same.
    #[inline]
    pub fn enter(&mut self, frame: &[u8], now_ns: u64) -> Result<Stamp, Unread> {
        let read = self.reader.read(frame);
        let tally = &mut self.tally;
        match read {
            Err(Unread::Foreign) => {
                tally.foreign += 1;
                return read;
            }
            Err(Unread::Corrupt) => tally.corrupt += 1,
            Ok(stamp) if self.begun_ns.is_some_and(|begun| is_before(stamp.scheduled_ns, begun)) => {
                tally.earlier += 1;
                return read;
            }
            Ok(stamp) => {
                match self.flows.get_mut(stamp.flow as usize).map(|flow| flow.arrive(stamp.sequence)) {
                    Some(Arrival::InOrder { .. }) => tally.in_order += 1,
                    Some(Arrival::Late { extent }) => {
                        tally.late += 1;
                        tally.late_extent_max = tally.late_extent_max.max(extent);
                    }
                    Some(Arrival::Duplicate) => tally.duplicates += 1,
                    Some(Arrival::TooOld) | None => tally.too_old += 1,
                }
                self.latency.saturating_record(elapsed(stamp.scheduled_ns, now_ns));
            }
        }
        tally.received += 1;
        tally.bytes += frame.len() as u64;
        read
    }

    /// The columns so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The latencies so far.
    #[must_use]
    pub const fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// Closes the book. `sent` is what the sender says; without it, each flow's highest number speaks.
    #[must_use]
    pub fn outcome(&self, sent: Option<u64>) -> Outcome {
        let expected = sent.unwrap_or_else(|| self.flows.iter().map(Sequence::next).sum());
        let lost = expected.saturating_sub(self.tally.in_order + self.tally.late);
        let loss_ratio = if expected == 0 { 0.0 } else { lost as f64 / expected as f64 };
        Outcome { tally: self.tally, expected, lost, loss_ratio, latency: Latency::of(&self.latency) }
    }
}

impl Latency {
    /// The quantiles of `histogram`.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            min_ns: histogram.min(),
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            p99_9_ns: at(0.999),
            max_ns: histogram.max(),
        }
    }
}

/// From `then` to `now` on a clock of 48 bits; 0 if `then` is the later one.
fn elapsed(then: u64, now: u64) -> u64 {
    let since = now.wrapping_sub(then) & TIME_MASK;
    if since <= TIME_MASK / 2 { since } else { 0 }
}

/// Whether `then` was before `now` on a clock of 48 bits.
const fn is_before(then: u64, now: u64) -> bool {
    TIME_MASK / 2 < then.wrapping_sub(now) & TIME_MASK
}

#[cfg(test)]
mod tests {
    use abi::pktgen::{Cursor, TIME_SHIFT};

    use super::*;
    use crate::traffic::{
        plan::Plan,
        profile::{Mac, Order, Profile, Transport},
        seeded::Seeded,
        span::PortSpan,
    };

    const FLOWS: u32 = 5;
    const US: u64 = 1000;

    fn frames(n: usize) -> (Book, Vec<Vec<u8>>) {
        let profile = Profile {
            src_mac: Mac([2, 0, 0, 0, 0, 1]),
            dst_mac: Mac([2, 0, 0, 0, 0, 2]),
            tags: vec![],
            transport: Transport::Udp,
            src: "10.0.0.1".parse().expect("one address"),
            dst: "10.0.0.2".parse().expect("one address"),
            sport: "1024-2047".parse().expect("ports"),
            dport: PortSpan::one(7),
            flows: FLOWS,
            order: Order::RoundRobin,
            mix: "128".parse().expect("a size"),
            seed: 1,
        };
        let mut plan = Plan::new(&profile).expect("legal");
        plan.set_interval(US << TIME_SHIFT);
        let mut cursor = Cursor::starting(0);
        let mut frame = vec![0; plan.longest()];
        let frames = std::iter::repeat_with(|| {
            let len = plan.next(&mut cursor, 0, &mut frame);
            frame[..len].to_vec()
        });
        let book = Book::new(Reader::new(plan.config().shape, FLOWS), FLOWS).expect("bounds");
        (book, frames.take(n).collect())
    }

    /// 20 frames, one a microsecond, received 1 µs after they were due.
    fn receive(book: &mut Book, frames: &[Vec<u8>], order: &[usize]) {
        for &i in order {
            let _ = book.enter(&frames[i], i as u64 * US + US);
        }
    }

    #[test]
    fn all_arrive() {
        let (mut book, frames) = frames(20);
        receive(&mut book, &frames, &Vec::from_iter(0..20));
        let outcome = book.outcome(None);
        let tally = Tally { received: 20, bytes: 20 * 124, in_order: 20, ..Tally::default() };
        assert_eq!((outcome.tally, outcome.expected, outcome.lost), (tally, 20, 0));
        let latency = outcome.latency;
        assert_eq!((latency.count, latency.min_ns, latency.p50_ns), (20, US, US));
    }

    #[test]
    fn each_fate_has_its_own_column() {
        let (mut book, frames) = frames(20);
        // Flow 0 has frames 0, 5, 10, 15: 5 comes last and twice, 15 not at all.
        receive(&mut book, &frames, &[0, 10, 5, 5, 1, 2]);
        let mut broken = frames[3].clone();
        broken[100] ^= 1;
        assert_eq!(book.enter(&broken, 0), Err(Unread::Corrupt));
        assert_eq!(book.enter(&[0; 60], 0), Err(Unread::Foreign));
        let outcome = book.outcome(Some(20));
        let tally = Tally {
            received: 7,
            bytes: 7 * 124,
            in_order: 4,
            late: 1,
            late_extent_max: 1,
            duplicates: 1,
            corrupt: 1,
            foreign: 1,
            ..Tally::default()
        };
        assert_eq!((outcome.tally, outcome.lost), (tally, 15));
        assert_eq!(book.outcome(None).expected, 5, "flow 0 reached 3, flows 1 and 2 reached 1");
    }

    #[test]
    fn latency_counts_from_the_schedule() {
        let (mut book, frames) = frames(10);
        // The sender stalled: everything arrives at once, 10 µs after the start.
        for frame in &frames {
            let _ = book.enter(frame, 10 * US);
        }
        let latency = book.outcome(None).latency;
        assert!(latency.max_ns >= 10 * US && latency.min_ns <= US + 1, "{latency:?}");
    }

    #[test]
    fn frames_of_an_earlier_run_are_left_out() {
        let (mut book, frames) = frames(20);
        book.begin(12 * US);
        receive(&mut book, &frames, &Vec::from_iter(0..20));
        let tally = book.tally();
        assert_eq!((tally.earlier, tally.received, tally.in_order), (12, 8, 8));
    }

    #[test]
    fn time_wraps() {
        assert!(is_before(TIME_MASK, 0) && !is_before(0, TIME_MASK) && !is_before(5, 5));
        assert_eq!(elapsed(TIME_MASK - 4, 5), 10);
        assert_eq!(elapsed(10, 5), 0, "a clock that runs backwards");
    }

    #[test]
    fn the_columns_add_up_whatever_happens() {
        let (mut book, frames) = frames(200);
        let mut seeded = Seeded::new(3);
        for _ in 0..2000 {
            let mut frame = frames[seeded.below(200) as usize].clone();
            if seeded.below(10) == 0 {
                let at = seeded.below(frame.len() as u64) as usize;
                frame[at] ^= seeded.next_u64() as u8;
            }
            let _ = book.enter(&frame, seeded.next_u64());
        }
        let t = book.tally();
        assert_eq!(t.received, t.in_order + t.late + t.duplicates + t.too_old + t.corrupt);
        assert_eq!((t.received + t.foreign, t.earlier), (2000, 0));
    }
}
