//! An automaton whose states are made when a packet first needs them, in an arena of fixed size.
//!
//! Rules whose whole automaton would be too big often visit few of its states. When the arena is full it is cleared, and
//! the packet goes on. Traffic that fills it again and again would make this slower than simulation, so after
//! [`CLEARS_MAX`] clears in a batch the rest of the batch is simulated: the time stays linear whatever the packets are.

use super::lanes::BATCH_MAX;
use super::simulate::{self, Walk};
use crate::dfa::{Classes, Closure, Nfa, State, StateId};
use crate::resolved::RuleId;

/// How often a batch may clear the arena.
pub const CLEARS_MAX: u32 = 8;
/// The cell of a way that was not gone yet.
const UNKNOWN: u32 = u32::MAX;
/// What a state costs beside its cells: its [`Known`] and two slots to find it by.
const STATE_BYTES: usize = size_of::<Known>() + 2 * size_of::<u32>();
/// An arena that holds fewer states would do nothing but clear.
const STATES_MIN: usize = 16;

/// The rules, ready to run.
#[derive(Clone, Debug)]
pub struct Lazy {
    nfa: Nfa,
    classes: Classes,
    /// As many cells as a row has, as a power of two.
    shift: u32,
    states_max: usize,
    places_max: usize,
}

/// A state that was made.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Its places: a range of [`Arena::places`].
    begin: u32,
    end: u32,
    accepts: Option<RuleId>,
    /// The verdict is the same whatever follows.
    settled: bool,
}

/// The states made so far, and the memory to make more. One for each engine.
#[derive(Clone, Debug)]
pub struct Arena {
    cells: Vec<u32>,
    states: Vec<Known>,
    places: Vec<StateId>,
    /// State numbers, plus one, by the hash of their places; 0 is free.
    slots: Vec<u32>,
    fresh: Vec<StateId>,
    closure: Closure,
    walk: Walk,
    /// Since it was made.
    clears: u64,
    /// Packets that were simulated because of too many clears.
    simulated: u64,
}

impl Arena {
    /// How often it was cleared.
    #[must_use]
    pub const fn clears(&self) -> u64 {
        self.clears
    }

    /// How many packets were simulated, as it had been cleared too often.
    #[must_use]
    pub const fn simulated(&self) -> u64 {
        self.simulated
    }

    /// How many states of the nondeterministic automaton were reached, which is what its time goes to: never more for a
    /// byte than there are, once to make a state and once to simulate.
    #[must_use]
    pub const fn reached(&self) -> u64 {
        self.closure.count() + self.walk.reached()
    }

    fn clear(&mut self) {
        self.cells.clear();
        self.states.clear();
        self.places.clear();
        self.slots.fill(0);
        self.clears += 1;
    }
}

impl Lazy {
    /// For an arena of so many bytes; `None` if that is too small for these rules.
    #[must_use]
    pub fn new(nfa: Nfa, arena_bytes: usize) -> Option<Self> {
        let classes = Classes::new(nfa.sets());
        let shift = classes.count().next_power_of_two().trailing_zeros();
        // A quarter is for places; the largest set of them must fit.
        let places_max = arena_bytes / 4 / size_of::<StateId>();
        let states_max = (arena_bytes - arena_bytes / 4) / ((size_of::<u32>() << shift) + STATE_BYTES);
        let lazy = Self { nfa, classes, shift, states_max, places_max };
        (states_max >= STATES_MIN && lazy.nfa.len() <= places_max).then_some(lazy)
    }

    /// Memory to run it, of the size it was made for.
    #[must_use]
    pub fn arena(&self) -> Arena {
        Arena {
            cells: Vec::with_capacity(self.states_max << self.shift),
            states: Vec::with_capacity(self.states_max),
            places: Vec::with_capacity(self.places_max),
            slots: vec![0; 2 * self.states_max],
            fresh: Vec::with_capacity(self.nfa.len()),
            closure: Closure::new(&self.nfa),
            walk: Walk::new(&self.nfa),
            clears: 0,
            simulated: 0,
        }
    }

    /// Which rule wins, for each packet; as many verdicts as packets.
    pub fn judge(&self, arena: &mut Arena, packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
        for (packets, verdicts) in packets.chunks(BATCH_MAX).zip(verdicts.chunks_mut(BATCH_MAX)) {
            let before = arena.clears;
            for (packet, verdict) in packets.iter().zip(verdicts) {
                *verdict = match self.verdict(arena, packet, before + u64::from(CLEARS_MAX)) {
                    Ok(verdict) => verdict,
                    Err(Thrashing) => {
                        arena.simulated += 1;
                        simulate::verdict(&self.nfa, &mut arena.walk, packet)
                    }
                };
            }
        }
    }

    fn verdict(
        &self,
        arena: &mut Arena,
        packet: &[u8],
        clears_max: u64,
    ) -> Result<Option<RuleId>, Thrashing> {
        if arena.clears > clears_max {
            return Err(Thrashing);
        }
        arena.fresh.clear();
        arena.fresh.extend(self.nfa.rules().map(|(_, start)| start));
        let mut state = self.state(arena);
        for byte in packet {
            let known = arena.states[state];
            if known.settled {
                return Ok(known.accepts);
            }
            let cell = (state << self.shift) + usize::from(self.classes.of(*byte));
            state = match arena.cells[cell] {
                UNKNOWN => {
                    let clears = arena.clears;
                    let next = self.step(arena, known, *byte);
                    if arena.clears > clears_max {
                        return Err(Thrashing);
                    }
                    if arena.clears == clears {
                        arena.cells[cell] = u32::try_from(next).unwrap_or(UNKNOWN);
                    }
                    next
                }
                next => next as usize,
            };
        }
        Ok(arena.states[state].accepts)
    }

    /// Where a byte leads from a state.
    fn step(&self, arena: &mut Arena, from: Known, byte: u8) -> usize {
        let Arena { places, fresh, closure, .. } = arena;
        fresh.clear();
        closure.begin();
        for place in &places[from.begin as usize..from.end as usize] {
            closure.reach(&self.nfa, *place, |id, _| {
                if let State::Bytes(set, next) = self.nfa.state(id)
                    && set.has(byte)
                {
                    fresh.push(*next);
                }
            });
        }
        self.state(arena)
    }

    /// The state of the fresh places; a full arena is cleared first.
    fn state(&self, arena: &mut Arena) -> usize {
        arena.fresh.sort_unstable();
        arena.fresh.dedup();
        self.nfa.prune(&mut arena.fresh);
        let slot = match Self::find(arena) {
            Ok(state) => return state,
            Err(slot) => slot,
        };
        let full =
            arena.states.len() == self.states_max || arena.places.len() + arena.fresh.len() > self.places_max;
        let slot = if full {
            arena.clear();
            Self::find(arena).unwrap_or_else(|slot| slot)
        } else {
            slot
        };
        let state = arena.states.len();
        let begin = arena.places.len();
        arena.places.extend_from_slice(&arena.fresh);
        arena.states.push(Known {
            begin: u32::try_from(begin).unwrap_or(u32::MAX),
            end: u32::try_from(arena.places.len()).unwrap_or(u32::MAX),
            accepts: arena.fresh.iter().find_map(|place| self.nfa.accepts(*place)),
            settled: arena.fresh.first().is_none_or(|place| self.nfa.sure(*place)),
        });
        arena.cells.resize(arena.states.len() << self.shift, UNKNOWN);
        arena.slots[slot] = u32::try_from(state + 1).unwrap_or(UNKNOWN);
        state
    }

    /// The state of the fresh places, or the slot where it belongs.
    fn find(arena: &Arena) -> Result<usize, usize> {
        let mut slot = hash(&arena.fresh) % arena.slots.len();
        loop {
            let Some(state) = arena.slots[slot].checked_sub(1) else { return Err(slot) };
            let known = arena.states[state as usize];
            if arena.places[known.begin as usize..known.end as usize] == arena.fresh[..] {
                return Ok(state as usize);
            }
            slot = (slot + 1) % arena.slots.len();
        }
    }
}

/// The arena was cleared too often in this batch.
struct Thrashing;

fn hash(places: &[StateId]) -> usize {
    // FNV-1a, over whole ids.
    places.iter().fold(0x811c_9dc5, |hash: usize, place| (hash ^ place.index()).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests;
