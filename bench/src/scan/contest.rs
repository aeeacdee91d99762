//! Two scanners in turns: the same packets, as many passes each as fill a run, and the ratio of what they scan a second.
//!
//! Before anything counts, both must find the same hits and leave the same bytes behind: a fast wrong answer is no figure.
use std::cell::RefCell;

use anyhow::{Result, ensure};

use crate::report::{
    bench::Better,
    interleave::{Pairs, interleaved},
};

/// Nanoseconds that one run takes, more or less.
const RUN_NS: u64 = 60_000_000;

/// What goes over its packets as often as it is told.
pub trait Scanner {
    /// Who it is, and which version.
    fn name(&self) -> String;

    /// So many passes over all packets.
    ///
    /// # Errors
    /// It does not run.
    fn round(&mut self, passes: u64) -> Result<Round>;
}

/// What some passes were like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Nanoseconds of all of them.
    pub took_ns: u64,
    /// How many packets one of them hit.
    pub hits: u64,
    /// A sum over what was in memory afterwards ([`super::packets::Packets::sum`]).
    pub sum: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// The unit of a rate.
    pub unit: &'static str,
    /// How many of it one pass is, times a second.
    pub pass: f64,
}

impl Measure {
    /// In GB/s, for passes over so many bytes.
    #[must_use]
    pub fn bytes(bytes: usize) -> Self {
        Self { unit: "GB/s", pass: bytes as f64 / 1e9 }
    }

    /// In millions of packets a second, for passes over so many.
    #[must_use]
    pub fn packets(packets: usize) -> Self {
        Self { unit: "M packets/s", pass: packets as f64 / 1e6 }
    }

    fn rate(self, passes: u64, took_ns: u64) -> f64 {
        passes as f64 * self.pass * 1e9 / took_ns as f64
    }
}

/// A scanner that has been over its packets once, and how many passes make a run of it.
struct Runner<'s> {
    scanner: RefCell<&'s mut dyn Scanner>,
    passes: u64,
    first: Round,
}

impl<'s> Runner<'s> {
    /// The first pass finds everything cold, the second says how long one takes.
    fn new(scanner: &'s mut dyn Scanner) -> Result<Self> {
        scanner.round(1)?;
        let first = scanner.round(1)?;
        Ok(Self { scanner: RefCell::new(scanner), passes: passes(first.took_ns), first })
    }

    fn rate(&self, measure: Measure) -> Result<f64> {
        let mut scanner = self.scanner.borrow_mut();
        let round = scanner.round(self.passes)?;
        let Round { hits, sum, .. } = self.first;
        ensure!(
            (round.hits, round.sum) == (hits, sum),
            "{} found something else than before",
            scanner.name()
        );
        Ok(measure.rate(self.passes, round.took_ns))
    }
}

/// How many passes make a run, if one takes so long.
fn passes(pass_ns: u64) -> u64 {
    (RUN_NS / pass_ns.max(1)).max(1)
}

/// Both in turns, `runs` times each.
///
/// # Errors
/// One of them does not run, or they do not agree.
pub fn contest(runs: u32, measure: Measure, ours: &mut dyn Scanner, peer: &mut dyn Scanner) -> Result<Pairs> {
    agree(ours, peer)?;
    let (ours, peer) = (Runner::new(ours)?, Runner::new(peer)?);
    interleaved(runs, Better::Higher, || ours.rate(measure), || peer.rate(measure))
}

/// One alone, `runs` times: its rates.
///
/// # Errors
/// It does not run.
pub fn alone(runs: u32, measure: Measure, ours: &mut dyn Scanner) -> Result<Vec<f64>> {
    let ours = Runner::new(ours)?;
    (0..runs).map(|_| ours.rate(measure)).collect()
}

/// Makes sure that both find as many hits and leave the same bytes.
///
/// # Errors
/// They do not.
pub fn agree(ours: &mut dyn Scanner, peer: &mut dyn Scanner) -> Result<()> {
    let (a, b) = (ours.round(1)?, peer.round(1)?);
    ensure!(a.hits == b.hits, "{} hits {} packets, {} hits {}", ours.name(), a.hits, peer.name(), b.hits);
    ensure!(a.sum == b.sum, "{} and {} leave different bytes", ours.name(), peer.name());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as long for each pass as it says.
    struct Fake {
        pass_ns: u64,
        hits: u64,
        sum: u64,
        asked: Vec<u64>,
    }

    impl Fake {
        fn new(pass_ns: u64) -> Self {
            Self { pass_ns, hits: 3, sum: 7, asked: Vec::new() }
        }
    }

    impl Scanner for Fake {
        fn name(&self) -> String {
            format!("fake of {} ns", self.pass_ns)
        }

        fn round(&mut self, passes: u64) -> Result<Round> {
            self.asked.push(passes);
            Ok(Round { took_ns: passes * self.pass_ns, hits: self.hits, sum: self.sum })
        }
    }

    #[test]
    fn each_fills_its_runs_and_the_ratio_is_that_of_their_rates() {
        let (mut ours, mut peer) = (Fake::new(1_000_000), Fake::new(90_000_000));
        let pairs = contest(2, Measure::bytes(2_000_000), &mut ours, &mut peer).unwrap();
        assert_eq!(ours.asked, [1, 1, 1, 60, 60], "agreed, warmed up, timed, and two runs");
        assert_eq!(peer.asked, [1; 5], "a pass longer than a run is a run");
        assert!((pairs.ours().unwrap().median - 2.0).abs() < 1e-9, "2 MB in a millisecond are 2 GB/s");
        assert!((pairs.ratio().unwrap().median - 90.0).abs() < 1e-9);
    }

    #[test]
    fn packets_are_counted_in_millions() {
        let rates = alone(3, Measure::packets(4_096), &mut Fake::new(4_096_000)).unwrap();
        assert_eq!(rates, [1.0; 3], "a thousand nanoseconds each");
    }

    #[test]
    fn who_does_not_agree_is_not_measured() {
        let other = |hits, sum| Fake { hits, sum, ..Fake::new(1) };
        for (mut peer, why) in [(other(2, 7), "hits 3 packets"), (other(3, 8), "different bytes")] {
            let error = contest(1, Measure::packets(1), &mut Fake::new(1), &mut peer).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(peer.asked, [1]);
        }
    }

    #[test]
    fn a_clock_that_stood_still_is_no_division_by_zero() {
        assert_eq!(passes(0), RUN_NS);
    }
}
