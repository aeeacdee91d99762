//! Eight packets at once, byte by byte in lockstep: while one waits for its table row, seven others go on.
//!
//! A batch is run longest packet first, so that all lanes have work until near its end. Eight lanes run as long as the
//! shortest of their packets, with no test for an end, and every few bytes it is looked at whether one is in a special
//! state. Who can jump does, and who waits for a byte searches for it; who ended or is decided hands its lane to the next
//! packet. When no packet is left for a lane, the rest goes on in four lanes, then in one. Verdicts stand where their packets stood.

use crate::dfa::{Row, Table};
use crate::resolved::RuleId;

/// The most packets that are ordered together.
pub const BATCH_MAX: usize = 64;
/// Packets whose lengths differ by less are not ordered.
const BUCKET_BYTES: usize = 64;
/// All longer packets share the last bucket.
const BUCKETS: usize = 32;
/// The most lanes; sixteen would be slower, as their rows do not fit the registers.
const LANES: usize = 8;
/// Bytes of each lane that are read between two looks at whether its row is special.
const BLOCK: usize = 32;

/// Which rule wins, for each packet; as many verdicts as packets.
pub fn judge<T: Table>(table: &T, packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
    for (packets, verdicts) in packets.chunks(BATCH_MAX).zip(verdicts.chunks_mut(BATCH_MAX)) {
        let mut work = Work::new(table, packets);
        run::<T, LANES>(table, &mut work, verdicts);
        run::<T, 4>(table, &mut work, verdicts);
        run::<T, 1>(table, &mut work, verdicts);
    }
}

/// A packet on its way.
#[derive(Clone, Copy)]
struct Lane<'p> {
    row: Row,
    rest: &'p [u8],
    /// Which of the batch.
    packet: usize,
}

/// What is not in a lane: packets that were, then those that were not yet.
struct Work<'b, 'p> {
    packets: &'b [&'p [u8]],
    order: [u8; BATCH_MAX],
    begun: usize,
    start: Row,
    held: [Lane<'p>; LANES],
    held_count: usize,
}

impl<'b, 'p> Work<'b, 'p> {
    fn new<T: Table>(table: &T, packets: &'b [&'p [u8]]) -> Self {
        let idle = Lane { row: table.start(), rest: &[], packet: 0 };
        Self {
            packets,
            order: longest_first(packets),
            begun: 0,
            start: table.start(),
            held: [idle; LANES],
            held_count: 0,
        }
    }

    const fn left(&self) -> usize {
        self.held_count + self.packets.len() - self.begun
    }

    fn hold(&mut self, lane: Lane<'p>) {
        self.held[self.held_count] = lane;
        self.held_count += 1;
    }

    fn next(&mut self) -> Option<Lane<'p>> {
        if let Some(last) = self.held_count.checked_sub(1) {
            self.held_count = last;
            return Some(self.held[last]);
        }
        let packet = usize::from(*self.order.get(self.begun)?);
        let rest = self.packets.get(self.begun).and(self.packets.get(packet))?;
        self.begun += 1;
        Some(Lane { row: self.start, rest, packet })
    }
}

/// The indices of at most [`BATCH_MAX`] packets, longest first by buckets, in each bucket as they came.
fn longest_first(packets: &[&[u8]]) -> [u8; BATCH_MAX] {
    let bucket = |packet: &[u8]| BUCKETS - 1 - (packet.len() / BUCKET_BYTES).min(BUCKETS - 1);
    let mut next = [0_u8; BUCKETS];
    packets.iter().for_each(|packet| next[bucket(packet)] += 1);
    let mut sum = 0;
    for begin in &mut next {
        sum += std::mem::replace(begin, sum);
    }
    let mut order = [0; BATCH_MAX];
    for (index, packet) in (0_u8..).zip(packets) {
        let place = &mut next[bucket(packet)];
        order[usize::from(*place)] = index;
        *place += 1;
    }
    order
}

/// Runs `N` lanes until there is no packet for one of them; then the others are held.
fn run<T: Table, const N: usize>(table: &T, work: &mut Work<'_, '_>, verdicts: &mut [Option<RuleId>]) {
    if work.left() < N {
        return;
    }
    let mut rows = [table.start(); N];
    let mut rests: [&[u8]; N] = [&[]; N];
    let mut owners = [0; N];
    for lane in 0..N {
        if let Some(next) = work.next() {
            (rows[lane], rests[lane], owners[lane]) = (next.row, next.rest, next.packet);
        }
    }
    loop {
        let read = advance(table, &mut rows, &rests);
        for lane in 0..N {
            rests[lane] = rests[lane].split_at(read).1;
            loop {
                if rows[lane] >= table.special() {
                    (rows[lane], rests[lane]) = table.leap(rows[lane], rests[lane]);
                }
                if !rests[lane].is_empty() {
                    break;
                }
                verdicts[owners[lane]] = table.verdict(rows[lane]);
                let Some(next) = work.next() else {
                    for other in (0..N).filter(|other| *other != lane) {
                        let skip = if other < lane { 0 } else { read };
                        let rest = rests[other].split_at(skip).1;
                        work.hold(Lane { row: rows[other], rest, packet: owners[other] });
                    }
                    return;
                };
                (rows[lane], rests[lane], owners[lane]) = (next.row, next.rest, next.packet);
            }
        }
    }
}

/// Reads as many bytes in each lane as the shortest has, or fewer if one comes to a special row; says how many.
///
/// It stands alone so that the compiler has all registers for it. A block of each lane is copied to one place on the stack:
/// with a row in a register for each lane there is none left for eight pointers. Blocks are long enough that the loop over
/// their bytes is not unrolled, which would cost the rows their registers.
#[inline(never)]
#[allow(clippy::needless_range_loop, reason = "lanes and bytes are indices into several arrays at once")]
fn advance<T: Table, const N: usize>(table: &T, rows: &mut [Row; N], rests: &[&[u8]; N]) -> usize {
    let shortest = rests.iter().map(|rest| rest.len()).min().unwrap_or(0);
    let mut blocks: [&[[u8; BLOCK]]; N] = [&[]; N];
    let mut tails: [&[u8]; N] = [&[]; N];
    for lane in 0..N {
        (blocks[lane], tails[lane]) = rests[lane].split_at(shortest).0.as_chunks();
    }
    let mut now = *rows;
    for block in 0..shortest / BLOCK {
        let mut bytes = [[0; BLOCK]; N];
        for lane in 0..N {
            bytes[lane] = blocks[lane][block];
        }
        for byte in 0..BLOCK {
            for lane in 0..N {
                now[lane] = table.step(now[lane], bytes[lane][byte]);
            }
        }
        if now.iter().any(|row| *row >= table.special()) {
            *rows = now;
            return (block + 1) * BLOCK;
        }
    }
    for byte in 0..shortest % BLOCK {
        for lane in 0..N {
            now[lane] = table.step(now[lane], tails[lane][byte]);
        }
    }
    *rows = now;
    shortest
}
