//! When frames are due: an open-loop schedule that no delay can stretch.
//!
//! The times are those that `abi::pktgen::Cursor` stamps into frames, to the fraction of a nanosecond.
use std::{fmt, str::FromStr};

use abi::pktgen::TIME_SHIFT;
use serde::{Serialize, Serializer};
use thiserror::Error;

/// Fewest frames a second.
pub const MIN_RATE: f64 = 0.01;
/// Most frames a second.
pub const MAX_RATE: f64 = 1e9;

/// How many frames a second.
///
/// As many as go, or so many, each at its own time, whatever became of the ones before (open loop).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate(Option<f64>);

/// Not a rate.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a rate is 0.01 to 1e9 frames a second, such as 1000, 250k, 1.5M, or \"max\"")]
pub struct RateError;

/// A schedule and how far it has been carried out.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start_ns: u64,
    interval_q: u64,
    made: u64,
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text.eq_ignore_ascii_case("max") {
            return Ok(Self::UNLIMITED);
        }
        let (number, unit) = match text.char_indices().next_back() {
            Some((at, 'k')) => (&text[..at], 1e3),
            Some((at, 'M')) => (&text[..at], 1e6),
            _ => (text, 1.0),
        };
        Self::new(number.parse::<f64>().map_err(|_| RateError)? * unit)
    }
}

impl Rate {
    /// As many as go.
    pub const UNLIMITED: Self = Self(None);

    /// So many frames a second.
    ///
    /// # Errors
    /// [`RateError`] outside [`MIN_RATE`] to [`MAX_RATE`].
    pub fn new(per_second: f64) -> Result<Self, RateError> {
        if (MIN_RATE..=MAX_RATE).contains(&per_second) { Ok(Self(Some(per_second))) } else { Err(RateError) }
    }

    /// Nanoseconds from one frame to the next, shifted by [`TIME_SHIFT`]; 0 without a limit.
    #[must_use]
    pub fn interval_q(self) -> u64 {
        self.0.map_or(0, |rate| (1e9 * f64::from(1_u32 << TIME_SHIFT) / rate).round() as u64)
    }

    /// Frames a second, if limited.
    #[must_use]
    pub const fn per_second(self) -> Option<f64> {
        self.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("max"),
            Some(rate) => rate.fmt(f),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.per_second().serialize(serializer)
    }
}

impl Pace {
    /// A schedule whose first frame is due at `start_ns`; an interval of 0 means that all are.
    #[must_use]
    pub const fn new(start_ns: u64, interval_q: u64) -> Self {
        Self { start_ns, interval_q, made: 0 }
    }

    /// Frames that are due at `now_ns` and not made yet.
    #[must_use]
    pub fn due(&self, now_ns: u64) -> u64 {
        if self.interval_q == 0 {
            return u64::MAX;
        }
        let Some(since) = now_ns.checked_sub(self.start_ns) else { return 0 };
        self.planned(since + 1).saturating_sub(self.made)
    }

    /// Frames that are due before `duration_ns` have passed.
    #[must_use]
    pub fn planned(&self, duration_ns: u64) -> u64 {
        if self.interval_q == 0 {
            return u64::MAX;
        }
        // The n-th frame is due in the nanosecond that n intervals, rounded down, make.
        let end_q = u128::from(duration_ns) << TIME_SHIFT;
        u64::try_from(end_q.div_ceil(u128::from(self.interval_q))).unwrap_or(u64::MAX)
    }

    /// When the next frame is due; the start, if all are.
    #[must_use]
    pub fn next_due_ns(&self) -> u64 {
        let since = (u128::from(self.made) * u128::from(self.interval_q)) >> TIME_SHIFT;
        self.start_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// How late the next frame is at `now_ns`; 0 without a rate.
    #[must_use]
    pub fn lag_ns(&self, now_ns: u64) -> u64 {
        if self.interval_q == 0 { 0 } else { now_ns.saturating_sub(self.next_due_ns()) }
    }

    /// Frames made.
    #[must_use]
    pub const fn made(&self) -> u64 {
        self.made
    }

    /// Notes that `frames` more were made.
    pub const fn advance(&mut self, frames: u64) {
        self.made += frames;
    }
}

#[cfg(test)]
mod tests {
    use abi::pktgen::{Config, Cursor};
    use proptest::prelude::*;
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn rates_are_read() {
        assert_eq!("1.5M".parse(), Ok(Rate(Some(1.5e6))));
        assert_eq!("250k".parse(), Ok(Rate(Some(250e3))));
        assert_eq!("max".parse(), Ok(Rate::UNLIMITED));
        for bad in ["", "k", "0", "-1", "inf", "nan", "1G", "0.001", "2000M"] {
            assert_eq!(bad.parse::<Rate>(), Err(RateError), "{bad}");
        }
        assert_eq!(Rate(Some(1e6)).interval_q(), 1000 << TIME_SHIFT);
        assert_eq!(Rate::UNLIMITED.interval_q(), 0);
    }

    #[test]
    fn without_a_rate_all_are_due() {
        let pace = Pace::new(1000, 0);
        assert_eq!((pace.due(0), pace.lag_ns(u64::MAX), pace.planned(1)), (u64::MAX, 0, u64::MAX));
    }

    #[test]
    fn nothing_is_due_before_the_start() {
        let pace = Pace::new(1000, 500 << TIME_SHIFT);
        assert_eq!([999, 1000, 1499, 1500].map(|now| pace.due(now)), [0, 1, 1, 2]);
        assert_eq!([0, 1, 500, 501].map(|duration| pace.planned(duration)), [0, 1, 1, 2]);
    }

    proptest! {
        #[test]
        fn it_says_what_frames_say(start in 0_u64..1 << 40, interval_q in 1_u64..1 << 40) {
            let mut config = Config::new_zeroed();
            (config.interval_q, config.flows, config.pattern_len) = (interval_q, 1, 1);
            let mut cursor = Cursor::starting(start);
            let mut pace = Pace::new(start, interval_q);
            for _ in 0..100 {
                let stamped = cursor.next(&config, 0).0.scheduled_ns;
                prop_assert_eq!(pace.next_due_ns(), stamped);
                prop_assert!(1 <= pace.due(stamped));
                prop_assert!(stamped == start || pace.due(stamped - 1) == 0);
                prop_assert_eq!(pace.lag_ns(stamped + 7), 7);
                pace.advance(1);
            }
        }
    }
}
