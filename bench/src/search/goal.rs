//! What is searched for: the attributes of a search goal, named as RFC 9971 names them.
use serde::Serialize;
use thiserror::Error;

/// A search goal.
///
/// # Invariants
/// Durations and width are positive, ratios are at least 0 and below 1, the initial trial is not longer than the
/// final one: [`Goal::checked`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// Name in reports.
    pub name: &'static str,
    /// A trial that loses more is a high-loss trial.
    pub loss_ratio: f64,
    /// So much of the trials, by duration, may be high-loss at a lower bound.
    pub exceed_ratio: f64,
    /// Seconds of the shortest trials.
    pub initial_trial_s: f64,
    /// Seconds of a full-length trial.
    pub final_trial_s: f64,
    /// Seconds of trials that decide about a load.
    pub duration_sum_s: f64,
    /// How close the bounds must come: their distance relative to the upper one.
    pub width: f64,
}

/// What is not a goal.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum GoalError {
    /// A ratio outside 0 to 1.
    #[error("{attribute} of goal {goal} is at least 0 and below 1, not {given}")]
    Ratio {
        /// Which goal.
        goal: &'static str,
        /// Which attribute.
        attribute: &'static str,
        /// What was asked for.
        given: f64,
    },
    /// A duration or width that is not positive.
    #[error("{attribute} of goal {goal} is positive, not {given}")]
    Positive {
        /// Which goal.
        goal: &'static str,
        /// Which attribute.
        attribute: &'static str,
        /// What was asked for.
        given: f64,
    },
    /// Initial trials longer than final ones.
    #[error("initial trials of goal {goal} are at most as long as final ones")]
    InitialTrial {
        /// Which goal.
        goal: &'static str,
    },
}

impl Goal {
    /// No-drop rate: half of 21 trials of a second lose nothing.
    pub const NDR: Self = Self {
        name: "ndr",
        loss_ratio: 0.0,
        exceed_ratio: 0.5,
        initial_trial_s: 1.0,
        final_trial_s: 1.0,
        duration_sum_s: 21.0,
        width: 0.005,
    };

    /// Partial-drop rate: half of 21 trials of a second lose at most 0.5 %.
    pub const PDR: Self = Self { name: "pdr", loss_ratio: 0.005, ..Self::NDR };

    /// The throughput of RFC 2544, section 26.1: one trial of a minute loses nothing.
    pub const RFC2544: Self = Self {
        name: "rfc2544",
        loss_ratio: 0.0,
        exceed_ratio: 0.0,
        initial_trial_s: 1.0,
        final_trial_s: 60.0,
        duration_sum_s: 60.0,
        width: 0.005,
    };

    /// The same goal with less patience: trials of `trial_s` seconds, three of which decide. Never recorded.
    #[must_use]
    pub const fn quick(self, trial_s: f64) -> Self {
        Self {
            initial_trial_s: trial_s,
            final_trial_s: trial_s,
            duration_sum_s: 3.0 * trial_s,
            width: 0.02,
            ..self
        }
    }

    /// The goal, if it is one.
    ///
    /// # Errors
    /// [`GoalError`]: the first attribute that cannot be.
    pub fn checked(self) -> Result<Self, GoalError> {
        let goal = self.name;
        for (attribute, given) in [("loss ratio", self.loss_ratio), ("exceed ratio", self.exceed_ratio)] {
            if !(0.0..1.0).contains(&given) {
                return Err(GoalError::Ratio { goal, attribute, given });
            }
        }
        let positive = [
            ("initial trial duration", self.initial_trial_s),
            ("final trial duration", self.final_trial_s),
            ("duration sum", self.duration_sum_s),
            ("width", self.width),
        ];
        for (attribute, given) in positive {
            if !(0.0 < given && given.is_finite()) {
                return Err(GoalError::Positive { goal, attribute, given });
            }
        }
        if self.final_trial_s < self.initial_trial_s {
            return Err(GoalError::InitialTrial { goal });
        }
        Ok(self)
    }

    /// An easier goal on the way: `share` 0 is one initial trial, 1 the goal itself; the width is doubled as often as
    /// `wider` says.
    #[must_use]
    pub(super) fn preceding(self, share: f64, wider: u32) -> Self {
        let between = |from: f64, to: f64| from * (to / from).powf(share);
        let first = self.initial_trial_s;
        Self {
            final_trial_s: between(first, self.final_trial_s),
            duration_sum_s: between(first.min(self.duration_sum_s), self.duration_sum_s),
            width: (self.width * f64::from(1_u32 << wider)).min(0.5),
            ..self
        }
    }
}
