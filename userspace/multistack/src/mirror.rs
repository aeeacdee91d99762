//! What workers know of the registry: an immutable picture of it, replaced as a whole.
//!
//! A worker asks two things. With metadata: does this packet's target still exist? That is one array load. Without:
//! whose is this tuple? That is [`crate::steer::steer`] over [`Table`]. A mirror decides nothing and never changes.
use std::collections::HashMap;

use abi::rxmeta::RxMeta;
use abi::steer::{SteerKey, Target, kind};

use crate::slots::TupleId;
use crate::steer::Table;

/// A picture of the registry at one moment.
///
/// # Invariants
/// Every target in the table is current: a key is never there without its registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    targets: HashMap<SteerKey, Target>,
    live: Box<[Option<Live>]>,
}

/// The registration that holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    builtin: u16,
    tuple: TupleId,
}

impl Mirror {
    /// An empty picture of a registry with this many slots.
    pub(crate) fn empty(slots: usize) -> Self {
        Self { targets: HashMap::new(), live: vec![None; slots].into() }
    }

    /// Adds a registration.
    pub(crate) fn insert(&mut self, tuple: TupleId, builtin: u16) {
        self.live[tuple.slot()] = Some(Live { builtin, tuple });
    }

    /// Adds a key of a registration that is there.
    pub(crate) fn insert_key(&mut self, key: SteerKey, target: Target) {
        self.targets.insert(key, target);
    }

    /// This picture and all of `other` that it does not contradict.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.targets.extend(&other.targets);
        for (mine, theirs) in both.live.iter_mut().zip(&other.live) {
            *mine = mine.or(*theirs);
        }
        both
    }

    /// The registration that a packet's metadata names, if it still exists; else the packet is stale.
    #[must_use]
    #[inline]
    pub fn tuple_of(&self, meta: &RxMeta) -> Option<TupleId> {
        self.find(meta.kind, meta.id, meta.generation)
    }

    /// Whether a target still exists.
    #[must_use]
    #[inline]
    pub fn is_current(&self, target: &Target) -> bool {
        self.find(target.kind, target.id, target.generation).is_some()
    }

    /// Keys and targets, in no order: what the steering map holds once all steps are done.
    pub fn iter(&self) -> impl Iterator<Item = (&SteerKey, &Target)> {
        self.targets.iter()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether no key is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    #[inline]
    fn find(&self, kind: u8, builtin: u16, generation: u16) -> Option<TupleId> {
        let named = Live { builtin, tuple: TupleId::from_raw(generation) };
        let live = (*self.live.get(named.tuple.slot())?)?;
        (kind == kind::BUILTIN && live == named).then_some(live.tuple)
    }
}

impl Table for Mirror {
    fn get(&self, key: &SteerKey) -> Option<Target> {
        self.targets.get(key).copied()
    }
}
