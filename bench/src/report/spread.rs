//! Five numbers that say what a few runs have in common: ends, quartiles, median.
//!
//! No mean and no deviation: a shared machine interrupts some runs, and those must not move the figure.
use serde::Serialize;

/// Minimum, quartiles and maximum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// A quarter lies below.
    pub q1: f64,
    /// Half lies below.
    pub median: f64,
    /// Three quarters lie below.
    pub q3: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of some runs, which need no order. Runs that are not numbers are left out; `None` if none is left.
    #[must_use]
    pub fn of(runs: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = runs.iter().copied().filter(|x| !x.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let at = |share: f64| quantile(&sorted, share);
        Some(Self { min, q1: at(0.25), median: at(0.5), q3: at(0.75), max })
    }

    /// The spread of a number that is known, not measured.
    #[must_use]
    pub const fn exactly(value: f64) -> Self {
        Self { min: value, q1: value, median: value, q3: value, max: value }
    }
}

/// Between the two nearest values, in proportion (Hyndman and Fan's type 7).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quartiles_lie_between_runs() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).expect("four runs");
        assert_eq!(spread, Spread { min: 1.0, q1: 1.75, median: 2.5, q3: 3.25, max: 4.0 });
        assert_eq!(Spread::of(&[7.0, f64::NAN]), Some(Spread::exactly(7.0)));
        assert_eq!(Spread::of(&[f64::NAN]), None);
    }

    proptest! {
        #[test]
        fn the_five_are_in_order(runs in prop::collection::vec(-1e9_f64..1e9, 1..50)) {
            let s = Spread::of(&runs).expect("at least one run");
            prop_assert!(s.min <= s.q1 && s.q1 <= s.median && s.median <= s.q3 && s.q3 <= s.max);
        }
    }
}
