//! How many packets of applications one loop moves: so few that nobody waits long for it, and so many that whoever is
//! flooded from outside can answer.
//!
//! What a packet takes is known from the loops before: 50 ns into a ring in memory, a microsecond where the kernel sends
//! it in the same call. It is an average in which a loop counts for a sixteenth, and one that was interrupted for no
//! more than a slow one.
use std::time::Duration;

/// The most that one loop moves.
pub const LOOP_MOST: u32 = 256;

/// The most that one loop moves if it received nothing.
pub const LOOP_LEAST: u32 = 16;

/// What it moves at least, however long a packet takes.
pub const LOOP_FEWEST: u32 = 2;

/// How long the packets of a loop that received nothing may take, if there are more than [`LOOP_FEWEST`].
pub const LOOP_TIME: Duration = Duration::from_micros(6);

/// What one loop moves for each packet that it received.
const PER_RECEIVED: u32 = 4;

/// The same time in nanoseconds.
const LOOP_NS: u32 = LOOP_TIME.as_nanos() as u32;

/// Loops that the average is over.
const LOOPS: u32 = 16;

/// What is known of a worker's loops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Nanoseconds that a packet takes, times [`LOOPS`].
    cost: u32,
}

impl Pace {
    /// Takes note of a loop that received and moved so many packets together, from its beginning to the next one's.
    #[inline]
    pub fn took(&mut self, time: Duration, packets: u32) {
        // Longer ones need not be told apart.
        let Some(each) = u32::try_from(time.as_nanos()).unwrap_or(u32::MAX).checked_div(packets) else {
            return;
        };
        self.cost = self.cost - self.cost / LOOPS + each.min(LOOP_NS);
    }

    /// What a loop that received so many packets moves, besides.
    #[must_use]
    #[inline]
    pub fn allowance(self, received: usize) -> u32 {
        let in_time = LOOP_NS / (self.cost / LOOPS).max(1);
        let share = u32::try_from(received).unwrap_or(u32::MAX).saturating_mul(PER_RECEIVED);
        share.clamp(in_time.clamp(LOOP_FEWEST, LOOP_LEAST), LOOP_MOST)
    }
}
