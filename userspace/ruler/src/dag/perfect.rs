//! Perfect hashing: a key of two numbers is looked for in one slot only, however many keys a table has.
//!
//! Hash and displace: a key's hash tells its bucket, and the bucket how far its keys are moved, so that no two of the table
//! share a slot. A key that was not put in finds a slot that says so. Nothing is ever taken out.

use super::walk::To;

/// What is looked for.
pub(super) type Key = [u64; 2];

/// Tables side by side.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    displacements: Vec<u32>,
    slots: Vec<Slot>,
}

/// Where one table lies among them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    multiplier: u64,
    /// Its first bucket, and how many there are, less one: one less than a power of two.
    buckets: [u32; 2],
    /// The same of its slots.
    slots: [u32; 2],
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: Key,
    to: To,
}

/// Multipliers that are tried before a table becomes larger.
const TRIES: u64 = 16;
/// An odd number whose bits are without pattern: 2⁶⁴ by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Slots {
    /// A new table of different keys, of which there is one, and where each leads.
    pub(super) fn insert(&mut self, keys: &[(Key, To)]) -> Table {
        let mut slots = (2 * keys.len()).next_power_of_two();
        let buckets = (keys.len() / 2).next_power_of_two();
        loop {
            for odd in (0..TRIES).map(|number| 2 * number + 1) {
                let multiplier = GOLDEN.wrapping_mul(odd);
                let hashes: Vec<u64> = keys.iter().map(|(key, _)| hash(*key, multiplier)).collect();
                if let Some(displacements) = displacements(&hashes, buckets, slots) {
                    let table = Table {
                        multiplier,
                        buckets: [self.displacements.len(), buckets - 1].map(narrow),
                        slots: [self.slots.len(), slots - 1].map(narrow),
                    };
                    self.displacements.extend(displacements);
                    // An empty slot has a key that is never looked for there.
                    let (key, to) = keys[0];
                    self.slots.resize(self.slots.len() + slots, Slot { key, to });
                    for (key, to) in keys {
                        let slot = self.slot(&table, *key);
                        self.slots[slot] = Slot { key: *key, to: *to };
                    }
                    return table;
                }
            }
            // Keys that meet in a bucket and a slot part sooner among more slots.
            slots *= 2;
        }
    }

    /// Whether a key is in the table, and where it leads then. Nothing here hangs on a guess, as whether a packet is in a
    /// table is the question that nobody can guess.
    #[inline(always)]
    pub(super) fn find(&self, table: &Table, key: Key) -> (bool, To) {
        let Slot { key: [one, two], to } = self.slots[self.slot(table, key)];
        ((one ^ key[0] | two ^ key[1]) == 0, to)
    }

    /// Where some key of a table leads.
    #[cfg(test)]
    pub(super) fn any(&self, table: &Table) -> To {
        self.slots[table.slots[0] as usize].to
    }

    #[inline(always)]
    fn slot(&self, table: &Table, key: Key) -> usize {
        let hash = hash(key, table.multiplier);
        let [first, last] = table.buckets;
        let displacement = self.displacements.get((first + (upper(hash) & last)) as usize);
        let [first, last] = table.slots;
        // Slots are counted in 32 bits, and a u32 fits wherever the crate builds.
        (first + ((lower(hash) ^ displacement.copied().unwrap_or(0)) & last)) as usize
    }
}

/// Both halves of the product of the two numbers, each with a secret of the table, one over the other: every bit of the key
/// is in every bit of the hash.
#[inline(always)]
fn hash([one, other]: Key, multiplier: u64) -> u64 {
    let product = u128::from(one ^ multiplier) * u128::from(other ^ GOLDEN);
    // The halves, on purpose.
    product as u64 ^ (product >> 64) as u64
}

/// What tells the bucket.
#[inline(always)]
const fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// What tells the slot.
#[inline(always)]
const fn lower(hash: u64) -> u32 {
    // The other half, on purpose.
    hash as u32
}

/// A displacement for each bucket, so that no two keys share a slot; `None` if two of one bucket always would, or
/// nothing fits.
fn displacements(hashes: &[u64], buckets: usize, slots: usize) -> Option<Vec<u32>> {
    let [last_bucket, last_slot] = [buckets - 1, slots - 1].map(narrow);
    let mut members: Vec<(usize, Vec<u32>)> = (0..buckets).map(|bucket| (bucket, Vec::new())).collect();
    for hash in hashes {
        members[(upper(*hash) & last_bucket) as usize].1.push(lower(*hash) & last_slot);
    }
    for (_, members) in &mut members {
        members.sort_unstable();
        if members.windows(2).any(|two| two[0] == two[1]) {
            return None;
        }
    }
    // The fullest first, while there is most room.
    members.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    let (mut found, mut taken) = (vec![0; buckets], vec![false; slots]);
    for (bucket, members) in members {
        let at = |displacement: u32| members.iter().map(move |member| (member ^ displacement) as usize);
        let free = (0..=last_slot).find(|displacement| at(*displacement).all(|slot| !taken[slot]))?;
        at(free).for_each(|slot| taken[slot] = true);
        found[bucket] = free;
    }
    Some(found)
}

/// A count of slots: a filter has fewer than 2³² values, or memory ends before.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        let mut slots = Slots::default();
        let spread = |n: u64| [n.wrapping_mul(0xd6e8_feb8_6659_fd93), 0];
        let mut tables = Vec::new();
        for count in [1, 2, 3, 9, 64, 500, 3_000] {
            for key in
                [|n| [n << 48, 0], |n| [7, n << 20], |n| [n ^ n << 32, n], |n| [n & 15, n >> 4], spread]
                    as [fn(u64) -> Key; 5]
            {
                let to = |n: u64| To::step(usize::try_from(n).unwrap());
                let keys: Vec<_> = (1..=count).map(|n| (key(n), to(n))).collect();
                tables.push((slots.insert(&keys), keys, key, count));
            }
        }
        for (table, keys, key, count) in tables {
            assert!(keys.iter().all(|(key, to)| slots.find(&table, *key) == (true, *to)));
            for n in (count + 1..count + 2_000).chain([0]) {
                assert!(!slots.find(&table, key(n)).0, "{n} is not among {count}");
                let [one, two] = key(1);
                assert!(!slots.find(&table, [one, two ^ n << 50 ^ 1 << 49]).0, "half a key");
            }
        }
    }
}
