//! What engines look packets up in: an immutable snapshot, exchanged whole, picked up once per batch.
//!
//! Nothing here is ever changed in place. Whoever wants another rule builds new [`Tables`] and publishes them; an
//! engine sees them at its next batch, and [`crate::engines::Engines::wait_seen`] says when every engine has. Old
//! snapshots are freed by the publisher, never by an engine.
use std::sync::{Arc, Mutex, PoisonError};

use abi::{port::PortConfig, steer::Target};
use arc_swap::{ArcSwap, cache::Cache};
use multistack::steer::Table;

use crate::port::PortId;

/// Most target slots: bound of the per-target counters of each engine.
pub const MAX_TARGET_SLOTS: usize = 4096;

/// What an engine asks of the registry's mirror, beside the lookup of a re-parse.
pub trait Steering: Table + Send + Sync {
    /// The slot, below [`MAX_TARGET_SLOTS`], of the live target that this packet was steered to; `None` if that
    /// target has been removed or replaced since.
    fn slot(&self, kind: u8, id: u16, generation: u16) -> Option<u16>;
}

/// The interface facts that a re-parse needs, by port.
#[derive(Clone, Debug, Default)]
pub struct PortConfigs {
    by_port: Vec<Option<PortConfig>>,
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

    /// What is known of `port`.
    #[must_use]
    #[inline]
    pub fn get(&self, port: PortId) -> Option<&PortConfig> {
        self.by_port.get(port.index())?.as_ref()
    }
}

/// Everything that engines look up.
pub struct Tables {
    /// The registry's mirror of the steering map.
    pub steering: Box<dyn Steering>,
    /// The interface behind each port.
    pub ports: PortConfigs,
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
pub struct Snapshot {
    generation: Generation,
    tables: Tables,
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
    current: Arc<ArcSwap<Snapshot>>,
    /// Replaced snapshots that an engine may still hold, so that the last reference is never an engine's.
    retired: Mutex<Vec<Arc<Snapshot>>>,
}

impl Published {
    /// Publishes the first snapshot.
    #[must_use]
    pub fn new(tables: Tables) -> Self {
        let first = Snapshot { generation: Generation(1), tables };
        Self { current: Arc::new(ArcSwap::from_pointee(first)), retired: Mutex::default() }
    }

    /// Replaces the snapshot and returns the new one's number. Engines that sleep are not woken by this: see
    /// [`crate::engines::Engines::publish`].
    pub fn publish(&self, tables: Tables) -> Generation {
        // The lock also orders publishers: two of them never make the same number.
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = Generation(self.current.load().generation.0 + 1);
        retired.push(self.current.swap(Arc::new(Snapshot { generation, tables })));
        retired.retain(|old| 1 < Arc::strong_count(old));
        generation
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

/// A lookup that finds nothing: the tables of an engine before any target exists.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Table for Nothing {
    fn get(&self, _: &abi::steer::SteerKey) -> Option<Target> {
        None
    }
}

impl Steering for Nothing {
    fn slot(&self, _: u8, _: u16, _: u16) -> Option<u16> {
        None
    }
}

impl Default for Tables {
    fn default() -> Self {
        Self { steering: Box::new(Nothing), ports: PortConfigs::default() }
    }
}
