//! One measurement at one load.
use std::fmt;

use serde::Serialize;

/// A load in whole frames a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Load(pub u64);

/// A trial to be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// How many frames a second to offer.
    pub load: Load,
    /// For how many seconds.
    pub duration_s: f64,
}

/// A trial that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialResult {
    /// For how many seconds frames were offered.
    pub duration_s: f64,
    /// How long the trial counts: its duration, or what it took as a whole.
    pub effective_s: f64,
    /// Frames lost, of those that were to be sent: what the sender could not send is lost, too.
    pub loss_ratio: f64,
}

impl TrialResult {
    /// The result of a trial as it was ordered.
    #[must_use]
    pub const fn of(trial: Trial, loss_ratio: f64) -> Self {
        Self { duration_s: trial.duration_s, effective_s: trial.duration_s, loss_ratio }
    }
}

impl Load {
    /// As a number to compute with.
    #[must_use]
    pub const fn per_second(self) -> f64 {
        self.0 as f64
    }

    /// The nearest load to a computed number.
    #[must_use]
    pub const fn nearest(per_second: f64) -> Self {
        Self(per_second.round() as u64)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames/s", self.0)
    }
}
