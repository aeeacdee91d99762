//! A fast hash of small keys of fixed size, seeded: for tables that a worker looks up for every packet.
//!
//! It is no cryptographic hash. Whoever does not know the seed cannot aim at collisions; whoever could time single
//! lookups over a network might learn something of it, which costs longer probes and nothing else. The seed is a
//! parameter: the daemon draws it once, tests say which. Keys have one length each, so that lengths are not hashed.
//!
//! Each word is folded in by one widening multiplication (Wang Yi's *wyhash*): a 20-byte key costs three.
use std::hash::{BuildHasher, Hash, Hasher};

use abi::steer::SteerKey;

/// Makes hashers of one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeded {
    start: u64,
    factor: u64,
}

impl Seeded {
    /// Hashers of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let start = fold(seed ^ 0x243f_6a88_85a3_08d3, 0x9e37_79b9_7f4a_7c15);
        Self { start, factor: fold(seed ^ 0x1319_8a2e_0370_7345, 0xd1b5_4a32_d192_ed03) | 1 }
    }
}

impl Default for Seeded {
    fn default() -> Self {
        Self::new(0)
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folding;

    #[inline]
    fn build_hasher(&self) -> Folding {
        Folding { state: self.start, factor: self.factor }
    }
}

/// The hasher.
#[derive(Clone, Debug)]
pub struct Folding {
    state: u64,
    factor: u64,
}

#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    let wide = a as u128 * b as u128;
    (wide >> 64) as u64 ^ wide as u64
}

impl Hasher for Folding {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.factor);
    }

    #[inline]
    fn write_u128(&mut self, wide: u128) {
        self.write_u64((wide >> 64) as u64);
        self.write_u64(wide as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}

/// A steering key, hashed as three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) SteerKey);

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let SteerKey { addr, port: [high, low], proto, zero } = self.0;
        hasher.write_u128(u128::from_ne_bytes(addr));
        hasher.write_u64(u64::from(u32::from_ne_bytes([high, low, proto, zero])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `1 << 16` keys, how many share their lowest 16 bits with how many others, at worst.
    fn worst(seed: u64, key: impl Fn(u32) -> SteerKey) -> u32 {
        let mut load = vec![0; 1 << 16];
        for n in 0..1 << 16 {
            let hash = Seeded::new(seed).hash_one(Key(key(n)));
            load[(hash & 0xffff) as usize] += 1;
        }
        load.into_iter().max().unwrap_or(0)
    }

    #[test]
    fn keys_that_differ_little_are_spread_as_chance_would() {
        // Thrown at random, the fullest of 65,536 bins has 8 or 9 of as many balls.
        for seed in [0, 1, u64::MAX, 0x6f63_7472_6f69] {
            let loads = [
                worst(seed, |n| SteerKey::v4(6, [192, 0, 2, 1], n as u16)),
                worst(seed, |n| SteerKey::v4(17, (0x0a00_0000 + n).to_be_bytes(), 53)),
                worst(seed, |n| SteerKey::v6(17, (0x2001_0db8_u128 << 96 | u128::from(n)).to_be_bytes(), 53)),
                worst(seed, |n| SteerKey::v6(17, (u128::from(n) << 64 | 1).to_be_bytes(), 53)),
            ];
            assert!(loads.iter().all(|&load| load <= 12), "seed {seed:#x}: {loads:?}");
        }
    }

    #[test]
    fn keys_that_collide_under_one_seed_do_not_under_another() {
        let key = |n| Key(SteerKey::v4(17, [192, 0, 2, 1], n));
        let low = |seed, n| Seeded::new(seed).hash_one(key(n)) & 0xfff;
        let colliding: Vec<u16> = (0..=u16::MAX).filter(|&n| low(1, n) == low(1, 0)).collect();
        assert!(8 <= colliding.len());
        let mut elsewhere: Vec<_> = colliding.iter().map(|&n| low(2, n)).collect();
        elsewhere.sort_unstable();
        elsewhere.dedup();
        assert!(colliding.len() * 3 / 4 <= elsewhere.len());
    }

    #[test]
    fn every_byte_of_a_key_counts() {
        let base = SteerKey::v4(17, [192, 0, 2, 1], 53);
        let hash = |key| Seeded::new(3).hash_one(Key(key));
        for byte in 0..16 {
            let mut key = base;
            key.addr[byte] ^= 1;
            assert_ne!(hash(key), hash(base), "{byte}");
        }
        assert_ne!(hash(SteerKey { proto: 6, ..base }), hash(base));
        assert_ne!(hash(SteerKey { port: [0, 54], ..base }), hash(base));
    }
}
