//! Searches of simulated systems.
use proptest::prelude::*;

use super::*;
use crate::traffic::seeded::Seeded;

const MIN: Load = Load(1_000);
const MAX: Load = Load(10_000_000);

/// Searches a system whose loss at a load is `loss`, and returns the results and the loads measured.
fn search(goals: &[Goal], mut loss: impl FnMut(Trial) -> f64) -> (Vec<GoalResult>, Vec<Trial>) {
    let mut search = Search::new(goals, MIN, MAX).expect("legal goals");
    let mut made = Vec::new();
    while let Step::Measure(trial) = search.step() {
        assert_eq!(search.step(), Step::Measure(trial), "asking changes nothing");
        assert!((MIN..=MAX).contains(&trial.load), "{trial:?}");
        search.record(TrialResult::of(trial, loss(trial)));
        made.push(trial);
    }
    assert_eq!(search.trials(), made.len());
    (search.results(), made)
}

/// Loses what is above `capacity`.
fn hard(capacity: f64) -> impl Fn(Trial) -> f64 {
    move |trial| (1.0 - capacity / trial.load.per_second()).max(0.0)
}

#[test]
fn ndr_and_pdr_of_a_system_with_a_hard_limit() {
    let (results, made) = search(&[Goal::NDR, Goal::PDR], hard(3_456_789.0));
    let [ndr, pdr] = results[..] else { panic!("{results:?}") };
    assert!(ndr.regular && pdr.regular);
    let between = |r: GoalResult| (r.lower.expect("found").0, r.upper.expect("found").0);
    let (low, high) = between(ndr);
    assert!(low <= 3_456_789 && 3_456_789 < high && (high - low) as f64 <= 0.005 * high as f64);
    assert_eq!(ndr.conditional_throughput, Some(low as f64));
    // 0.5 % loss at capacity / 0.995.
    let (low, high) = between(pdr);
    assert!(low <= 3_474_160 && 3_474_159 <= high, "{pdr:?}");
    assert!(pdr.conditional_throughput.expect("found") <= 3_456_789.5);
    assert!(made.len() <= 120, "{} trials", made.len());
}

#[test]
fn rfc2544_needs_few_long_trials() {
    let (results, made) = search(&[Goal::RFC2544], hard(2_000_000.0));
    assert!(results[0].regular);
    let long = made.iter().filter(|t| t.duration_s == 60.0).count();
    assert!(long <= 4, "{long} of {} trials are of full length", made.len());
}

#[test]
fn a_system_that_carries_everything_is_irregular() {
    let (results, made) = search(&[Goal::NDR], |_| 0.0);
    let expected = GoalResult {
        goal: Goal::NDR,
        regular: false,
        lower: Some(MAX),
        upper: None,
        tentative: Some(MAX),
        conditional_throughput: Some(MAX.per_second()),
    };
    assert_eq!((results, made.len()), (vec![expected], 11));
}

#[test]
fn a_search_without_time_says_what_most_trials_said() {
    let mut search = Search::new(&[Goal::NDR], MIN, MAX).expect("legal goals");
    while let Step::Measure(trial) = search.step()
        && search.trials() < 20
    {
        search.record(TrialResult::of(trial, hard(3_456_789.0)(trial)));
    }
    let [found] = search.results()[..] else { panic!("one goal") };
    assert_eq!((found.regular, found.lower), (false, None), "none of 21 trials is bounded yet");
    let tentative = found.tentative.expect("three trials met it").per_second();
    assert!((0.97..=1.0).contains(&(tentative / 3_456_789.0)), "{tentative}");
}

#[test]
fn a_system_that_carries_nothing_is_irregular() {
    let (results, made) = search(&[Goal::NDR], |_| 1.0);
    assert_eq!((results[0].regular, results[0].lower, results[0].upper), (false, None, Some(MIN)));
    assert!(made.len() < 200, "{} trials", made.len());
}

#[test]
fn a_rare_interruption_does_not_decide() {
    // Every eighth second something loses 10 %, at any load.
    let mut second = 0;
    let (results, _) = search(&[Goal::NDR], |trial| {
        second += 1;
        if second % 8 == 0 { 0.1 } else { hard(1_000_000.0)(trial) }
    });
    let lower = results[0].lower.expect("found").0;
    assert!(results[0].regular && (990_000..=1_000_000).contains(&lower), "{results:?}");
}

#[test]
fn two_searches_take_turns() {
    let mut ours = Search::new(&[Goal::NDR], MIN, MAX).expect("legal");
    let mut peer = ours.clone();
    let mut order = String::new();
    let done = in_turns(&mut ours, &mut peer, |side, trial| {
        order.push(if side == Side::Ours { 'A' } else { 'B' });
        let capacity = if side == Side::Ours { 3e6 } else { 2e6 };
        Ok::<_, ()>(TrialResult::of(trial, hard(capacity)(trial)))
    });
    assert_eq!(done, Ok(()));
    assert!(order.starts_with("ABBAABBA"), "{order}");
    let lower = |search: &Search| search.results()[0].lower.expect("found").0;
    assert!(
        (2_985_000..=3_000_000).contains(&lower(&ours)) && (1_990_000..=2_000_000).contains(&lower(&peer))
    );
}

#[test]
fn what_cannot_be_searched_is_refused() {
    assert_eq!(Search::new(&[], MIN, MAX).unwrap_err(), SearchError::Goals { given: 0 });
    assert_eq!(Search::new(&[Goal::NDR], MAX, MIN).unwrap_err(), SearchError::Loads { min: MAX, max: MIN });
    assert_eq!(
        Search::new(&[Goal::NDR], Load(0), MAX).unwrap_err(),
        SearchError::Loads { min: Load(0), max: MAX }
    );
    let goal = Goal { exceed_ratio: 1.0, ..Goal::NDR };
    let error = GoalError::Ratio { goal: "ndr", attribute: "exceed ratio", given: 1.0 };
    assert_eq!(Search::new(&[goal], MIN, MAX).unwrap_err(), error.into());
    let goal = Goal { initial_trial_s: 2.0, ..Goal::NDR };
    let error = GoalError::InitialTrial { goal: "ndr" };
    assert_eq!(Search::new(&[goal], MIN, MAX).unwrap_err(), error.into());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a system does, a search ends, and what it calls a bound was measured to be one.
    #[test]
    fn every_search_ends(
        capacity in 500.0_f64..20e6,
        noise in 0.0_f64..1.0,
        depth in 0.0_f64..0.2,
        goals in prop::sample::subsequence(vec![Goal::NDR, Goal::PDR, Goal::RFC2544], 1..=3),
        seed: u64,
    ) {
        let mut seeded = Seeded::new(seed);
        let mut share = || seeded.below(1 << 53) as f64 / (1_u64 << 53) as f64;
        let loss = |trial| {
            let noisy = share() < noise;
            let extra = if noisy { depth * share() } else { 0.0 };
            (hard(capacity)(trial) + extra).min(1.0)
        };
        let (results, made) = search(&goals, loss);
        prop_assert!(made.len() <= MAX_TRIALS);
        for result in results {
            if let (Some(lower), Some(upper)) = (result.lower, result.upper) {
                prop_assert!(lower < upper);
            }
            if result.regular {
                let (lower, upper) = (result.lower.expect("regular"), result.upper.expect("regular"));
                prop_assert!((upper.0 - lower.0) as f64 <= result.goal.width * upper.per_second());
            }
            for load in [result.lower, result.upper].into_iter().flatten() {
                prop_assert!(made.iter().any(|t| t.load == load));
            }
        }
    }

    /// Without noise the answer is the capacity, for every goal at once.
    #[test]
    fn a_hard_limit_is_found(capacity in 2_000.0_f64..9e6) {
        let (results, _) = search(&[Goal::NDR, Goal::PDR, Goal::RFC2544], hard(capacity));
        for result in results {
            let highest = capacity / (1.0 - result.goal.loss_ratio);
            let (Some(lower), Some(upper)) = (result.lower, result.upper) else {
                return Err(TestCaseError::fail(format!("{result:?}")));
            };
            prop_assert!(result.regular, "{result:?}");
            prop_assert!(lower.per_second() <= highest * 1.000_001 && highest * 0.999_999 <= upper.per_second());
        }
    }
}
