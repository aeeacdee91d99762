//! Perfect hashing: a number is looked for in one slot only, however many numbers a table has.
//!
//! Hash and displace: a number's hash tells its bucket, and the bucket how far its numbers are moved, so that no two of
//! the table share a slot. A number that was not put in finds a slot that says so. Nothing is ever taken out.

use super::walk::To;

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
    number: u64,
    to: To,
}

/// Multipliers that are tried before a table becomes larger.
const TRIES: u64 = 16;
/// An odd number whose bits are without pattern: 2⁶⁴ by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Slots {
    /// A new table of different numbers and where each leads; an empty slot leads to `other`.
    pub(super) fn insert(&mut self, numbers: &[(u64, To)], other: To) -> Table {
        let mut slots = (2 * numbers.len()).next_power_of_two();
        let buckets = (numbers.len() / 2).next_power_of_two();
        loop {
            for odd in (0..TRIES).map(|number| 2 * number + 1) {
                let multiplier = GOLDEN.wrapping_mul(odd);
                let hashes: Vec<u64> = numbers.iter().map(|(number, _)| hash(*number, multiplier)).collect();
                if let Some(displacements) = displacements(&hashes, buckets, slots) {
                    let table = Table {
                        multiplier,
                        buckets: [self.displacements.len(), buckets - 1].map(narrow),
                        slots: [self.slots.len(), slots - 1].map(narrow),
                    };
                    self.displacements.extend(displacements);
                    self.slots.resize(self.slots.len() + slots, Slot { number: 0, to: other });
                    for (number, to) in numbers {
                        let slot = self.slot(&table, *number);
                        self.slots[slot] = Slot { number: *number, to: *to };
                    }
                    return table;
                }
            }
            // Numbers that meet in a bucket and a slot part sooner among more slots.
            slots *= 2;
        }
    }

    /// Where a number leads; `other` if it is not in the table.
    #[inline(always)]
    pub(super) fn find(&self, table: &Table, number: u64, other: To) -> To {
        match self.slots.get(self.slot(table, number)) {
            Some(slot) if slot.number == number => slot.to,
            _ => other,
        }
    }

    #[inline(always)]
    fn slot(&self, table: &Table, number: u64) -> usize {
        let hash = hash(number, table.multiplier);
        let [first, last] = table.buckets;
        let displacement = self.displacements.get((first + (upper(hash) & last)) as usize);
        let [first, last] = table.slots;
        // Slots are counted in 32 bits, and a u32 fits wherever the crate builds.
        (first + ((lower(hash) ^ displacement.copied().unwrap_or(0)) & last)) as usize
    }
}

/// Both halves of the product, one over the other: every bit of the number is in every bit of the hash.
#[inline(always)]
fn hash(number: u64, multiplier: u64) -> u64 {
    let product = u128::from(number) * u128::from(multiplier);
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

/// A displacement for each bucket, so that no two numbers share a slot; `None` if two of one bucket always would, or
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
    fn every_number_is_found_and_no_other() {
        let mut slots = Slots::default();
        let other = To::step(1 << 20);
        let spread = |n: u64| n.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut tables = Vec::new();
        for count in [1, 2, 3, 9, 64, 500, 3_000] {
            for number in [|n| n << 48, |n| n << 20, |n| n ^ n << 32, spread] as [fn(u64) -> u64; 4] {
                let to = |n: u64| To::step(usize::try_from(n).unwrap());
                let numbers: Vec<_> = (1..=count).map(|n| (number(n), to(n))).collect();
                tables.push((slots.insert(&numbers, other), numbers, number, count));
            }
        }
        for (table, numbers, number, count) in tables {
            assert!(numbers.iter().all(|(number, to)| slots.find(&table, *number, other) == *to));
            for n in (count + 1..count + 2_000).chain([0]) {
                assert_eq!(slots.find(&table, number(n), other), other, "{n} is not among {count}");
            }
        }
    }
}
