//! What workers know of the registry: an immutable picture of it, replaced as a whole.
//!
//! A worker asks two things. With metadata: does this packet's target still exist? That is one array load. Without:
//! whose is this tuple? That is [`crate::steer::steer`] over [`Table`]. A mirror decides nothing and never changes.
//!
//! A picture shares with its successor what stayed the same. The keys lie in many small maps, so that a change copies
//! the few it meets and not the whole table: else registering `n` tuples one by one would copy `n²` keys.
use std::collections::HashMap;
use std::sync::Arc;

use abi::rxmeta::RxMeta;
use abi::steer::{SteerKey, Target, kind};

use crate::hash::{Key, Seeded};
use crate::registry::SessionId;
use crate::slots::TupleId;
use crate::steer::Table;

mod recent;

pub use recent::{Generation, Recent};

/// Maps that the keys are spread over, a power of two: of the most keys there can be, each has 256.
const SHARDS: usize = 256;

type Shard = HashMap<Key, Target, Seeded>;

/// A picture of the registry at one moment.
///
/// # Invariants
/// Every target in the table is current: a key is never there without its registration. A key lies in its own
/// shard, whatever the order in which it came, so that equal pictures lie equally.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    shards: [Arc<Shard>; SHARDS],
    keys: usize,
    live: Box<[Option<Live>]>,
    /// The generation of the session that holds each slot.
    sessions: Box<[Option<u16>]>,
}

/// Whose a tuple is: a session's, under this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The session.
    pub session: SessionId,
    /// The tuple's number within it.
    pub tuple: u16,
}

impl Owned {
    /// What a target says, if it leads to a session.
    #[must_use]
    #[inline]
    pub const fn by(target: &Target) -> Option<Self> {
        if target.kind != kind::STACK {
            return None;
        }
        let session = SessionId { slot: target.id, generation: target.generation };
        Some(Self { session, tuple: target.aux })
    }
}

/// The registration that holds a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) builtin: u16,
    pub(crate) tuple: TupleId,
}

impl Default for Mirror {
    fn default() -> Self {
        Self::empty(0, 0)
    }
}

impl Mirror {
    /// An empty picture of a registry with this many slots, and this many for sessions.
    pub(crate) fn empty(slots: usize, sessions: usize) -> Self {
        let shard = Arc::new(Shard::default());
        let shards = std::array::from_fn(|_| Arc::clone(&shard));
        Self { shards, keys: 0, live: vec![None; slots].into(), sessions: vec![None; sessions].into() }
    }

    /// The same picture, hashed under this seed.
    pub(crate) fn seeded(&self, seed: u64) -> Self {
        let shards = std::array::from_fn(|at| {
            let mut shard = Shard::with_hasher(Seeded::new(seed));
            shard.extend(self.shards[at].iter().map(|(&key, &target)| (key, target)));
            Arc::new(shard)
        });
        Self { shards, ..self.clone() }
    }

    /// Adds a registration.
    pub(crate) fn insert(&mut self, live: Live) {
        self.live[live.tuple.slot()] = Some(live);
    }

    /// Takes a registration away whose keys are gone.
    pub(crate) fn remove(&mut self, tuple: TupleId) {
        self.live[tuple.slot()] = None;
    }

    /// Adds a session.
    pub(crate) fn insert_session(&mut self, id: SessionId) {
        self.sessions[usize::from(id.slot)] = Some(id.generation);
    }

    /// Takes a session away whose keys are gone.
    pub(crate) fn remove_session(&mut self, id: SessionId) {
        self.sessions[usize::from(id.slot)] = None;
    }

    /// Adds a key of a registration that is there.
    pub(crate) fn insert_key(&mut self, key: SteerKey, target: Target) {
        let before = Arc::make_mut(&mut self.shards[shard(&key)]).insert(Key(key), target);
        self.keys += usize::from(before.is_none());
    }

    /// Takes a key away.
    pub(crate) fn remove_key(&mut self, key: &SteerKey) {
        let before = Arc::make_mut(&mut self.shards[shard(key)]).remove(&Key(*key));
        self.keys -= usize::from(before.is_some());
    }

    /// The registration that a packet's metadata names, if it still exists; else the packet is stale.
    #[must_use]
    #[inline]
    pub fn tuple_of(&self, meta: &RxMeta) -> Option<TupleId> {
        self.find(meta.kind, meta.id, meta.generation)
    }

    /// The session that a packet's metadata names, if it still exists; else the packet is stale.
    ///
    /// A session may have released the packet's tuple and live on, so that this is not yet leave to deliver: see
    /// [`Self::owner`].
    #[must_use]
    #[inline]
    pub fn session_of(&self, meta: &RxMeta) -> Option<SessionId> {
        let session = SessionId { slot: meta.id, generation: meta.generation };
        (meta.kind == kind::STACK && self.is_live(session)).then_some(session)
    }

    /// Whether a session still exists.
    #[must_use]
    #[inline]
    pub fn is_live(&self, session: SessionId) -> bool {
        self.sessions.get(usize::from(session.slot)) == Some(&Some(session.generation))
    }

    /// The session that owns exactly this tuple.
    #[must_use]
    #[inline]
    pub fn owner(&self, key: &SteerKey) -> Option<Owned> {
        Owned::by(self.shards[shard(key)].get(&Key(*key))?)
    }

    /// Whether a target still exists.
    #[must_use]
    #[inline]
    pub fn is_current(&self, target: &Target) -> bool {
        match Owned::by(target) {
            Some(owned) => self.is_live(owned.session),
            None => self.find(target.kind, target.id, target.generation).is_some(),
        }
    }

    /// Keys and targets, in no order: what the steering map holds once all steps are done.
    pub fn iter(&self) -> impl Iterator<Item = (&SteerKey, &Target)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, target)| (&key.0, target))
    }

    /// How many keys there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys
    }

    /// Whether no key is there.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys == 0
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
        self.shards[shard(key)].get(&Key(*key)).copied()
    }
}

/// Where a key lies: the upper bits of a product (Knuth's multiplicative hashing), which neighbouring addresses and
/// ports all move. Whoever registers keys that meet in one shard makes registering slower, and nothing else.
fn shard(key: &SteerKey) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let addr = u128::from_be_bytes(key.addr);
    let [port, proto] = [u64::from(u16::from_be_bytes(key.port)), u64::from(key.proto)];
    let folded = (addr >> 64) as u64 ^ addr as u64 ^ port << 40 ^ proto << 56;
    (folded.wrapping_mul(GOLDEN) >> (u64::BITS - SHARDS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target { kind: kind::BUILTIN, flags: 0, id: 0, generation: 0, aux: 0 };

    fn key(n: u32) -> SteerKey {
        SteerKey::v4(17, (0x0a00_0000 + n).to_be_bytes(), 7)
    }

    #[test]
    fn a_key_more_or_less_copies_one_shard() {
        let mut before = Mirror::empty(1, 1);
        (0..4096).for_each(|n| before.insert_key(key(n), TARGET));
        for change in
            [|m: &mut Mirror| m.insert_key(key(5000), TARGET), |m: &mut Mirror| m.remove_key(&key(7))]
        {
            let mut after = before.clone();
            change(&mut after);
            let shared = before.shards.iter().zip(&after.shards).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
            assert_eq!(shared, SHARDS - 1);
            assert_eq!(after.len().abs_diff(before.len()), 1);
            assert_eq!(after.iter().count(), after.len());
        }
    }

    #[test]
    fn keys_are_spread_over_the_shards() {
        type Key = fn(u32) -> SteerKey;
        let ports: Key = |n| SteerKey::v4(17, [192, 0, 2, 1], n as u16);
        let v6: Key = |n| SteerKey::v6(6, (0x2001_0db8_u128 << 96 | u128::from(n)).to_be_bytes(), 443);
        for keys in [key as Key, ports, v6] {
            let mut load = [0; SHARDS];
            (0..65_536).for_each(|n| load[shard(&keys(n))] += 1);
            assert!(load.iter().all(|&n| (128..=512).contains(&n)), "{load:?}");
        }
    }

    #[test]
    fn pictures_are_equal_whatever_led_to_them() {
        let (mut one, mut other) = (Mirror::empty(4, 4), Mirror::empty(4, 4));
        (0..100).for_each(|n| one.insert_key(key(n), TARGET));
        (0..200).rev().for_each(|n| other.insert_key(key(n), TARGET));
        assert_ne!(one, other);
        (100..200).for_each(|n| other.remove_key(&key(n)));
        assert_eq!(one, other);
        other.insert_key(key(1), TARGET);
        assert_eq!(one.len(), other.len(), "the same key again is no other");
    }

    /// Every answer is the mirror's, whatever was asked before: the twin is the mirror itself.
    fn remembers_what_the_mirror_says(changes: &[(bool, u16, u16)]) {
        let keys = |n: u16| match n % 3 {
            0 => SteerKey::v4(17, [192, 0, 2, 1], n),
            1 => SteerKey::v4(6, [10, 0, (n >> 8) as u8, n as u8], 443),
            _ => SteerKey::v6(17, (0x2001_0db8_u128 << 96 | u128::from(n)).to_be_bytes(), n ^ 7),
        };
        let (mut mirror, recent) = (Mirror::empty(1, 1), Recent::default());
        for (generation, &(there, n, owner)) in (1..).zip(changes) {
            if there {
                let target = Target { kind: kind::STACK, flags: 0, id: owner, generation: n, aux: owner ^ n };
                mirror.insert_key(keys(n), target);
            } else {
                mirror.remove_key(&keys(n));
            }
            for n in (0..64).chain(0..64) {
                let key = keys(n);
                let owner = mirror.owner(&key);
                let ask = |session| recent.tuple(generation, &mirror, key, session);
                for session in [owner.map(|owned| owned.session), Some(SessionId { slot: 7, generation: 7 })]
                {
                    let Some(session) = session else { continue };
                    let expected = owner.filter(|owned| owned.session == session).map(|owned| owned.tuple);
                    assert_eq!(ask(session), expected, "{generation} {n}");
                }
            }
        }
        let nobodys = SteerKey { addr: [0; 16], port: [0; 2], proto: 0, zero: 0 };
        let nobody = SessionId { slot: u16::MAX, generation: 0 };
        assert_eq!(recent.tuple(0, &mirror, nobodys, nobody), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_remembered_is_what_the_mirror_says(
            changes in proptest::collection::vec(proptest::prelude::any::<(bool, u8, u8)>(), 0..40),
        ) {
            let changes: Vec<_> = changes.into_iter().map(|(there, n, to)| (there, u16::from(n % 64), to.into())).collect();
            remembers_what_the_mirror_says(&changes);
        }
    }
}
