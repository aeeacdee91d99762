//! Ruler in memory and in XDP, on one core, against what else scans packets: the suite `ruler`.
//!
//! | module | rows |
//! |---|---|
//! | [`literals`] | `r1_*`, `r1_bytes_*`, `r2_*`, `r4_*`: literals anywhere in a packet |
//! | [`header`] | `r3`: a filter that looks at headers alone; `p9_class_*`: what a class handed over saves |
//! | [`requests`] | `r5_*`: every packet rewritten |
//! | [`programs`] | `r6_*`: generated header programs in XDP against the same by hand |
//! | [`compiling`] | `r7`: a thousand rules, from source to bound |
//!
//! Bare ids are against an aim of their own, in absolute figures, which means something on the machine of the record only;
//! they have no limit. Rows with a peer in their name have the ratio that counts. A peer that is missing is an error.
use anyhow::{Context as _, Result};

use super::Group;
use crate::report::bench::Row;

mod compiling;
mod header;
mod literals;
mod programs;
mod requests;

/// What is measured, in order.
pub(super) const GROUPS: [Group; 8] = [
    (&literals::R1.ids, |runs, rows| literals::rows(&literals::R1, runs, rows)),
    (&literals::R1_BYTES.ids, |runs, rows| literals::rows(&literals::R1_BYTES, runs, rows)),
    (&literals::R2.ids, |runs, rows| literals::rows(&literals::R2, runs, rows)),
    (&literals::R4.ids, |runs, rows| literals::rows(&literals::R4, runs, rows)),
    (&header::IDS, header::rows),
    (&requests::IDS, requests::rows),
    (&programs::IDS, programs::rows),
    (&compiling::IDS, compiling::rows),
];

/// What a ratio must reach and what it should.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Goal {
    limit: Option<f64>,
    aim: Option<f64>,
}

impl Goal {
    /// Nothing: the row shows how far away the peer is, or we are.
    const SHOWN: Self = Self { limit: None, aim: None };

    const fn new(limit: f64, aim: f64) -> Self {
        Self { limit: Some(limit), aim: Some(aim) }
    }

    fn of(self, row: Row) -> Row {
        let row = self.limit.map_or(row.clone(), |limit| row.with_limit(limit));
        self.aim.map_or(row.clone(), |aim| row.with_aim(aim))
    }
}

/// The row of an absolute aim, which fails nothing.
fn absolute(row: Option<Row>) -> Result<Row> {
    Ok(row.context("no runs")?.with_aim(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{
        bench::{Better, Outcome},
        interleave::Pairs,
    };

    fn row(ratio: f64) -> Row {
        Row::paired("r1_vs_x", "GB/s", "x", &Pairs::new(Better::Higher, vec![(ratio, 1.0); 10])).unwrap()
    }

    #[test]
    fn a_goal_has_a_floor_that_fails_and_an_aim_that_is_met_or_missed() {
        let goal = Goal::new(2.5, 4.0);
        for (ratio, ok, outcome) in
            [(4.0, true, Outcome::Met), (3.9, true, Outcome::Missed), (2.4, false, Outcome::Missed)]
        {
            let row = goal.of(row(ratio));
            assert_eq!((row.ok(), row.aim.unwrap().outcome), (ok, outcome), "{ratio}");
        }
        let shown = Goal::SHOWN.of(row(0.1));
        assert!(shown.ok() && shown.aim.is_none());
    }

    #[test]
    fn every_row_has_one_group() {
        let mut ids: Vec<&str> = GROUPS.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
