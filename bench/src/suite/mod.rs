//! Suites of benches: each measures Octroi against its peers in one run, taken in turns, and reports one row a bench.
//!
//! | module | rows |
//! |---|---|
//! | [`wire`] | `rx_veth_60`, `rx_veth_60_floor`, `echo_veth_60`: over a veth pair |
//! | [`steer`] | `steer_hit`, `steer_miss`: what steering costs claimed packets and all others |
//! | [`inner`] | `memory_64`, `contexts_*`: engines without a kernel |
//! | [`life`] | `start_up`, `doctor`, `status`, `idle`: the daemon as a program among others |
//!
//! The engine runs on core 0 and the generator on core 1, always; a machine with more cores leaves the rest idle.
use std::str::FromStr;

use anyhow::{Context, Result};
use thiserror::Error;

use crate::report::{
    bench::{BenchReport, Row},
    interleave::RUNS,
    machine::{self, Machine},
};

mod inner;
mod life;
mod stage;
mod steer;
mod wire;

/// Which suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// The road: wire, XDP, AF_XDP, microengines.
    Road,
}

/// No such suite.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is one suite: road")]
pub struct UnknownSuite;

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(text: &str) -> Result<Self, UnknownSuite> {
        if text == "road" { Ok(Self::Road) } else { Err(UnknownSuite) }
    }
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Runs of each side.
    pub runs: u32,
    /// Only rows whose id contains one of these; empty: all.
    pub only: Vec<String>,
}

impl Extent {
    /// Enough for a record.
    #[must_use]
    pub const fn whole(only: Vec<String>) -> Self {
        Self { runs: RUNS, only }
    }

    /// A look: never recorded.
    #[must_use]
    pub const fn quick(only: Vec<String>) -> Self {
        Self { runs: 3, only }
    }

    fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| id.contains(part.as_str()))
    }
}

/// A group of rows that share what they are measured with, and what measures them.
type Group = (&'static [&'static str], fn(u32, &mut Vec<Row>) -> Result<()>);

const ROAD: [Group; 4] = [
    (&["memory_64", "contexts_8_vs_1"], inner::rows),
    (&["steer_hit", "steer_miss"], steer::rows),
    (&["rx_veth_60", "rx_veth_60_floor", "echo_veth_60"], wire::rows),
    (&["start_up", "doctor", "status", "idle"], life::rows),
];

impl Suite {
    /// Measures. `say` is told what comes next.
    ///
    /// # Errors
    /// A privilege is missing, or something that is measured does not run. A row below its limit is in the report.
    pub fn run(self, extent: &Extent, say: &dyn Fn(&str)) -> Result<BenchReport> {
        let Self::Road = self;
        let mut rows = Vec::new();
        for (ids, measure) in ROAD {
            if ids.iter().any(|id| extent.wants(id)) {
                say(&ids.join(", "));
                measure(extent.runs, &mut rows).with_context(|| ids.join(", "))?;
            }
        }
        rows.retain(|row| extent.wants(&row.id));
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        Ok(BenchReport { machine: Machine::here().describe(), commit: machine::commit(root), rows })
    }
}
