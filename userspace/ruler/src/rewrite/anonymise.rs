//! Addresses anonymised so that prefixes survive (Crypto-PAn): two share exactly as long a prefix after as before.
//!
//! The key is an argument and never shown. What is not 4 or 16 bytes is no address and becomes zeros, never itself.
//!
//! An address may become itself: where it goes on as the pad does, two neighbouring bits have the same block and change or
//! stay together, so about one in ten thousand does. That is in the definition, not here.
//!
//! Bit i of the result is bit i of the address XOR the first bit of AES of a block that begins with the address's first
//! i bits and goes on as the pad does. So the first sixteen bits of a result depend on sixteen bits only, for
//! addresses of both lengths: they are tabulated once, 128 KiB. The blocks of the other bits do not depend on each
//! other and go through the cipher eight at a time; and as traffic repeats its addresses, an engine remembers sixteen.

use std::fmt;

use aes::{
    Aes128, Block,
    cipher::{BlockCipherEncrypt as _, KeyInit as _},
};

use super::key::Key;

/// Bytes of the longest address.
pub const LONGEST: usize = 16;

/// Bits that are tabulated.
const TABULATED: u32 = 16;

/// Blocks that the cipher takes at once.
const AT_ONCE: usize = 8;

/// Addresses that an engine remembers.
const REMEMBERED: usize = 16;

/// What one key makes of addresses; engines share it.
pub struct Anonymiser {
    cipher: Aes128,
    pad: u128,
    /// By the first sixteen bits: which of them change.
    first: Vec<u16>,
}

impl Anonymiser {
    /// Takes a key and fills the table: 65,535 blocks, not for the packet path.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let half = |from: usize| Block::from(std::array::from_fn(|at| key[from + at]));
        let cipher = Aes128::new(&half(0));
        let mut pad = half(16);
        cipher.encrypt_block(&mut pad);
        let mut new = Self { cipher, pad: u128::from_be_bytes(pad.into()), first: vec![0; 1 << TABULATED] };
        (0..TABULATED).for_each(|bit| new.tabulate(bit));
        new
    }

    /// Anonymises an address of 4 or 16 bytes in its place, with the cache of the engine that asks.
    pub fn anonymise(&self, address: &mut [u8], cache: &mut Cache) {
        if let Ok(bytes) = <&mut [u8; 4]>::try_from(&mut *address) {
            let bits = u128::from(u32::from_be_bytes(*bytes)) << 96;
            let [a, b, c, d, ..] = self.remembered(bits, 32, cache).to_be_bytes();
            *bytes = [a, b, c, d];
        } else if let Ok(bytes) = <&mut [u8; 16]>::try_from(&mut *address) {
            *bytes = self.remembered(u128::from_be_bytes(*bytes), 128, cache).to_be_bytes();
        } else {
            address.fill(0);
        }
    }

    /// Whether a bit of all addresses that begin so changes, for each of its prefixes.
    fn tabulate(&mut self, bit: u32) {
        let rest = TABULATED - bit;
        for (prefix, addresses) in (0_u128..).zip(self.first.chunks_exact_mut(1 << rest)) {
            let before = prefix.checked_shl(128 - bit).unwrap_or(0);
            let mut block = block(before, self.pad, bit);
            self.cipher.encrypt_block(&mut block);
            let changes = u16::from(block[0] >> 7) << (rest - 1);
            addresses.iter_mut().for_each(|mask| *mask |= changes);
        }
    }

    fn remembered(&self, address: u128, bits: u32, cache: &mut Cache) -> u128 {
        let known = cache.entries.iter().find(|entry| entry.address == address && entry.bits == bits);
        if let Some(entry) = known {
            return entry.result;
        }
        let result = address ^ self.mask(address, bits);
        if let Some(entry) = cache.entries.get_mut(cache.next) {
            *entry = Entry { address, bits, result };
        }
        cache.next = (cache.next + 1) % REMEMBERED;
        result
    }

    /// Which of an address's bits change.
    fn mask(&self, address: u128, bits: u32) -> u128 {
        let [a, b, ..] = address.to_be_bytes();
        let first = self.first.get(usize::from(u16::from_be_bytes([a, b])));
        let mut mask = first.map_or(0, |first| u128::from(*first) << (128 - TABULATED));
        for from in (TABULATED..bits).step_by(AT_ONCE) {
            let mut blocks: [Block; AT_ONCE] = Default::default();
            for (block_of, bit) in blocks.iter_mut().zip(from..) {
                *block_of = block(address, self.pad, bit);
            }
            self.cipher.encrypt_blocks(&mut blocks);
            for (block, bit) in blocks.iter().zip(from..) {
                mask |= u128::from(block[0] >> 7) << (127 - bit);
            }
        }
        mask
    }
}

/// It does not show the key.
impl fmt::Debug for Anonymiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anonymiser").finish_non_exhaustive()
    }
}

/// The addresses that an engine met last, and what became of them under one key.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    entries: [Entry; REMEMBERED],
    next: usize,
}

/// One that has no bits is empty, as no address has none.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    address: u128,
    bits: u32,
    result: u128,
}

/// The first bits of an address, then the pad's.
fn block(address: u128, pad: u128, bits: u32) -> Block {
    let pads = u128::MAX.checked_shr(bits).unwrap_or(0);
    Block::from((address & !pads | pad & pads).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr, Ipv6Addr},
        sync::LazyLock,
    };

    use proptest::prelude::*;

    use super::*;

    const KEY: Key = [
        0x15, 0x22, 0x17, 0x8d, 0x33, 0xa4, 0xcf, 0x80, 0x13, 0x0a, 0x5b, 0x16, 0x49, 0x90, 0x7d, 0x10, 0xd8,
        0x98, 0x8f, 0x83, 0x79, 0x79, 0x65, 0x27, 0x62, 0x57, 0x4c, 0x2d, 0x2a, 0x84, 0x22, 0x02,
    ];

    static ANONYMISER: LazyLock<Anonymiser> = LazyLock::new(|| Anonymiser::new(&KEY));

    fn anonymise<const N: usize>(mut address: [u8; N], cache: &mut Cache) -> [u8; N] {
        ANONYMISER.anonymise(&mut address, cache);
        address
    }

    /// The definition, a bit at a time, without table and cache.
    fn twin(address: &[u8]) -> Vec<u8> {
        let cipher = Aes128::new(&Block::try_from(&KEY[..16]).unwrap());
        let mut pad = Block::try_from(&KEY[16..]).unwrap();
        cipher.encrypt_block(&mut pad);
        let bit_of = |bytes: &[u8], bit: usize| bytes[bit / 8] >> (7 - bit % 8) & 1;
        let mut result = address.to_vec();
        for bit in 0..8 * address.len() {
            let mut block = pad;
            for known in 0..bit {
                block[known / 8] &= !(0x80 >> (known % 8));
                block[known / 8] |= bit_of(address, known) << (7 - known % 8);
            }
            cipher.encrypt_block(&mut block);
            result[bit / 8] ^= bit_of(&block, 0) << (7 - bit % 8);
        }
        result
    }

    fn shared(one: &[u8], other: &[u8]) -> usize {
        let differs = |bit: &usize| (one[bit / 8] ^ other[bit / 8]) << (bit % 8) & 0x80 != 0;
        (0..8 * one.len()).find(differs).unwrap_or(8 * one.len())
    }

    #[test]
    fn rt08_the_vectors_of_the_specification() {
        for (before, after) in [
            ("128.11.68.132", "135.242.180.132"),
            ("129.118.74.4", "134.136.186.123"),
            ("24.5.0.80", "100.9.15.210"),
            ("2001:db8::1", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e"),
        ] {
            let result: IpAddr = match before.parse().unwrap() {
                IpAddr::V4(it) => Ipv4Addr::from(anonymise(it.octets(), &mut Cache::default())).into(),
                IpAddr::V6(it) => Ipv6Addr::from(anonymise(it.octets(), &mut Cache::default())).into(),
            };
            assert_eq!(result.to_string(), after);
        }
    }

    #[test]
    fn what_is_no_address_becomes_zeros() {
        assert_eq!(anonymise([1; 5], &mut Cache::default()), [0; 5]);
        assert_eq!(anonymise([], &mut Cache::default()), [0_u8; 0]);
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(format!("{:?}", *ANONYMISER), "Anonymiser { .. }");
    }

    proptest! {
        #![proptest_config(crate::scale::RT08_REWRITES.cases())]

        #[test]
        fn rt08_prefixes_keep_their_lengths(one: [u8; 16], mut other: [u8; 16], same in 0..128usize) {
            // Random addresses share next to nothing: the second gets a piece of the first, and then differs.
            for bit in 0..same {
                other[bit / 8] ^= (one[bit / 8] ^ other[bit / 8]) & 0x80 >> (bit % 8);
            }
            let cache = &mut Cache::default();
            prop_assert_eq!(shared(&one, &other), shared(&anonymise(one, cache), &anonymise(other, cache)));
            let [one, other] = [one, other].map(|it| [it[0], it[1], it[2], it[3]]);
            prop_assert_eq!(shared(&one, &other), shared(&anonymise(one, cache), &anonymise(other, cache)));
        }

        #[test]
        fn rt08_table_and_cache_are_the_definition(picked in prop::collection::vec((0..40u8, any::<bool>()), 1..60)) {
            // Forty addresses of both lengths through sixteen entries: hits, misses and what was displaced.
            let cache = &mut Cache::default();
            for (number, is_long) in picked {
                let address = [number.wrapping_mul(97), number, 1, number, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, number];
                if is_long {
                    prop_assert_eq!(anonymise(address, cache).to_vec(), twin(&address));
                } else {
                    let short = [address[0], address[1], 0, number];
                    prop_assert_eq!(anonymise(short, cache).to_vec(), twin(&short));
                }
            }
        }
    }
}
