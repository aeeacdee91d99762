//! Which load is measured next, and when it is enough.
//!
//! Each goal is approached in three phases: an easy version of it (one initial trial decides, four times the
//! width), a middle one, and itself. A phase begins where the one before it ended, so most trials are spent close
//! to the answer. All goals share all trials. Within a phase:
//!
//! ```text
//!  no bound yet        the load that the phase before (or the first trial's forwarding rate) points at
//!  only a lower one    up, in steps that double, to the maximal load at most
//!  only an upper one   down, in steps that double, to the minimal load at most
//!  both, too far apart the middle, on a logarithmic scale
//! ```
//!
//! Why not plain bisection of one trial a load: on a shared machine one interrupted second would decide. Why not
//! start with full patience: most loads are far from the answer, and one second says so.
use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use super::{
    classify::{Bound, classify, conditional_throughput},
    goal::{Goal, GoalError},
    trial::{Load, Trial, TrialResult},
};

/// Most trials of one search; one that needs more ends irregularly.
pub const MAX_TRIALS: usize = 5_000;
/// Most goals of one search.
pub const MAX_GOALS: usize = 8;
/// Fewest trials that say something about a load, if there is no time for as many as the goal wants.
pub const MIN_TENTATIVE: usize = 3;
/// Phases of a goal, itself included.
const PHASES: u32 = 3;

/// A search.
#[derive(Clone, Debug)]
pub struct Search {
    goals: Vec<Goal>,
    min: Load,
    max: Load,
    trials: BTreeMap<Load, Vec<TrialResult>>,
    made: usize,
    phase: u32,
    goal: usize,
    hints: Vec<Bounds>,
    steps: u32,
    measuring: Option<Load>,
    done: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Make this trial and record its result.
    Measure(Trial),
    /// Nothing: the results are there.
    Done,
}

/// What a search found for one goal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GoalResult {
    /// The goal.
    pub goal: Goal,
    /// Both bounds exist, and are as close as the goal wants.
    pub regular: bool,
    /// The highest load below the upper bound that meets the goal; if the maximal load meets it, that.
    pub lower: Option<Load>,
    /// The lowest load that fails it.
    pub upper: Option<Load>,
    /// What a search without time for all its trials can say: the highest load of which most trials met the goal, of
    /// [`MIN_TENTATIVE`] at least, below the first of which most did not.
    pub tentative: Option<Load>,
    /// What typically comes through at the lower bound, in frames a second.
    pub conditional_throughput: Option<f64>,
}

/// Why there is no search.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum SearchError {
    /// A goal that is none.
    #[error(transparent)]
    Goal(#[from] GoalError),
    /// No goal or too many.
    #[error("{given} goals asked, 1 to {MAX_GOALS} are possible")]
    Goals {
        /// How many.
        given: usize,
    },
    /// An empty range of loads.
    #[error("loads from {min} to {max} are not a range above 0")]
    Loads {
        /// The lowest.
        min: Load,
        /// The highest.
        max: Load,
    },
}

/// The relevant bounds for a goal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bounds {
    lower: Option<Load>,
    upper: Option<Load>,
}

impl Search {
    /// A search for `goals`, best the strictest first, with loads from `min` to `max`.
    ///
    /// # Errors
    /// [`SearchError`] if a goal or the range is impossible.
    pub fn new(goals: &[Goal], min: Load, max: Load) -> Result<Self, SearchError> {
        if goals.is_empty() || MAX_GOALS < goals.len() {
            return Err(SearchError::Goals { given: goals.len() });
        }
        if min.0 == 0 || max <= min {
            return Err(SearchError::Loads { min, max });
        }
        let goals = goals.iter().map(|goal| goal.checked()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            hints: vec![Bounds { lower: None, upper: Some(max) }; goals.len()],
            goals,
            min,
            max,
            trials: BTreeMap::new(),
            made: 0,
            phase: 0,
            goal: 0,
            steps: 0,
            measuring: None,
            done: false,
        })
    }

    /// The next trial. Asked again without a result, it names the same one.
    pub fn step(&mut self) -> Step {
        while !self.done {
            let target = self.target();
            if let Some(load) = self.measuring {
                if self.bound(&target, load) == Bound::Undecided && self.made < MAX_TRIALS {
                    return Step::Measure(Trial { load, duration_s: target.final_trial_s });
                }
                self.measuring = None;
            }
            match self.candidate(&target) {
                Some(load) if self.made < MAX_TRIALS => self.measuring = Some(load),
                _ => self.leave(&target),
            }
        }
        Step::Done
    }

    /// Takes in the result of the trial that [`Search::step`] named.
    pub fn record(&mut self, result: TrialResult) {
        let Some(load) = self.measuring else { return };
        if self.made == 0 {
            // RFC 9971 leaves the start open: what came through at the first load is a good guess.
            let through = Load::nearest(load.per_second() * (1.0 - result.loss_ratio));
            self.hints.iter_mut().for_each(|hint| hint.lower = Some(through));
        }
        self.made += 1;
        self.trials.entry(load).or_default().push(result);
    }

    /// Trials so far.
    #[must_use]
    pub const fn trials(&self) -> usize {
        self.made
    }

    /// The results, one a goal, in their order. Before [`Step::Done`] they are what is known so far.
    #[must_use]
    pub fn results(&self) -> Vec<GoalResult> {
        self.goals.iter().map(|goal| self.result(goal)).collect()
    }

    fn result(&self, goal: &Goal) -> GoalResult {
        let bounds = self.bounds(goal);
        let trials = |load: Load| self.trials.get(&load).map_or(&[][..], Vec::as_slice);
        GoalResult {
            goal: *goal,
            regular: bounds.within(goal.width),
            lower: bounds.lower,
            upper: bounds.upper,
            tentative: bounds.lower.or_else(|| self.tentative(goal)),
            conditional_throughput: bounds
                .lower
                .and_then(|load| conditional_throughput(goal, load, trials(load))),
        }
    }

    fn tentative(&self, goal: &Goal) -> Option<Load> {
        let hurried = |trials: &[TrialResult]| {
            let duration_sum_s = trials.iter().map(|trial| trial.effective_s).sum();
            classify(&Goal { duration_sum_s, ..*goal }, trials)
        };
        let mut known = self.trials.iter().filter(|(_, trials)| MIN_TENTATIVE <= trials.len());
        let mut met = None;
        while let Some((&load, trials)) = known.next()
            && hurried(trials) == Bound::Lower
        {
            met = Some(load);
        }
        met
    }

    /// The version of the current goal that the current phase wants.
    fn target(&self) -> Goal {
        let left = PHASES - 1 - self.phase;
        let goal = self.goals[self.goal];
        if left == 0 { goal } else { goal.preceding(f64::from(self.phase) / f64::from(PHASES - 1), left) }
    }

    /// Ends the current goal's phase.
    fn leave(&mut self, target: &Goal) {
        self.hints[self.goal] = self.bounds(target);
        self.steps = 0;
        self.goal += 1;
        if self.goal == self.goals.len() {
            self.goal = 0;
            self.phase += 1;
            self.done = self.phase == PHASES;
        }
        self.done |= MAX_TRIALS <= self.made;
    }

    /// The next load to decide about, or `None` if the target is reached or cannot be.
    fn candidate(&mut self, target: &Goal) -> Option<Load> {
        let bounds = self.bounds(target);
        let hint = self.hints[self.goal];
        let load = match (bounds.lower, bounds.upper) {
            (Some(_), Some(_)) if bounds.within(target.width) => return None,
            (Some(lower), Some(upper)) => Load::nearest((lower.per_second() * upper.per_second()).sqrt()),
            (None, None) => hint.lower.or(hint.upper).unwrap_or(self.max),
            (Some(lower), None) => match hint.upper {
                Some(upper) if lower < upper => upper,
                _ => Load::nearest(lower.per_second() * (1.0 + self.stride(target))),
            },
            (None, Some(upper)) => match hint.lower {
                Some(lower) if lower < upper => lower,
                _ => Load::nearest(upper.per_second() * (1.0 - self.stride(target)).max(0.0)),
            },
        };
        let load = load.clamp(self.min, self.max);
        // What is decided already brings nothing new: neighbours without a load between them, or an end of the range.
        (self.bound(target, load) == Bound::Undecided).then_some(load)
    }

    /// How far the next step outwards goes, relative to the load: the width, then twice as much, and so on.
    fn stride(&mut self, target: &Goal) -> f64 {
        let stride = target.width * 2_f64.powi(self.steps as i32);
        self.steps = (self.steps + 1).min(16);
        stride
    }

    fn bound(&self, goal: &Goal, load: Load) -> Bound {
        self.trials.get(&load).map_or(Bound::Undecided, |trials| classify(goal, trials))
    }

    /// The relevant bounds: the lowest upper one, and the highest lower one below it.
    ///
    /// Without an upper bound only the maximal load is an end: it stands for the lower bound that RFC 9971 calls
    /// effective.
    fn bounds(&self, goal: &Goal) -> Bounds {
        let mut bounds = Bounds::default();
        for (&load, trials) in &self.trials {
            match classify(goal, trials) {
                Bound::Lower => bounds.lower = Some(load),
                Bound::Upper => {
                    bounds.upper = Some(load);
                    break;
                }
                Bound::Undecided => {}
            }
        }
        bounds
    }
}

impl Bounds {
    fn within(&self, width: f64) -> bool {
        match (self.lower, self.upper) {
            (Some(lower), Some(upper)) => (upper.0 - lower.0) as f64 <= width * upper.per_second(),
            _ => false,
        }
    }
}

/// Runs two searches in turns, trial by trial, until both are done: ours first, then the peer's, then the peer's, …
///
/// # Errors
/// The first error of `measure` ends both.
pub fn in_turns<E>(
    ours: &mut Search,
    peer: &mut Search,
    mut measure: impl FnMut(Side, Trial) -> Result<TrialResult, E>,
) -> Result<(), E> {
    let mut turn = |search: &mut Search, side| match search.step() {
        Step::Done => Ok(false),
        Step::Measure(trial) => {
            search.record(measure(side, trial)?);
            Ok(true)
        }
    };
    loop {
        let forth = [turn(ours, Side::Ours)?, turn(peer, Side::Peer)?];
        let back = [turn(peer, Side::Peer)?, turn(ours, Side::Ours)?];
        if forth == [false; 2] && back == [false; 2] {
            return Ok(());
        }
    }
}

/// Whose trial it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Ours.
    Ours,
    /// The peer's.
    Peer,
}

#[cfg(test)]
mod tests;
