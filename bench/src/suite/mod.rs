//! Suites of benches: each measures Octroi against its peers in one run, taken in turns, and reports one row a bench.
//!
//! | module | rows |
//! |---|---|
//! | [`wire`] | `rx_veth_60`, `rx_veth_60_floor`, `echo_veth_60`, `echo_veth_60_kernel`: as fast as frames come |
//! | [`latency`] | `latency_veth_*`: how long an echo takes at a tenth, half and nine tenths of what comes back |
//! | [`burst`] | `burst_veth`: the longest burst without loss |
//! | [`rates`] | `ndr_veth_*`, `pdr_veth_*`: the highest rates without loss, searched; a suite of its own |
//! | [`steer`] | `steer_hit`, `steer_miss`: what steering costs claimed packets and all others |
//! | [`inner`] | `memory_64`, `contexts_*`: engines without a kernel |
//! | [`mux`], [`workers`] | `mux_*`, `egress_*`: into the rings of applications and out of them; the suite `stacks` |
//! | [`delivery`], [`victim`], [`http`] | `app_*`, `victim_*`, `http_*`: applications over a wire; the same suite |
//! | [`capture`] | `capture_memory`, `capture_veth`, `top_veth`: what looking costs |
//! | [`ruler`] | `r1_*` … `r7`, `p9_*`: filters on packets in memory, against what else scans; the suite `ruler` |
//! | [`life`] | `start_up`, `doctor`, `status`, `idle`: the daemon as a program among others |
//!
//! The engine runs on core 0 and the generator on core 1, always; a machine with more cores leaves the rest idle.
use std::str::FromStr;

use anyhow::{Context, Result};
use thiserror::Error;

use crate::report::{
    bench::{BenchReport, Flag, Row},
    interleave::RUNS,
    machine::{self, Machine},
};

mod apps;
mod burst;
mod capture;
mod delivery;
mod echoes;
mod http;
mod inner;
mod latency;
mod life;
mod mux;
mod rates;
mod ruler;
mod sending;
mod stage;
mod steer;
mod victim;
mod wire;
mod workers;

/// Which suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// The road: wire, XDP, AF_XDP, microengines.
    Road,
    /// Applications' stacks.
    Stacks,
    /// How much the road carries: the searches of RFC 9971.
    Rates,
    /// Ruler's engines in memory.
    Ruler,
}

/// No such suite.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the suites are road, stacks, rates and ruler")]
pub struct UnknownSuite;

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(text: &str) -> Result<Self, UnknownSuite> {
        match text {
            "road" => Ok(Self::Road),
            "stacks" => Ok(Self::Stacks),
            "rates" => Ok(Self::Rates),
            "ruler" => Ok(Self::Ruler),
            _ => Err(UnknownSuite),
        }
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

    fn names_none(&self) -> bool {
        self.only.is_empty()
    }

    const fn is_quick(&self) -> bool {
        self.runs < RUNS
    }

    fn wants(&self, id: &str) -> bool {
        self.names_none() || self.only.iter().any(|part| id.contains(part.as_str()))
    }
}

/// A group of rows that share what they are measured with, and what measures them.
type Group = (&'static [&'static str], fn(u32, &mut Vec<Row>) -> Result<()>);

const ROAD: [Group; 7] = [
    (&["memory_64", "contexts_8_vs_1"], inner::rows),
    (&["steer_hit", "steer_miss"], steer::rows),
    (&["rx_veth_60", "rx_veth_60_floor", "echo_veth_60", "echo_veth_60_kernel"], wire::rows),
    (&["latency_veth_10", "latency_veth_50", "latency_veth_90"], latency::rows),
    (&["burst_veth", "burst_veth_bare"], burst::rows),
    (&["capture_memory", "capture_veth", "top_veth"], capture::rows),
    (&["start_up", "doctor", "status", "idle"], life::rows),
];

const STACKS: [Group; 7] = [
    (&["mux_64", "mux_64_stacks", "egress_64", "spoof_64"], mux::rows),
    (&mux::GRID, mux::grid),
    (&["mux_workers_2", "egress_workers_2"], workers::rows),
    (&["app_veth_60"], delivery::rows),
    (&["app_veth_tx_60"], sending::rows),
    (
        &[
            "victim_flood",
            "victim_flood_arrived",
            "victim_flood_out",
            "victim_flood_out_arrived",
            "victim_spoof",
            "victim_spoof_arrived",
            "victim_stopped",
            "victim_stopped_arrived",
        ],
        victim::rows,
    ),
    (
        &[
            "http_1k_vs_ostcp",
            "http_1k_vs_nginx",
            "http_8k_vs_ostcp",
            "http_8k_vs_nginx",
            "http_16k_vs_ostcp",
            "http_16k_vs_nginx",
            "http_32k_vs_ostcp",
            "http_32k_vs_nginx",
        ],
        http::rows,
    ),
];

impl Suite {
    /// As it is called on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Road => "road",
            Self::Stacks => "stacks",
            Self::Rates => "rates",
            Self::Ruler => "ruler",
        }
    }

    /// Where packets are: `mode` of a record's row.
    #[must_use]
    pub const fn mode(self) -> &'static str {
        match self {
            Self::Road | Self::Stacks | Self::Rates => "native copy",
            Self::Ruler => "memory",
        }
    }

    /// Measures. `say` is told what comes next.
    ///
    /// # Errors
    /// A privilege is missing, or something that is measured does not run. A row below its limit is in the report.
    pub fn run(self, extent: &Extent, say: &dyn Fn(&str)) -> Result<BenchReport> {
        let mut rows = Vec::new();
        match self {
            Self::Road => groups(&ROAD, extent, say, &mut rows)?,
            Self::Stacks => groups(&STACKS, extent, say, &mut rows)?,
            Self::Rates => rates::rows(extent, say, &mut rows)?,
            Self::Ruler => groups(&ruler::GROUPS, extent, say, &mut rows)?,
        }
        rows.retain(|row| extent.wants(&row.id));
        if extent.is_quick() {
            rows = rows.into_iter().map(|row| row.flagged(Flag::Quick)).collect();
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        Ok(BenchReport { machine: Machine::here().describe(), commit: machine::commit(root), rows })
    }
}

fn groups(groups: &[Group], extent: &Extent, say: &dyn Fn(&str), rows: &mut Vec<Row>) -> Result<()> {
    for (ids, measure) in groups {
        if ids.iter().any(|id| extent.wants(id)) {
            say(&ids.join(", "));
            measure(extent.runs, rows).with_context(|| ids.join(", "))?;
        }
    }
    Ok(())
}
