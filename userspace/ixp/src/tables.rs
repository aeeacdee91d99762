//! What engines look packets up in: an immutable snapshot, exchanged whole, picked up once per batch.
//!
//! Nothing here is ever changed in place. Whoever wants another rule builds new [`Tables`] and publishes them; an
//! engine sees them at its next batch, and [`crate::engines::Engines::wait_seen`] says when every engine has. Old
//! snapshots are freed by the publisher, never by an engine.
use std::sync::{Arc, Mutex, PoisonError};

use abi::port::PortConfig;
use arc_swap::{ArcSwap, cache::Cache};
use multistack::{
    mirror::Mirror,
    neighbour::{LinkNo, Network},
};

use crate::{
    account::{Account, Charge, OverLimit, Standing},
    filter::{Filters, Installed},
    port::PortId,
};

/// Bytes that all snapshots together may take.
pub const TABLE_BYTES: u64 = 64 << 20;

/// The interface facts that a re-parse needs, by port.
#[derive(Clone, Debug, Default)]
pub struct PortConfigs {
    by_port: Vec<Option<PortConfig>>,
    links: Vec<LinkNo>,
}

impl PortConfigs {
    /// Sets what is known of `port`.
    pub fn set(&mut self, port: PortId, config: PortConfig) {
        if self.by_port.len() <= port.index() {
            self.by_port.resize(port.index() + 1, None);
        }
        if let Some(entry) = self.by_port.get_mut(port.index()) {
            *entry = Some(config);
        }
    }

    /// Says which link of the network `port` is a queue of; without a word, the first.
    pub fn on_link(&mut self, port: PortId, link: LinkNo) {
        if self.links.len() <= port.index() {
            self.links.resize(port.index() + 1, LinkNo(0));
        }
        if let Some(entry) = self.links.get_mut(port.index()) {
            *entry = link;
        }
    }

    /// The link that `port` is a queue of.
    #[must_use]
    #[inline]
    pub fn link(&self, port: PortId) -> LinkNo {
        self.links.get(port.index()).copied().unwrap_or(LinkNo(0))
    }

    /// What is known of `port`.
    #[must_use]
    #[inline]
    pub fn get(&self, port: PortId) -> Option<&PortConfig> {
        self.by_port.get(port.index())?.as_ref()
    }
}

/// Everything that engines look up.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// The registry's picture of who owns what.
    pub mirror: Arc<Mirror>,
    /// The interface behind each port.
    pub ports: PortConfigs,
    /// Links, addresses and next hops: where applications' packets may go.
    pub network: Arc<Network>,
    /// Ruler's filters, and where they are attached.
    pub filters: Filters,
}

impl Tables {
    /// About how much memory they take: the maps' entries, a quarter of them spare.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        use abi::steer::{SteerKey, Target};
        let entry = size_of::<SteerKey>() + size_of::<Target>() + 1;
        let keys = self.mirror.len() * entry * 5 / 4;
        let slots = multistack::slots::MAX_SLOTS * 6;
        (keys + slots + self.ports.by_port.len() * size_of::<Option<PortConfig>>()) as u64
    }
}

/// Number of a snapshot; a later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_raw(number: u64) -> Self {
        Self(number)
    }
}

/// One published state of the tables.
#[derive(Debug)]
pub struct Snapshot {
    generation: Generation,
    tables: Tables,
    _memory: Charge,
}

impl Snapshot {
    /// Its number.
    #[must_use]
    #[inline]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Its tables.
    #[must_use]
    #[inline]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }
}

/// The place where the newest snapshot lies.
pub struct Published {
    account: Arc<Account>,
    current: Arc<ArcSwap<Snapshot>>,
    /// Replaced snapshots that an engine may still hold, so that the last reference is never an engine's.
    retired: Mutex<Retired>,
}

/// What an engine may still hold.
#[derive(Default)]
struct Retired {
    snapshots: Vec<Arc<Snapshot>>,
    /// Filters of those, which engines hold by themselves.
    filters: Vec<Arc<Installed>>,
}

impl Retired {
    /// Takes a snapshot that was replaced, and frees whatever nobody else has any more.
    fn take(&mut self, snapshot: Arc<Snapshot>) {
        for filter in snapshot.tables.filters.installed() {
            // Each once, so that a filter whose only holder is this list is known by its count.
            if !self.filters.iter().any(|known| Arc::ptr_eq(known, filter)) {
                self.filters.push(Arc::clone(filter));
            }
        }
        self.snapshots.push(snapshot);
        self.free();
    }

    fn free(&mut self) {
        self.snapshots.retain(|old| 1 < Arc::strong_count(old));
        self.filters.retain(|old| 1 < Arc::strong_count(old));
    }
}

impl Published {
    /// Publishes the first snapshot.
    ///
    /// # Errors
    /// [`OverLimit`] if it takes more than [`TABLE_BYTES`].
    pub fn new(tables: Tables) -> Result<Self, OverLimit> {
        let account = Account::new("tables", TABLE_BYTES);
        let memory = account.charge(tables.bytes())?;
        let first = Snapshot { generation: Generation(1), tables, _memory: memory };
        Ok(Self { account, current: Arc::new(ArcSwap::from_pointee(first)), retired: Mutex::default() })
    }

    /// Replaces the snapshot and returns the new one's number. Engines that sleep are not woken by this: see
    /// [`crate::engines::Engines::publish`].
    ///
    /// # Errors
    /// [`OverLimit`] if all snapshots together, those included that engines still hold, would take more than
    /// [`TABLE_BYTES`]; the old one stays in force.
    pub fn publish(&self, tables: Tables) -> Result<Generation, OverLimit> {
        // The lock also orders publishers: two of them never make the same number.
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.free();
        let memory = self.account.charge(tables.bytes())?;
        let generation = Generation(self.current.load().generation.0 + 1);
        let next = Snapshot { generation, tables, _memory: memory };
        retired.take(self.current.swap(Arc::new(next)));
        Ok(generation)
    }

    /// The memory account of all snapshots.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.account.standing()
    }

    /// The newest snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A reader's own handle, which costs one load as long as nothing is published.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { current: Arc::clone(&self.current), cache: Cache::new(Arc::clone(&self.current)) }
    }
}

/// One engine's view of [`Published`].
pub struct Reader {
    current: Arc<ArcSwap<Snapshot>>,
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

impl Reader {
    /// The newest snapshot.
    #[inline]
    pub fn newest(&mut self) -> &Snapshot {
        self.cache.load()
    }

    /// The number of the newest snapshot, without taking it.
    pub(crate) fn peek(&self) -> Generation {
        self.current.load().generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_the_newest_and_frees_nothing() {
        let published = Published::new(Tables::default()).expect("small");
        let mut reader = published.reader();
        let first = reader.newest().generation();
        let old = Arc::downgrade(&published.current());
        let second = published.publish(Tables::default()).expect("small");
        assert!(first < second && reader.peek() == second);
        assert_eq!(reader.newest().generation(), second);
        assert!(old.upgrade().is_some(), "the reader let go of it, but the publisher has not");
        published.publish(Tables::default()).expect("small");
        assert!(old.upgrade().is_none(), "freed by the publisher");
        drop(reader);
        published.publish(Tables::default()).expect("small");
        assert_eq!(published.standing().taken, Tables::default().bytes(), "one snapshot is left");
    }

    #[test]
    fn ports_are_known_by_number() {
        let mut ports = PortConfigs::default();
        let config = PortConfig { mac: [2, 0, 0, 0, 0, 1], ..PortConfig::default() };
        ports.set(PortId::new(3), config);
        assert_eq!(ports.get(PortId::new(3)), Some(&config));
        assert_eq!((ports.get(PortId::new(2)), ports.get(PortId::new(4))), (None, None));
    }
}
