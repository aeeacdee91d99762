//! What the trials at one load say about it: RFC 9971, appendices A and B.
//!
//! A load is a *lower bound* for a goal if the trials still missing from the goal's duration sum can no longer break
//! it, an *upper bound* if they can no longer save it, and undecided until then.
use super::{
    goal::Goal,
    trial::{Load, TrialResult},
};

/// Sums of durations that differ by rounding only are equal.
const EPSILON_S: f64 = 1e-9;

/// What a load is for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It meets the goal.
    Lower,
    /// It fails the goal.
    Upper,
    /// More trials are needed.
    Undecided,
}

/// Seconds of trials, by length and loss.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    full_low: f64,
    full_high: f64,
    short_low: f64,
    short_high: f64,
}

impl Sums {
    fn of(goal: &Goal, trials: &[TrialResult]) -> Self {
        let mut sums = Self::default();
        for trial in trials {
            let short = trial.duration_s < goal.final_trial_s;
            let high = goal.loss_ratio < trial.loss_ratio;
            let sum = match (short, high) {
                (false, false) => &mut sums.full_low,
                (false, true) => &mut sums.full_high,
                (true, false) => &mut sums.short_low,
                (true, true) => &mut sums.short_high,
            };
            *sum += trial.effective_s;
        }
        sums
    }
}

/// Appendix A: what a load with these trials is for `goal`.
#[must_use]
pub fn classify(goal: &Goal, trials: &[TrialResult]) -> Bound {
    let sums = Sums::of(goal, trials);
    // Short trials cannot show that a load is good; their high losses count as far as low ones do not balance them.
    let balancing = sums.short_low * goal.exceed_ratio / (1.0 - goal.exceed_ratio);
    let effective_high = sums.full_high + (sums.short_high - balancing).max(0.0);
    let whole = (sums.full_low + effective_high).max(goal.duration_sum_s);
    let tolerated = whole * goal.exceed_ratio + EPSILON_S;
    // The pessimist takes every missing trial for a high loss, the optimist for a low one.
    let pessimist = whole - sums.full_low <= tolerated;
    let optimist = effective_high <= tolerated;
    match (pessimist, optimist) {
        (true, true) => Bound::Lower,
        (false, false) => Bound::Upper,
        _ => Bound::Undecided,
    }
}

/// Appendix B: what typically comes through at `load`, in frames a second. `None` if no full-length trial was made.
#[must_use]
pub fn conditional_throughput(goal: &Goal, load: Load, trials: &[TrialResult]) -> Option<f64> {
    let mut full: Vec<&TrialResult> = trials.iter().filter(|t| goal.final_trial_s <= t.duration_s).collect();
    full.sort_by(|a, b| a.loss_ratio.total_cmp(&b.loss_ratio));
    let measured: f64 = full.iter().map(|t| t.effective_s).sum();
    let mut remaining = measured.max(goal.duration_sum_s) * (1.0 - goal.exceed_ratio);
    let mut loss_ratio = None;
    for trial in full {
        if loss_ratio.is_some() && remaining <= EPSILON_S {
            break;
        }
        loss_ratio = Some(trial.loss_ratio);
        remaining -= trial.effective_s;
    }
    let loss_ratio = if EPSILON_S < remaining { loss_ratio.map(|_| 1.0) } else { loss_ratio };
    loss_ratio.map(|ratio| load.per_second() * (1.0 - ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Goal = Goal { initial_trial_s: 1.0, ..Goal::RFC2544 };
    const TST009: Goal = Goal { name: "tst009", duration_sum_s: 120.0, exceed_ratio: 0.5, ..BASE };
    const ONE_SECOND: Goal = Goal { name: "1s final", final_trial_s: 1.0, loss_ratio: 0.005, ..TST009 };
    const TWENTY: Goal = Goal { name: "20% exceed", loss_ratio: 0.005, exceed_ratio: 0.2, ..BASE };

    /// So many trials, of so many seconds, that lost so much.
    type Kind = (usize, f64, f64);

    fn trials(kinds: &[Kind]) -> Vec<TrialResult> {
        let one = |&(n, duration_s, loss_ratio): &Kind| {
            vec![TrialResult { duration_s, effective_s: duration_s, loss_ratio }; n]
        };
        kinds.iter().flat_map(one).collect()
    }

    /// The goals and trials of RFC 9971's worked example: what four goals say of one load as its trials come in.
    ///
    /// The last goal's last two points follow the algorithm: 45 s of 105 and of 165 are more than a fifth.
    #[test]
    fn the_example_of_the_rfc() {
        use Bound::{Lower, Undecided, Upper};
        let (low, high) = (0.0, 0.01);
        let points: [(&[Kind], [Bound; 4]); 6] = [
            (&[(59, 1.0, low)], [Undecided; 4]),
            (&[(59, 1.0, low), (1, 1.0, high)], [Upper, Undecided, Undecided, Undecided]),
            (&[(59, 1.0, low), (60, 1.0, high)], [Upper, Undecided, Undecided, Upper]),
            (&[(60, 1.0, low), (60, 1.0, high)], [Upper, Undecided, Lower, Upper]),
            (&[(60, 1.0, low), (60, 1.0, high), (1, 60.0, 0.001)], [Upper, Undecided, Lower, Upper]),
            (
                &[(60, 1.0, low), (60, 1.0, high), (1, 60.0, 0.001), (1, 60.0, low)],
                [Upper, Lower, Lower, Upper],
            ),
        ];
        for (kinds, expected) in points {
            let trials = trials(kinds);
            let said = [BASE, TST009, ONE_SECOND, TWENTY].map(|goal| classify(&goal, &trials));
            assert_eq!(said, expected, "{kinds:?}");
        }
    }

    #[test]
    fn the_throughputs_of_the_rfc() {
        let trials = trials(&[(60, 1.0, 0.0), (60, 1.0, 0.01), (1, 60.0, 0.001), (1, 60.0, 0.0)]);
        let said = [TST009, ONE_SECOND, TWENTY].map(|g| conditional_throughput(&g, Load(1_000_000), &trials));
        assert_eq!(said, [Some(1_000_000.0), Some(1_000_000.0), Some(999_000.0)]);
        assert_eq!(conditional_throughput(&TST009, Load(5), &trials[..120]), None, "no full-length trial");
        let one = [TrialResult { duration_s: 60.0, effective_s: 60.0, loss_ratio: 0.0 }];
        let goal = Goal { duration_sum_s: 200.0, ..TST009 };
        assert_eq!(conditional_throughput(&goal, Load(5), &one), Some(0.0), "what is missing counts as lost");
    }

    #[test]
    fn eleven_of_twenty_one_seconds_decide() {
        let ndr = |low, high| classify(&Goal::NDR, &trials(&[(low, 1.0, 0.0), (high, 1.0, 0.1)]));
        assert_eq!([ndr(10, 0), ndr(11, 0), ndr(11, 10)], [Bound::Undecided, Bound::Lower, Bound::Lower]);
        assert_eq!([ndr(0, 10), ndr(0, 11), ndr(10, 11)], [Bound::Undecided, Bound::Upper, Bound::Upper]);
        assert_eq!(classify(&Goal::NDR, &[]), Bound::Undecided);
    }
}
