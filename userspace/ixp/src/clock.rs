//! Time as engines see it: nanoseconds since some start, read once per batch and passed on as an argument.
//!
//! No stage reads a clock. The thread of an engine does, through [`Clock`], so that tests and the offline verbs
//! run the same engines on a [`Virtual`] clock that moves only when it is told to, backwards too.
use std::{
    ops::Add,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// A point in time: nanoseconds since the clock's own start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(u64);

impl Nanos {
    /// `ns` nanoseconds after the clock's start.
    #[must_use]
    pub const fn new(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if the clock was stepped back meanwhile.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Nanos {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where an engine's thread gets the time from.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Nanos;
}

/// The host's monotonic clock, counted from when this value was made.
#[derive(Debug)]
pub struct Monotonic {
    start: Instant,
}

impl Monotonic {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Nanos {
        Nanos::default() + self.start.elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct Virtual {
    now: AtomicU64,
}

impl Virtual {
    /// Sets the time, to an earlier one too: engines must survive that.
    pub fn set(&self, now: Nanos) {
        self.now.store(now.0, Ordering::Release);
    }

    /// Lets `span` pass.
    pub fn advance(&self, span: Duration) {
        self.set(self.now() + span);
    }
}

impl Clock for Virtual {
    fn now(&self) -> Nanos {
        Nanos(self.now.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_is_no_time_at_all() {
        let clock = Virtual::default();
        clock.advance(Duration::from_secs(3600));
        let before = clock.now();
        clock.set(Nanos::new(1));
        assert_eq!(clock.now().since(before), Duration::ZERO);
        assert_eq!(before.since(clock.now()), Duration::from_nanos(3_599_999_999_999));
    }
}
