//! The longest burst that loses nothing: the back-to-back test of RFC 9004.
//!
//! A state machine as [`super::Search`] is: it names a burst, somebody sends that many frames as fast as they go, and
//! it takes in whether all came through. A repetition doubles the burst until frames are lost and then halves the
//! distance; the result is the average of the repetitions.
use serde::Serialize;

use crate::report::spread::Spread;

/// Repetitions that RFC 9004 section 5.4 asks for.
pub const REPETITIONS: u32 = 50;

/// A search for the longest burst.
#[derive(Clone, Debug)]
pub struct BurstSearch {
    first: u64,
    max: u64,
    repetitions: u32,
    longest: Vec<f64>,
    passed: u64,
    failed: Option<u64>,
}

/// What the repetitions found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BackToBack {
    /// Mean of the longest bursts, in frames.
    pub frames: f64,
    /// Their spread.
    pub spread: Spread,
    /// Repetitions that ended at the longest burst that was tried: there may be longer ones.
    pub unlimited: u32,
    /// How many repetitions.
    pub repetitions: u32,
}

impl BurstSearch {
    /// A search that begins with bursts of `first` frames and tries at most `max`.
    ///
    /// RFC 9004 wants a longest burst of at least 2 seconds.
    #[must_use]
    pub fn new(first: u64, max: u64, repetitions: u32) -> Self {
        let first = first.max(1);
        Self { first, max: max.max(first), repetitions, longest: Vec::new(), passed: 0, failed: None }
    }

    /// The next burst, in frames; `None` if the search is over.
    #[must_use]
    pub fn step(&self) -> Option<u64> {
        if self.repetitions <= self.longest.len() as u32 {
            return None;
        }
        Some(match self.failed {
            Some(failed) => self.passed + (failed - self.passed) / 2,
            None if self.passed == 0 => self.first,
            None => self.passed.saturating_mul(2).min(self.max),
        })
    }

    /// Takes in how many frames of the burst that [`BurstSearch::step`] named were lost.
    pub fn record(&mut self, lost: u64) {
        let Some(burst) = self.step() else { return };
        if lost == 0 {
            self.passed = burst;
        } else {
            self.failed = Some(burst);
        }
        let closed = self.failed.is_some_and(|failed| failed - self.passed <= 1);
        if closed || self.passed == self.max {
            self.longest.push(self.passed as f64);
            (self.passed, self.failed) = (0, None);
        }
    }

    /// What was found so far; `None` before the first repetition is over.
    #[must_use]
    pub fn result(&self) -> Option<BackToBack> {
        let spread = Spread::of(&self.longest)?;
        Some(BackToBack {
            frames: self.longest.iter().sum::<f64>() / self.longest.len() as f64,
            spread,
            unlimited: self.longest.iter().filter(|&&frames| frames == self.max as f64).count() as u32,
            repetitions: self.longest.len() as u32,
        })
    }
}

impl BackToBack {
    /// How long the buffer that this implies lasts, in seconds: RFC 9004 section 6.4's corrected buffer time.
    ///
    /// `throughput_pps` is what the system carries for ever, `burst_pps` how fast the burst came: while it comes,
    /// frames leave, too.
    #[must_use]
    pub fn buffer_s(&self, throughput_pps: f64, burst_pps: f64) -> f64 {
        let implied = self.frames / burst_pps;
        implied - implied * (throughput_pps / burst_pps).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(mut burst: BurstSearch, mut lost: impl FnMut(u64) -> u64) -> (BackToBack, u32) {
        let mut trials = 0;
        while let Some(frames) = burst.step() {
            burst.record(lost(frames));
            trials += 1;
        }
        (burst.result().expect("a repetition"), trials)
    }

    #[test]
    fn a_ring_is_found_to_the_frame() {
        let (found, trials) = search(BurstSearch::new(64, 1 << 20, 3), |burst| burst.saturating_sub(1023));
        assert_eq!((found.frames, found.spread, found.unlimited), (1023.0, Spread::exactly(1023.0), 0));
        assert!(trials <= 3 * 16, "{trials}");
    }

    #[test]
    fn a_system_without_a_limit_says_so() {
        let (found, _) = search(BurstSearch::new(64, 1_000, 2), |_| 0);
        assert_eq!((found.frames, found.unlimited), (1000.0, 2));
        let (found, _) = search(BurstSearch::new(64, 1_000, 2), |burst| burst);
        assert_eq!((found.frames, found.unlimited), (0.0, 0));
    }

    #[test]
    fn the_buffer_is_what_the_drain_does_not_explain() {
        let found =
            BackToBack { frames: 2000.0, spread: Spread::exactly(2000.0), unlimited: 0, repetitions: 1 };
        // A millisecond of burst, half of which leaves while it comes.
        assert!((found.buffer_s(1e6, 2e6) - 0.000_5).abs() < 1e-12);
        assert_eq!(found.buffer_s(3e6, 2e6), 0.0);
    }

    proptest! {
        #[test]
        fn every_limit_is_found(limit in 0_u64..100_000, first in 1_u64..1000) {
            let (found, trials) = search(BurstSearch::new(first, 1 << 17, 1), |burst| burst.saturating_sub(limit));
            prop_assert_eq!(found.frames, limit as f64);
            prop_assert!(trials <= 40);
        }
    }
}
