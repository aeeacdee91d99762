//! The books: every packet accounted for, every frame of packet memory somewhere, and no counter moved but those named.
//!
//! Read from the daemon's `stats`, the registry that the command line and Prometheus show too.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use abi::{counter::XdpCounter, shm::counter::ChannelCounter};
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
    ///
    /// Without those of sessions, tuples and rules, which are engines' counters once more: [`drain`] holds the first two
    /// against each other, and [`Reading::of_session`] and [`Reading::of_tuple`] show them.
    #[must_use]
    pub fn moves(&self, before: &Self) -> BTreeMap<&str, u64> {
        let names: BTreeSet<&str> = self.0.keys().map(|key| key.name.as_str()).collect();
        let again = ["stack.", "tuple.", "ruler."];
        let names = names.into_iter().filter(|name| !again.iter().any(|of| name.starts_with(of)));
        let by = |name| (name, self.sum(name).wrapping_sub(before.sum(name)));
        names.map(by).filter(|&(_, by)| by != 0).collect()
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

/// What became of packets of a session or a tuple: counters that are not 0, without what stands before their dots.
pub type Account<'a> = BTreeMap<&'a str, u64>;

impl Reading {
    /// What became of the packets of the session at `slot`.
    #[must_use]
    pub fn of_session(&self, slot: u16) -> Account<'_> {
        let slot = slot.to_string();
        self.account("stack.", |labels| labels.get("slot") == Some(&slot))
    }

    /// What became of the packets of all sessions that are over.
    #[must_use]
    pub fn of_ended(&self) -> Account<'_> {
        self.account("stack.", |labels| labels.get("slot").is_some_and(|slot| slot == "-"))
    }

    /// What became of the packets of the tuples on this port, whosever they are.
    #[must_use]
    pub fn of_tuple(&self, port: u16) -> Account<'_> {
        let port = port.to_string();
        self.account("tuple.", |labels| labels.get("port") == Some(&port))
    }

    fn account(&self, of: &str, which: impl Fn(&BTreeMap<String, String>) -> bool) -> Account<'_> {
        let mut account = Account::new();
        for (key, (_, value)) in self.0.iter().filter(|(key, (_, value))| *value != 0 && which(&key.labels)) {
            if let Some(name) = key.name.strip_prefix(of) {
                *account.entry(name).or_default() += value;
            }
        }
        account
    }

    /// The labels of every session, those that are over as one.
    fn sessions(&self) -> impl Iterator<Item = &BTreeMap<String, String>> {
        self.0.keys().filter(|key| key.name == "stack.tx_read").map(|key| &key.labels)
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
    applications(&last)?;
    Ok(last)
}

/// The books of applications: every session's balance, its tuples' packets are its own, and all sessions' together are
/// what the engines counted.
fn applications(reading: &Reading) -> Result<()> {
    for labels in reading.sessions() {
        let own = reading.account("stack.", |other| other == labels);
        let ends = own.iter().filter(|(name, _)| name.starts_with("tx_") && **name != "tx_read");
        let (read, ended) = (own.get("tx_read").copied().unwrap_or(0), ends.map(|(_, n)| n).sum::<u64>());
        ensure!(read == ended, "{labels:?}: {read} packets were read, {ended} have an end: {own:?}");
        let same = |other: &BTreeMap<String, String>| labels.iter().all(|(k, v)| other.get(k) == Some(v));
        for (name, of_tuples) in reading.account("tuple.", same) {
            let session = own.get(name).copied().unwrap_or(0);
            ensure!(of_tuples <= session, "{labels:?}: {name} is {session}, and {of_tuples} of its tuples");
        }
    }
    for &counter in ChannelCounter::ALL {
        let stacks = reading.sum(&format!("stack.{}", counter.name()));
        let agree = match counter {
            // A sink's packets are delivered too.
            ChannelCounter::RxDelivered => stacks <= reading.sum("delivered"),
            // And packets may come for a session that is gone, or for a target.
            ChannelCounter::RxStale | ChannelCounter::RxUnclaimed | ChannelCounter::RxBadIpChecksum => {
                stacks <= reading.sum(counter.name())
            }
            ChannelCounter::TxRead => stacks == reading.sum("submitted"),
            // What becomes of them after that is a port's or another session's to count.
            ChannelCounter::TxSent | ChannelCounter::TxHairpin | ChannelCounter::Violation => true,
            _ => stacks == reading.sum(counter.name()),
        };
        ensure!(agree, "{}: {stacks} of applications, and the engines: {reading:?}", counter.name());
    }
    Ok(())
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
