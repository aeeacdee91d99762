//! The monotonic clock, and where a thread runs: on which core, in which network namespace.
//!
//! The clock is the one that `bpf_ktime_get_ns` reads, so that times stamped inside the kernel can be compared.
use std::{fs::File, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CloneFlags, setns},
    time::{ClockId, clock_gettime},
};

/// Where named network namespaces are.
const NETNS: &str = "/run/netns";
/// A sleep ends this much late on an idle machine; the rest is waited out.
pub const SLACK_NS: u64 = 100_000;

/// What a loop reads and waits by.
pub trait Clock {
    /// Nanoseconds since some time.
    fn now_ns(&self) -> u64;

    /// Comes back at `ns`, or a little before: whoever needs it exact looks again.
    fn sleep_until(&self, ns: u64);
}

/// `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Monotonic;

impl Clock for Monotonic {
    fn now_ns(&self) -> u64 {
        // The kernel has had this clock for ever, and the vDSO does not fail.
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| Duration::from(t).as_nanos() as u64)
    }

    fn sleep_until(&self, ns: u64) {
        let left = ns.saturating_sub(self.now_ns());
        if SLACK_NS < left {
            thread::sleep(Duration::from_nanos(left - SLACK_NS));
        }
    }
}

/// Takes this thread, and those it starts, into the named network namespace.
///
/// Not by `ip netns exec`, which would hide bpffs behind another `/sys`.
///
/// # Errors
/// There is no such namespace, or this process may not enter it.
pub fn enter_netns(name: &str) -> Result<()> {
    ensure!(
        !name.is_empty() && !name.contains('/'),
        "--netns {name}: a name as `ip netns list` shows it is wanted"
    );
    let path = Path::new(NETNS).join(name);
    let file = File::open(&path)
        .with_context(|| format!("no network namespace {name}: `ip netns list` shows those there are"))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("cannot enter network namespace {name}: CAP_SYS_ADMIN is needed"))
}

/// Pins this thread to a core.
///
/// # Errors
/// There is no such core, or it is not ours to use.
pub fn pin(core: usize) -> Result<()> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let found = cores.iter().find(|c| c.id == core);
    let id = *found.with_context(|| format!("core {core} is not among those this process may use"))?;
    ensure!(core_affinity::set_for_current(id), "this thread cannot be pinned to core {core}");
    Ok(())
}
