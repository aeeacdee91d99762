//! Which datagram a fragment belongs to: the slow twin of the fragment map.
//!
//! It keeps who owns a datagram, never a byte of one, and knows no clock: the time is an argument. [`Datagrams`] is exact
//! where the kernel's LRU map is only about right, so the two agree on every entry that neither has thrown out.
use core::{cell::Cell, time::Duration};
use std::collections::BTreeMap;

use abi::fragment::{FragEntry, FragKey, LIFETIME_NS};
use abi::steer::Target;

/// What later fragments are looked up in.
pub trait Fragments {
    /// What the first fragment of this datagram left, however long ago.
    fn get(&self, datagram: &FragKey) -> Option<FragEntry>;
}

/// Remembers nothing: every later fragment is of no known datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgetful;

impl Fragments for Forgetful {
    fn get(&self, _: &FragKey) -> Option<FragEntry> {
        None
    }
}

impl Fragments for BTreeMap<FragKey, FragEntry> {
    fn get(&self, datagram: &FragKey) -> Option<FragEntry> {
        Self::get(self, datagram).copied()
    }
}

/// What a fragment changes for those after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    #[default]
    None,
    /// The datagram has an owner, until then.
    Enter(FragEntry),
    /// Whoever owned a datagram of this identity, this one is not his.
    Forget(FragKey),
}

impl Change {
    /// The datagram belongs to `target`, from `now` on.
    #[must_use]
    pub fn enter(datagram: FragKey, target: Target, now: Duration) -> Self {
        let until = now.saturating_add(Duration::from_nanos(LIFETIME_NS));
        let until_ns = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        Self::Enter(FragEntry { key: datagram, target, until_ns })
    }
}

/// Whether an entry still counts.
#[must_use]
pub fn is_live(entry: &FragEntry, now: Duration) -> bool {
    now < Duration::from_nanos(entry.until_ns)
}

/// A bounded memory of datagrams that forgets the one that was not used for longest.
#[derive(Clone, Debug)]
pub struct Datagrams {
    capacity: usize,
    entries: BTreeMap<FragKey, Used>,
    /// Counts uses.
    clock: Cell<u64>,
}

#[derive(Clone, Debug)]
struct Used {
    entry: FragEntry,
    last: Cell<u64>,
}

impl Datagrams {
    /// An empty memory for `capacity` datagrams, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), entries: BTreeMap::new(), clock: Cell::new(0) }
    }

    /// Does what a fragment changes.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::None => {}
            Change::Forget(datagram) => drop(self.entries.remove(&datagram)),
            Change::Enter(entry) => {
                self.entries.remove(&entry.key);
                if self.entries.len() == self.capacity {
                    let oldest = self.entries.values().min_by_key(|used| used.last.get());
                    let oldest = oldest.map(|used| used.entry.key);
                    oldest.and_then(|key| self.entries.remove(&key));
                }
                let last = Cell::new(self.tick());
                self.entries.insert(entry.key, Used { entry, last });
            }
        }
    }

    /// How many datagrams it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }
}

impl Fragments for Datagrams {
    /// Being asked for is being used, as in the kernel's map.
    fn get(&self, datagram: &FragKey) -> Option<FragEntry> {
        let used = self.entries.get(datagram)?;
        used.last.set(self.tick());
        Some(used.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target { kind: 1, flags: 0, id: 2, generation: 3, aux: 0 };
    const NOW: Duration = Duration::from_secs(100);

    fn datagram(id: u16) -> FragKey {
        FragKey::v4([192, 0, 2, 2], [192, 0, 2, 1], id, 17)
    }

    fn entered(memory: &mut Datagrams, id: u16) {
        memory.apply(Change::enter(datagram(id), TARGET, NOW));
    }

    #[test]
    fn the_full_memory_forgets_what_was_used_longest_ago() {
        let mut memory = Datagrams::new(3);
        (1..=3).for_each(|id| entered(&mut memory, id));
        assert!(memory.get(&datagram(1)).is_some());
        entered(&mut memory, 4);
        let known = |id| memory.entries.contains_key(&datagram(id));
        assert_eq!([1, 2, 3, 4].map(known), [true, false, true, true]);
        assert_eq!(memory.len(), 3);
    }

    #[test]
    fn entering_again_takes_no_second_place_and_counts_as_use() {
        let mut memory = Datagrams::new(2);
        entered(&mut memory, 1);
        entered(&mut memory, 2);
        entered(&mut memory, 1);
        assert_eq!(memory.len(), 2);
        entered(&mut memory, 3);
        assert!(memory.get(&datagram(1)).is_some() && memory.get(&datagram(2)).is_none());
        memory.apply(Change::Forget(datagram(1)));
        memory.apply(Change::Forget(datagram(1)));
        memory.apply(Change::None);
        assert!(memory.get(&datagram(1)).is_none() && memory.len() == 1 && !memory.is_empty());
    }

    #[test]
    fn an_entry_counts_for_thirty_seconds_and_no_longer() {
        let Change::Enter(entry) = Change::enter(datagram(1), TARGET, NOW) else { panic!("not entered") };
        let last = NOW + Duration::from_nanos(LIFETIME_NS - 1);
        assert!(is_live(&entry, NOW) && is_live(&entry, last));
        assert!(!is_live(&entry, last + Duration::from_nanos(1)));
        assert!(matches!(
            Change::enter(datagram(1), TARGET, Duration::MAX),
            Change::Enter(FragEntry { until_ns: u64::MAX, .. })
        ));
    }
}
