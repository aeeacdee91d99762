//! Whose the tuples are that one worker met last, found without a look at the mirror.
//!
//! It answers what the mirror would, or asks it: an answer stands for one generation of the tables and is forgotten with
//! it. A key has one place, by its hash; whoever is met later takes it. Two owners whose keys share a place cost each
//! other a look at the mirror, which is what either would cost without this memory, and nothing more can be done by
//! choosing keys. "Nobody's" is not remembered: such packets were under way when their tuple was released, and are few.
use std::cell::Cell;

use abi::steer::SteerKey;

use super::{Mirror, Owned};
use crate::registry::SessionId;

/// Places, a power of two: 32 bytes each.
const PLACES: usize = 1024;

/// What the tables that were asked are called: another number, other tables.
pub type Generation = u64;

/// The memory of one worker.
#[derive(Debug)]
pub struct Recent {
    places: Box<[Cell<Place>; PLACES]>,
    generation: Cell<Generation>,
}

/// A key as words, because that is how keys are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words {
    addr: [u64; 2],
    rest: u32,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Place {
    key: Words,
    owned: Owned,
}

/// No key has these words: the last byte of a key is 0.
const NOBODY: Place = Place {
    key: Words { addr: [0; 2], rest: u32::MAX },
    owned: Owned { session: SessionId { slot: u16::MAX, generation: 0 }, tuple: u16::MAX },
};

const _: () = assert!(size_of::<Place>() == 32 && PLACES.is_power_of_two());

impl Default for Recent {
    fn default() -> Self {
        Self { places: Box::new([const { Cell::new(NOBODY) }; PLACES]), generation: Cell::new(0) }
    }
}

impl Words {
    #[inline(always)]
    const fn of(key: SteerKey) -> Self {
        let SteerKey {
            addr: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p],
            port: [high, low],
            proto,
            zero,
        } = key;
        let addr =
            [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])];
        Self { addr, rest: u32::from_le_bytes([high, low, proto, zero]) }
    }

    fn key(self) -> SteerKey {
        let [first, last] = self.addr;
        let addr = (u128::from(last) << 64 | u128::from(first)).to_le_bytes();
        let [high, low, proto, zero] = self.rest.to_le_bytes();
        SteerKey { addr, port: [high, low], proto, zero }
    }

    /// The upper bits of a product, as [`super::shard`] has them.
    #[inline(always)]
    const fn place(self) -> usize {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let folded = self.addr[0] ^ self.addr[1] ^ (self.rest as u64) << 16;
        (folded.wrapping_mul(GOLDEN) >> (u64::BITS - PLACES.ilog2())) as usize
    }
}

impl Recent {
    /// The number that exactly this tuple has within this session, if it is the session's in the tables of this
    /// generation, of which `mirror` is part.
    // By value: a key that somebody may look at through a reference is put together in memory, byte by byte.
    #[must_use]
    #[inline(always)]
    pub fn tuple(
        &self,
        generation: Generation,
        mirror: &Mirror,
        key: SteerKey,
        session: SessionId,
    ) -> Option<u16> {
        if self.generation.get() != generation {
            self.forget(generation);
        }
        let words = Words::of(key);
        let place = &self.places[words.place() % PLACES];
        let Place { key, owned } = place.get();
        if key == words && owned.session == session {
            return Some(owned.tuple);
        }
        ask(place, words, mirror, session)
    }

    /// The same without any memory.
    #[must_use]
    #[inline(always)]
    pub fn unremembered(mirror: &Mirror, key: SteerKey, session: SessionId) -> Option<u16> {
        asked(Words::of(key), mirror, session)
    }

    #[cold]
    fn forget(&self, generation: Generation) {
        self.places.iter().for_each(|place| place.set(NOBODY));
        self.generation.set(generation);
    }
}

#[inline(never)]
fn ask(place: &Cell<Place>, key: Words, mirror: &Mirror, session: SessionId) -> Option<u16> {
    let owned = mirror.owner(&key.key())?;
    place.set(Place { key, owned });
    (owned.session == session).then_some(owned.tuple)
}

#[inline(never)]
fn asked(key: Words, mirror: &Mirror, session: SessionId) -> Option<u16> {
    mirror.owner(&key.key()).filter(|owned| owned.session == session).map(|owned| owned.tuple)
}
