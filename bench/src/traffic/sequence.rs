//! What became of the numbers of one flow: arrived, arrived twice, arrived late, or never.
//!
//! A number is *late* as RFC 4737 defines reordering: smaller than one that has arrived before it. Whether it is a
//! duplicate is known only while it lies in the window, a ring of bits below the highest number; older ones are
//! counted by themselves and claimed to be neither, so memory is bounded whatever arrives.
//!
//! ```text
//!                 window                 next
//!  … too old │ 1 1 0 1 1 1 0 1 1 1 1 1 │ expected from here on
//! ```

/// Bits of a word of the window.
const WORD: u32 = u64::BITS;
/// Fewest bits of a window.
pub const MIN_WINDOW: u32 = WORD;
/// Most bits of a window.
pub const MAX_WINDOW: u32 = 1 << 16;

/// The numbers of one flow seen so far.
#[derive(Clone, Debug)]
pub struct Sequence {
    next: u64,
    window: Box<[u64]>,
}

/// What one arrival means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The highest number so far; `skipped` numbers below it are missing now.
    InOrder {
        /// Numbers jumped over.
        skipped: u64,
    },
    /// A missing number after all, `extent` below the highest.
    Late {
        /// How far behind the highest number it came.
        extent: u64,
    },
    /// A number that has been here before.
    Duplicate,
    /// Below the window: late or duplicate, nobody knows.
    TooOld,
}

impl Sequence {
    /// A flow of which nothing has arrived; `window` is rounded up to a power of two within its limits.
    #[must_use]
    pub fn new(window: u32) -> Self {
        let bits = window.clamp(MIN_WINDOW, MAX_WINDOW).next_power_of_two();
        Self { next: 0, window: vec![0; (bits / WORD) as usize].into() }
    }

    /// One more than the highest number that arrived: how many a receiver knows to exist.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Takes in a number as it stands in a frame: the low 32 bits of one that counts on.
    ///
    /// It is taken to be the nearest number with these bits.
    pub fn arrive(&mut self, low: u32) -> Arrival {
        let ahead = i64::from(low.wrapping_sub(self.next as u32) as i32);
        let Some(number) = self.next.checked_add_signed(ahead) else {
            return Arrival::TooOld; // below 0: older than the beginning
        };
        if self.next <= number {
            self.forget(number);
            let skipped = number - self.next;
            self.next = number + 1;
            self.mark(number);
            return Arrival::InOrder { skipped };
        }
        let extent = self.next - 1 - number;
        if self.bits() <= extent {
            Arrival::TooOld
        } else if self.mark(number) {
            Arrival::Duplicate
        } else {
            Arrival::Late { extent }
        }
    }

    fn bits(&self) -> u64 {
        self.window.len() as u64 * u64::from(WORD)
    }

    /// Empties the places of `next..=number`, which will stand for these numbers from now on.
    fn forget(&mut self, number: u64) {
        if self.bits() <= number - self.next {
            self.window.fill(0);
            return;
        }
        let mut at = self.next;
        while at <= number {
            let (word, bit) = self.place(at);
            let n = u64::from(WORD - bit).min(number - at + 1);
            let mask = if n == u64::from(WORD) { u64::MAX } else { ((1 << n) - 1) << bit };
            self.window[word] &= !mask;
            at += n;
        }
    }

    /// Sets the bit of `number` and returns whether it was set.
    fn mark(&mut self, number: u64) -> bool {
        let (word, bit) = self.place(number);
        let was = self.window[word] >> bit & 1 == 1;
        self.window[word] |= 1 << bit;
        was
    }

    fn place(&self, number: u64) -> (usize, u32) {
        let index = number & (self.bits() - 1);
        ((index / u64::from(WORD)) as usize, (index % u64::from(WORD)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_life() {
        let mut flow = Sequence::new(64);
        assert_eq!(flow.arrive(0), Arrival::InOrder { skipped: 0 });
        assert_eq!(flow.arrive(3), Arrival::InOrder { skipped: 2 });
        assert_eq!(flow.arrive(1), Arrival::Late { extent: 2 });
        assert_eq!(flow.arrive(1), Arrival::Duplicate);
        assert_eq!(flow.arrive(3), Arrival::Duplicate);
        assert_eq!(flow.arrive(100), Arrival::InOrder { skipped: 96 });
        assert_eq!(flow.arrive(2), Arrival::TooOld, "its place stands for another number now");
        assert_eq!(flow.arrive(37), Arrival::Late { extent: 63 });
        assert_eq!(flow.arrive(36), Arrival::TooOld);
        assert_eq!(flow.next(), 101);
    }

    #[test]
    fn numbers_count_on_when_their_low_bits_wrap() {
        let mut flow = Sequence::new(64);
        flow.next = u64::from(u32::MAX);
        assert_eq!(flow.arrive(u32::MAX), Arrival::InOrder { skipped: 0 });
        assert_eq!(flow.arrive(0), Arrival::InOrder { skipped: 0 });
        assert_eq!(flow.arrive(u32::MAX), Arrival::Duplicate);
        assert_eq!(flow.next(), (1 << 32) + 1);
    }

    #[test]
    fn nothing_is_older_than_the_beginning() {
        assert_eq!(Sequence::new(64).arrive(u32::MAX), Arrival::TooOld);
    }

    proptest! {
        #[test]
        fn it_knows_what_a_set_of_all_numbers_knows(
            steps in prop::collection::vec(0_u32..300, 0..400),
            window in 1_u32..300,
        ) {
            let mut flow = Sequence::new(window);
            let bits = flow.bits();
            let mut seen = BTreeSet::new();
            for number in steps.into_iter().map(u64::from) {
                let next = seen.last().map_or(0, |&n| n + 1);
                let expected = if next <= number {
                    Arrival::InOrder { skipped: number - next }
                } else if bits <= next - 1 - number {
                    Arrival::TooOld
                } else if seen.contains(&number) {
                    Arrival::Duplicate
                } else {
                    Arrival::Late { extent: next - 1 - number }
                };
                prop_assert_eq!(flow.arrive(number as u32), expected);
                if expected != Arrival::TooOld {
                    seen.insert(number);
                }
            }
        }
    }
}
