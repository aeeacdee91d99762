//! The CAM of a microengine: the sixteen lookups it did last, found again without doing them.
//!
//! As on the IXP2xxx, a lookup answers "hit" with the entry, or "miss" with the entry used longest ago, which is
//! where the caller then writes what it found elsewhere. Entries are compared all at once in hardware; here they
//! are scanned, which beats a hash lookup only where that one is dear. The re-parse of packets without metadata
//! is such a place: its table is keyed by hostile input and so hashes slowly on purpose.
//!
//! What was looked up in other tables is never answered: each lookup names the generation of the tables it means,
//! and a new one empties the CAM.
use crate::tables::Generation;

/// Entries, as in hardware.
pub const ENTRIES: usize = 16;

/// A place in the CAM, from a miss, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(u8);

/// Sixteen remembered lookups of one engine.
///
/// # Invariants
/// `order` is a permutation of all entries, the one used last first. An empty entry is older than every other.
#[derive(Clone, Debug)]
pub struct Cam<K, V> {
    entries: [Option<(K, V)>; ENTRIES],
    order: [u8; ENTRIES],
    generation: Generation,
}

impl<K, V> Default for Cam<K, V> {
    fn default() -> Self {
        Self {
            entries: [const { None }; ENTRIES],
            order: std::array::from_fn(|i| i as u8),
            generation: Generation::default(),
        }
    }
}

impl<K: Copy + PartialEq, V: Copy> Cam<K, V> {
    /// What `key` was found to be in tables of this generation.
    ///
    /// # Errors
    /// A miss, with the entry to write.
    #[inline]
    pub fn lookup(&mut self, generation: Generation, key: &K) -> Result<V, Entry> {
        if self.generation != generation {
            self.generation = generation;
            self.entries = [const { None }; ENTRIES];
        }
        for (age, &entry) in self.order.iter().enumerate() {
            match self.entries[usize::from(entry)] {
                Some((tag, value)) if tag == *key => {
                    self.touch(age);
                    return Ok(value);
                }
                Some(_) => {}
                None => break,
            }
        }
        Err(Entry(self.order[ENTRIES - 1]))
    }

    /// Remembers what the lookup that missed found elsewhere.
    pub fn write(&mut self, Entry(entry): Entry, key: K, value: V) {
        self.entries[usize::from(entry)] = Some((key, value));
        let age = self.order.iter().position(|&e| e == entry).unwrap_or(ENTRIES - 1);
        self.touch(age);
    }

    /// Remembers something that was not looked up, in place of what was known of `key` before.
    pub fn put(&mut self, generation: Generation, key: K, value: V) {
        let entry = match self.lookup(generation, &key) {
            // It is the one used last now.
            Ok(_) => Entry(self.order[0]),
            Err(entry) => entry,
        };
        self.write(entry, key, value);
    }

    /// Makes the entry of this age the one used last.
    #[inline]
    fn touch(&mut self, age: usize) {
        self.order[..=age].rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Generation = Generation::from_raw(1);

    /// The twin: a list, youngest first.
    #[derive(Default)]
    struct List(Vec<(u8, u16)>);

    impl List {
        fn lookup(&mut self, key: u8) -> Option<u16> {
            let at = self.0.iter().position(|(k, _)| *k == key)?;
            let found = self.0.remove(at);
            self.0.insert(0, found);
            Some(found.1)
        }

        fn write(&mut self, key: u8, value: u16) {
            self.0.insert(0, (key, value));
            self.0.truncate(ENTRIES);
        }
    }

    fn remembers_the_last_sixteen(keys: &[(u8, bool)]) {
        let (mut cam, mut list) = (Cam::default(), List::default());
        let mut generation = 1;
        for (number, &(key, renew)) in keys.iter().enumerate() {
            if renew {
                generation += 1;
                list = List::default();
            }
            match cam.lookup(Generation::from_raw(generation), &key) {
                Ok(value) => assert_eq!(Some(value), list.lookup(key)),
                Err(entry) => {
                    assert_eq!(list.lookup(key), None);
                    cam.write(entry, key, number as u16);
                    list.write(key, number as u16);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn cam_is_a_list_of_the_last_sixteen(keys in prop::collection::vec((0u8..24, prop::bool::weighted(0.02)), 0..400)) {
            remembers_the_last_sixteen(&keys);
        }
    }

    #[test]
    fn what_is_put_takes_the_place_of_what_was_there() {
        let mut cam = Cam::default();
        for (key, value) in [(1, 10), (2, 20), (1, 11)] {
            cam.put(NOW, key, value);
        }
        assert_eq!((cam.lookup(NOW, &1), cam.lookup(NOW, &2)), (Ok(11), Ok(20)));
        (3..18u8).for_each(|key| cam.put(NOW, key, u16::from(key)));
        assert!(cam.lookup(NOW, &1).is_err() && cam.lookup(NOW, &2) == Ok(20));
    }

    #[test]
    fn the_one_used_longest_ago_goes() {
        let mut cam = Cam::default();
        for key in 0..16u8 {
            let entry = cam.lookup(NOW, &key).expect_err("new");
            cam.write(entry, key, u16::from(key));
        }
        assert_eq!(cam.lookup(NOW, &0), Ok(0));
        let entry = cam.lookup(NOW, &16).expect_err("new");
        cam.write(entry, 16, 16);
        assert_eq!(cam.lookup(NOW, &0), Ok(0), "used lately");
        assert!(cam.lookup(NOW, &1).is_err(), "used longest ago");
    }

    #[test]
    fn other_tables_other_answers() {
        let mut cam = Cam::default();
        let entry = cam.lookup(NOW, &7).expect_err("new");
        cam.write(entry, 7, 1);
        assert!(cam.lookup(Generation::from_raw(2), &7).is_err());
    }
}
