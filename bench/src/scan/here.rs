//! A scanner in this process: its passes timed here, with the clock around each pass and nothing else.
use std::time::Instant;

use anyhow::Result;

use super::contest::{Round, Scanner};

/// What goes over its packets once.
pub trait Pass {
    /// Who it is.
    fn name(&self) -> String;

    /// Undoes what the last pass wrote into packets, in nobody's time.
    fn refresh(&mut self) {}

    /// How many packets are hits.
    fn pass(&mut self) -> u64;

    /// A sum over what is in memory ([`super::packets::sum`]).
    fn sum(&self) -> u64;
}

/// A scanner of this process.
pub struct Here<P>(pub P);

impl<P: Pass> Scanner for Here<P> {
    fn name(&self) -> String {
        self.0.name()
    }

    fn round(&mut self, passes: u64) -> Result<Round> {
        let (mut took_ns, mut hits) = (0, 0);
        for _ in 0..passes {
            self.0.refresh();
            let start = Instant::now();
            hits = std::hint::black_box(self.0.pass());
            took_ns += start.elapsed().as_nanos() as u64;
        }
        Ok(Round { took_ns, hits, sum: self.0.sum() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts its passes, and what it was refreshed for.
    struct Counted(u64, u64);

    impl Pass for Counted {
        fn name(&self) -> String {
            "counted".into()
        }

        fn refresh(&mut self) {
            self.1 += 1;
        }

        fn pass(&mut self) -> u64 {
            self.0 += 1;
            self.0
        }

        fn sum(&self) -> u64 {
            self.1
        }
    }

    #[test]
    fn every_pass_finds_its_packets_fresh() {
        let round = Here(Counted(0, 0)).round(5).unwrap();
        assert_eq!((round.hits, round.sum), (5, 5), "hits are those of the last pass");
    }
}
