//! The books: every packet accounted for, every frame of packet memory somewhere, and no counter moved but those named.
//!
//! Read from the daemon's `stats`, the registry that the command line and Prometheus show too.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use abi::counter::XdpCounter;
use anyhow::{Context as _, Result, bail, ensure};
use client::control::{
    answer::{Role, StatRow},
    status::{Census, QueueRow},
};

use super::{daemon::Daemon, until, veth::End};

/// One reading of all counters: name, labels, value.
#[derive(Clone, Debug, Default)]
pub struct Reading(BTreeMap<Key, (Role, u64)>);

/// A counter's name and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    labels: BTreeMap<String, String>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        let labels: Vec<_> = self.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        if labels.is_empty() { Ok(()) } else { write!(f, "{{{}}}", labels.join(",")) }
    }
}

impl Reading {
    /// Reads the daemon's counters.
    ///
    /// # Errors
    /// It does not answer, or names a counter twice.
    pub fn of(daemon: &mut Daemon) -> Result<Self> {
        let mut reading = BTreeMap::new();
        for StatRow { name, labels, role, value } in daemon.stats()? {
            let key = Key { name, labels };
            if let Some(first) = reading.insert(key.clone(), (role, value)) {
                bail!("{key} is shown twice: {first:?} and {value}");
            }
        }
        Ok(Self(reading))
    }

    /// The sum of all counters called `name`.
    #[must_use]
    pub fn sum(&self, name: &str) -> u64 {
        self.0.iter().filter(|(key, _)| key.name == name).map(|(_, (_, value))| value).sum()
    }

    /// The sum of all counters with role `role`.
    #[must_use]
    pub fn role(&self, role: Role) -> u64 {
        self.0.values().filter(|(r, _)| *r == role).map(|(_, value)| value).sum()
    }

    /// The counters that moved since `before`, and by how much, summed over labels.
    #[must_use]
    pub fn moves(&self, before: &Self) -> BTreeMap<&str, u64> {
        let names: BTreeSet<&str> = self.0.keys().map(|key| key.name.as_str()).collect();
        let by = |name| (name, self.sum(name).wrapping_sub(before.sum(name)));
        names.into_iter().map(by).filter(|&(_, by)| by != 0).collect()
    }

    /// Fails unless since `before` exactly the counters in `wanted` moved, by exactly so much, summed over labels.
    ///
    /// # Errors
    /// Another counter moved, or one moved otherwise; the error names all of them.
    pub fn moved(&self, before: &Self, wanted: &[(&str, u64)]) -> Result<()> {
        for (name, _) in wanted {
            ensure!(self.0.keys().any(|key| key.name == *name), "there is no counter {name}");
        }
        let wanted: BTreeMap<&str, u64> = wanted.iter().copied().filter(|&(_, by)| by != 0).collect();
        let moved = self.moves(before);
        ensure!(moved == wanted, "counters moved\n  by     {moved:?}\n  not by {wanted:?}");
        Ok(())
    }
}

/// The moves of `frames` frames of `bytes` bytes together that an echo returned.
#[must_use]
pub fn echoed(frames: u64, bytes: u64) -> Vec<(&'static str, u64)> {
    handed(frames, bytes, "transmitted")
}

/// The moves of `frames` frames of `bytes` bytes together that a sink took.
#[must_use]
pub fn sunk(frames: u64, bytes: u64) -> Vec<(&'static str, u64)> {
    handed(frames, bytes, "delivered")
}

fn handed(frames: u64, bytes: u64, end: &'static str) -> Vec<(&'static str, u64)> {
    let every = ["xdp.rx", "xdp.redirect", "rx", "rx_from_meta", "target.packets", end];
    every.into_iter().map(|name| (name, frames)).chain([("target.bytes", bytes)]).collect()
}

/// Waits until nothing is under way: no packet between two counters, none held, and no counter moving any more.
///
/// # Errors
/// It never comes to rest: packets are missing, or still held.
pub fn drain(daemon: &mut Daemon) -> Result<Reading> {
    let mut last = Reading::of(daemon)?;
    until("everything is at rest", || {
        let status = daemon.status()?;
        let now = Reading::of(daemon)?;
        let books = status.head.books;
        let rest = now.0 == last.0 && books.unaccounted == 0 && books.held == 0;
        last = now;
        Ok(rest)
    })
    .with_context(|| daemon.status().map_or_else(|e| e.to_string(), |s| format!("{:?}", s.head.books)))?;
    Ok(last)
}

/// Closes the books of a daemon at rest that serves `end`: no packet and no frame is missing, and no program failed.
///
/// # Errors
/// Something is missing; the error has the figures.
pub fn balance(daemon: &mut Daemon, end: &End) -> Result<()> {
    let reading = drain(daemon)?;
    packets(&reading)?;
    frames(daemon)?;
    programs(&reading, end)
}

/// The first book: `rx + submitted + created = delivered + transmitted + passed + Σ dropped + held`.
fn packets(reading: &Reading) -> Result<()> {
    let role = |role| reading.role(role);
    let came = role(Role::Rx) + role(Role::Submitted) + role(Role::Created);
    let went = role(Role::Delivered) + role(Role::Transmitted) + role(Role::Passed) + role(Role::Dropped);
    ensure!(came == went + role(Role::Held), "{came} packets came, {went} went: {reading:?}");
    Ok(())
}

/// The second book: of each queue's packet memory, every frame is free, with the kernel, or on its way out.
fn frames(daemon: &mut Daemon) -> Result<()> {
    for QueueRow { interface, queue, umem, .. } in daemon.status()?.queues {
        let Census { frames, free, fill, out, tx } = umem;
        ensure!(
            free + fill + out + tx == frames,
            "frames of {interface}, queue {queue} are missing: {umem:?}"
        );
        ensure!(out == 0, "frames of {interface}, queue {queue} are held at rest: {umem:?}");
    }
    Ok(())
}

/// No program fell into its error path, and the chain was never broken.
///
/// An aborted packet moves no counter of ours; the driver counts it with the drops. A generic program's drops, and
/// those of a device that was made anew since, the driver does not have.
fn programs(reading: &Reading, end: &End) -> Result<()> {
    ensure!(reading.sum(XdpCounter::JumpMissed.desc().name) == 0, "the chain of programs was broken");
    let dropped: u64 = XdpCounter::ALL
        .iter()
        .map(|counter| counter.desc())
        .filter(|desc| desc.role == abi::counter::Role::Dropped)
        .map(|desc| reading.sum(desc.name))
        .sum();
    let by_driver = end.xdp_drops()?;
    ensure!(by_driver <= dropped, "XDP aborted {} packets", by_driver - dropped);
    Ok(())
}
