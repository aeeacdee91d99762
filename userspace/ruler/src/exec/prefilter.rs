//! A search for a few byte strings of which every match of some rules holds one: it is faster than any automaton.
//!
//! Where it finds none, no rule matches but the one that matches everything; where it finds one, the engine runs from the
//! start. It decides nothing else. It looks for [`PIECES_MAX`] strings at most, as with more of them it is slower than
//! eight lanes on text, and where it finds too much it rests.

use aho_corasick::packed;

use crate::{
    ir::{Node, required},
    resolved::RuleId,
};

/// The most strings that are worth it.
pub const PIECES_MAX: usize = 16;
/// After so many packets it is looked at whether the search pays.
const WINDOW_PACKETS: u32 = 1_024;
/// It does not if more than one in so many packets had a hit.
const HITS_ONE_IN: u32 = 4;
/// Then it rests for so many packets.
const REST_PACKETS: u32 = 16_384;

/// What is looked for, and what a packet without it gets.
#[derive(Clone, Debug)]
pub struct Prefilter {
    search: packed::Searcher,
    otherwise: Option<RuleId>,
}

/// Whether the search pays, or rests. One for each engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    judged: u32,
    hits: u32,
    left: u32,
}

/// Strings of which every match of these rules holds one; `None` if there are none, or more than `pieces_max`.
#[must_use]
pub fn pieces(rules: &[(RuleId, &Node)], pieces_max: usize) -> Option<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for (_, node) in rules {
        all.extend(required(node)?);
        all.sort_unstable();
        all.dedup();
        if all.len() > pieces_max {
            return None;
        }
    }
    (!all.is_empty()).then_some(all)
}

impl Prefilter {
    /// A search for these; `None` if this CPU has no instructions for it.
    #[must_use]
    pub fn new(pieces: &[Vec<u8>], otherwise: Option<RuleId>) -> Option<Self> {
        let search = packed::Config::new().builder().extend(pieces).build()?;
        Some(Self { search, otherwise })
    }

    /// Whether the packet may match one of the rules; else its verdict.
    pub(super) fn passes(&self, packet: &[u8]) -> Result<(), Option<RuleId>> {
        self.search.find(packet).map(|_| ()).ok_or(self.otherwise)
    }
}

impl Rest {
    /// Whether the next packets, so many of them, go by without a search.
    pub(super) const fn rests(&mut self, packets: u32) -> bool {
        let rests = self.left > 0;
        self.left = self.left.saturating_sub(packets);
        rests
    }

    /// So many packets were searched, and so many of them had a hit.
    pub(super) const fn searched(&mut self, packets: u32, hits: u32) {
        self.judged += packets;
        self.hits += hits;
        if self.judged >= WINDOW_PACKETS {
            let left = if self.hits > self.judged / HITS_ONE_IN { REST_PACKETS } else { 0 };
            *self = Self { judged: 0, hits: 0, left };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rt04_a_search_that_finds_too_much_rests_and_tries_again() {
        let mut rest = Rest::default();
        let window = |rest: &mut Rest, hits: u32| {
            for _ in 0..WINDOW_PACKETS / 64 {
                assert!(!rest.rests(64));
                rest.searched(64, hits);
            }
        };
        // A quarter is not too much.
        window(&mut rest, 16);
        window(&mut rest, 17);
        let resting = (0..).take_while(|_| rest.rests(64)).count();
        assert_eq!(resting, 256);
        window(&mut rest, 0);
        assert_eq!(rest, Rest::default());
    }
}
