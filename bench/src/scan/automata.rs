//! regex-automata's dense DFA of several patterns: what a Rust program would use if it wanted one automaton for all literals.
use anyhow::Result;
use regex_automata::{
    Input,
    dfa::{Automaton as _, StartKind, dense},
    nfa::thompson,
    util::syntax,
};

use super::{here::Pass, literals::Literals, packets::Packets};

/// The automaton, and what it scans.
pub struct Automata<'p> {
    dfa: dense::DFA<Vec<u32>>,
    packets: Vec<&'p [u8]>,
    sum: u64,
}

impl<'p> Automata<'p> {
    /// Of bytes, not of text; without captures, and minimised by nobody, as is its default.
    ///
    /// # Errors
    /// The literals do not compile.
    pub fn new(literals: &Literals, packets: &'p Packets) -> Result<Self> {
        let dfa = dense::Builder::new()
            .configure(dense::Config::new().start_kind(StartKind::Unanchored))
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false))
            .build_many(&literals.expressions())?;
        Ok(Self { dfa, packets: packets.slices(), sum: packets.sum() })
    }

    fn hits(&self, packet: &[u8]) -> bool {
        // The automaton quits at no byte, so a search does not fail.
        matches!(self.dfa.try_search_fwd(&Input::new(packet).earliest(true)), Ok(Some(_)))
    }
}

impl Pass for Automata<'_> {
    fn name(&self) -> String {
        "regex-automata".into()
    }

    fn pass(&mut self) -> u64 {
        self.packets.iter().filter(|packet| self.hits(packet)).count() as u64
    }

    fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{contest::Scanner as _, here::Here};

    #[test]
    fn it_hits_what_was_planted() {
        let literals = Literals::random(100, 8, 1);
        let packets = Packets::planted(&literals, 2);
        let round = Here(Automata::new(&literals, &packets).unwrap()).round(1).unwrap();
        assert_eq!((round.hits, round.sum), (100, packets.sum()));
    }
}
