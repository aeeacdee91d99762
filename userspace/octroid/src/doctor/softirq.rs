//! Whether an engine that spins shares its core with the softirq that brings its packets.
//!
//! It then starves it: 0.11 million packets a second instead of 4.2. Only engines told to be `busy` can do this.
use std::{fs, thread, time::Duration};

use client::control::answer::DoctorRow;
use ixp::spec::{EngineSpec, Idle};

use super::{ok, warn};

/// NET_RX softirqs between two looks that are no accident.
const MANY: u64 = 5;

/// NET_RX softirqs on the cores of spinning engines, between two looks.
#[derive(Clone, Debug, Default)]
pub struct Softirqs {
    cores: Vec<usize>,
    last: Vec<u64>,
    served: Vec<usize>,
}

impl Softirqs {
    /// The cores to look at: none unless the engines spin.
    #[must_use]
    pub fn of(engine: &EngineSpec) -> Self {
        let mut cores = if engine.idle == Idle::Busy { engine.cores.clone() } else { Vec::new() };
        cores.sort_unstable();
        cores.dedup();
        Self { cores, ..Self::default() }
    }

    /// Looks again.
    pub fn look(&mut self) {
        if self.cores.is_empty() {
            return;
        }
        let now = net_rx(&fs::read_to_string("/proc/softirqs").unwrap_or_default());
        let count = |sample: &[u64], core: usize| sample.get(core).copied().unwrap_or(0);
        if !self.last.is_empty() {
            let many = |&&core: &&usize| MANY <= count(&now, core).saturating_sub(count(&self.last, core));
            self.served = self.cores.iter().filter(many).copied().collect();
        }
        self.last = now;
    }

    /// Cores that spin and, when last looked at, also served NET_RX.
    #[must_use]
    pub fn starved(&self) -> &[usize] {
        &self.served
    }
}

pub(super) fn examine(engine: &EngineSpec) -> Vec<DoctorRow> {
    const ID: &str = "idle.softirq";
    const WINDOW: Duration = Duration::from_millis(50);
    let mut softirqs = Softirqs::of(engine);
    if softirqs.cores.is_empty() {
        return vec![ok(ID, None, "no engine spins")];
    }
    softirqs.look();
    thread::sleep(WINDOW);
    softirqs.look();
    let judge = |core: &usize| {
        let subject = format!("core {core}");
        if softirqs.starved().contains(core) {
            let fix = "idle = \"adaptive\", or move the interrupts elsewhere";
            return warn(ID, Some(&subject), "spins, and also serves NET_RX", fix);
        }
        ok(ID, Some(&subject), "spins, and serves no NET_RX")
    };
    softirqs.cores.iter().map(judge).collect()
}

/// NET_RX softirqs of each core, from `/proc/softirqs`.
pub(super) fn net_rx(text: &str) -> Vec<u64> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("NET_RX:")).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(|count| count.parse().ok()).collect()
}
