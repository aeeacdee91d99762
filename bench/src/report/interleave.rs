//! A B B A: two measurements taken in turns, so that whatever the machine does, it does to both.
//!
//! Each pair of neighbours gives one ratio. "Faster" is said only if nine of ten pairs say it.
use serde::Serialize;

use super::{bench::Better, spread::Spread};

/// Fewest runs of each side that may be recorded.
pub const RUNS: u32 = 10;
/// The share of pairs that must agree before anything is called faster or slower.
pub const AGREEMENT: f64 = 0.9;

/// Pairs of measurements.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    better: Better,
    pairs: Vec<(f64, f64)>,
}

/// What the pairs say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Ours is better in at least nine of ten pairs.
    Faster,
    /// Ours is worse in at least nine of ten pairs.
    Slower,
    /// Neither can be said.
    Even,
}

/// Runs `ours` and `peer` `runs` times each, in the order A B B A A B B A …
///
/// # Errors
/// The first error of either stops the series.
pub fn interleaved<E>(
    runs: u32,
    better: Better,
    mut ours: impl FnMut() -> Result<f64, E>,
    mut peer: impl FnMut() -> Result<f64, E>,
) -> Result<Pairs, E> {
    let mut pairs = Vec::with_capacity(runs as usize);
    for run in 0..runs {
        let pair = if run % 2 == 0 {
            let first = ours()?;
            (first, peer()?)
        } else {
            let first = peer()?;
            (ours()?, first)
        };
        pairs.push(pair);
    }
    Ok(Pairs { better, pairs })
}

impl Pairs {
    /// Measurements taken elsewhere.
    #[must_use]
    pub const fn new(better: Better, pairs: Vec<(f64, f64)>) -> Self {
        Self { better, pairs }
    }

    /// How many pairs.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.pairs.len() as u32
    }

    /// Whether more or less is better.
    #[must_use]
    pub const fn better(&self) -> Better {
        self.better
    }

    /// The spread of our runs.
    #[must_use]
    pub fn ours(&self) -> Option<Spread> {
        Spread::of(&self.our_runs())
    }

    /// The spread of the peer's runs.
    #[must_use]
    pub fn peer(&self) -> Option<Spread> {
        Spread::of(&self.peer_runs())
    }

    /// The spread of the ratios of pairs: above 1, ours is better.
    #[must_use]
    pub fn ratio(&self) -> Option<Spread> {
        Spread::of(&self.ratios())
    }

    /// Our runs, in their order.
    #[must_use]
    pub fn our_runs(&self) -> Vec<f64> {
        self.pairs.iter().map(|p| p.0).collect()
    }

    /// The peer's runs, in their order.
    #[must_use]
    pub fn peer_runs(&self) -> Vec<f64> {
        self.pairs.iter().map(|p| p.1).collect()
    }

    /// How much more ours was than the peer's, pair by pair.
    #[must_use]
    pub fn differences(&self) -> Vec<f64> {
        self.pairs.iter().map(|&(ours, peer)| ours - peer).collect()
    }

    /// In how many pairs ours was better.
    #[must_use]
    pub fn wins(&self) -> u32 {
        self.ratios().iter().filter(|&&r| 1.0 < r).count() as u32
    }

    /// What may be said.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let ratios = self.ratios();
        let enough = AGREEMENT * ratios.len() as f64;
        let losses = ratios.iter().filter(|&&r| r < 1.0).count();
        match f64::from(self.wins()) {
            _ if ratios.is_empty() => Verdict::Even,
            wins if enough <= wins => Verdict::Faster,
            _ if enough <= losses as f64 => Verdict::Slower,
            _ => Verdict::Even,
        }
    }

    fn ratios(&self) -> Vec<f64> {
        self.pairs.iter().map(|&(ours, peer)| self.better.ratio(ours, peer)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn turns_are_a_b_b_a() {
        let order = RefCell::new(String::new());
        let turn = |name: char, value: f64| {
            order.borrow_mut().push(name);
            Ok::<_, ()>(value)
        };
        let pairs = interleaved(4, Better::Higher, || turn('A', 2.0), || turn('B', 1.0)).expect("no errors");
        assert_eq!(order.into_inner(), "ABBAABBA");
        assert_eq!(pairs, Pairs::new(Better::Higher, vec![(2.0, 1.0); 4]));
    }

    #[test]
    fn an_error_stops_the_series() {
        let mut runs = 0;
        let peer = || {
            runs += 1;
            if runs == 2 { Err("gone") } else { Ok(1.0) }
        };
        assert_eq!(interleaved(10, Better::Higher, || Ok(1.0), peer), Err("gone"));
        assert_eq!(runs, 2);
    }

    #[test]
    fn nine_of_ten_must_agree() {
        let won = |wins: usize| {
            let pairs = (0..10).map(|i| if i < wins { (1.1, 1.0) } else { (1.0, 1.1) }).collect();
            Pairs::new(Better::Higher, pairs).verdict()
        };
        assert_eq!([9, 8, 2, 1].map(won), [Verdict::Faster, Verdict::Even, Verdict::Even, Verdict::Slower]);
        let ties = Pairs::new(Better::Higher, vec![(1.0, 1.0); 10]);
        assert_eq!((ties.verdict(), ties.wins()), (Verdict::Even, 0));
    }

    #[test]
    fn less_can_be_better() {
        let pairs = Pairs::new(Better::Lower, vec![(50.0, 60.0); 10]);
        assert_eq!(pairs.verdict(), Verdict::Faster);
        assert_eq!(pairs.ratio(), Some(Spread::exactly(1.2)));
    }
}
