//! One program on every engine, and random packets: all say what the oracle says.
//!
//! It makes no programs, and no choices: tests and fuzzing do.
#![allow(dead_code, reason = "what was seen is nothing to who fuzzes")]

use std::cell::Cell;

use proptest::{prop_assert, prop_assert_eq, test_runner::TestCaseError};
use ruler::{
    bundle::Bundle,
    dfa,
    diagnostic::{self, Code},
    exec::ladder::{self, Slow},
    filter::{Limits, Params},
    oracle::{self, Match},
};

use super::{
    engines::{End, Engines, OFFLINE, Outcome},
    made::{self, Dice},
    program::Program,
};

/// Packets of each program.
const PACKETS: usize = 20;
/// The longest packet: beyond it the oracle has too many ways.
const PACKET_BYTES_MAX: usize = 48;

/// What was seen, so that a test of nothing is noticed.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) pairs: Cell<u32>,
    pub(crate) matched: Cell<u32>,
    pub(crate) rewritten: Cell<u32>,
    pub(crate) decided: Cell<u32>,
    pub(crate) without_tables: Cell<u32>,
    pub(crate) given_up: Cell<u32>,
    pub(crate) refused: Cell<u32>,
}

impl Seen {
    fn note(&self, outcome: &Outcome) {
        count(&self.pairs);
        match outcome {
            (None, _) => {}
            (_, End::Rewritten(..)) => count(&self.rewritten),
            _ => count(&self.matched),
        }
    }
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

/// Limits of one rung of the ladder or another, so that each judges packets.
fn limits(dice: &mut Dice) -> Limits {
    let dfa = dfa::Limits { states: 2_000, transitions: 1 << 16, work: 1 << 17 };
    let all = ladder::Limits { dfa, slow: Slow::Allowed, arena_bytes: 1 << 18, ..ladder::Limits::default() };
    let engines = match dice.below(5) {
        0 => ladder::Limits { small_cells: 0, ..all },
        1 => ladder::Limits { small_cells: 64, large_cells: 256, ..all },
        2 => ladder::Limits { small_cells: 0, large_cells: 0, ..all },
        3 => ladder::Limits { small_cells: 0, large_cells: 0, arena_bytes: 0, ..all },
        _ => all,
    };
    let dag = if dice.once_in(4) {
        ruler::dag::Limits { nodes: 1 + dice.index(20), ..Default::default() }
    } else {
        ruler::dag::Limits::default()
    };
    Limits { engines, dag, ..Limits::default() }
}

/// One program on every engine, and packets with what the oracle says of them.
struct Trial<'a> {
    text: &'a str,
    engines: Engines,
    packets: Vec<Vec<u8>>,
    found: Vec<Option<Match>>,
}

/// Holds every engine of a program against the oracle, on packets that its rules and the dice make.
pub(crate) fn agree(program: &Program, dice: &mut Dice, seen: &Seen) -> Result<(), TestCaseError> {
    let text = program.text();
    let bundle = Bundle::new("a.rl", text.clone());
    let (mut filters, found) = ruler::resolve(&bundle);
    prop_assert_eq!(filters.len(), 1, "{}\n{}", text, diagnostic::text(&bundle, &found));
    let arena_bytes = [1 << 14, 1 << 18][dice.index(2)];
    let params = Params { bounds: OFFLINE, key: None };
    let engines = match Engines::unless_refused(filters.remove(0), &limits(dice), arena_bytes, params) {
        Ok(engines) => engines,
        Err(found) => {
            // More states than even simulation may have: that is said, and nothing else may be the reason.
            let is_known = found.iter().any(|one| one.code == Code::StateBudget);
            prop_assert!(is_known, "{}\n{}", text, diagnostic::text(&bundle, &found));
            count(&seen.refused);
            return Ok(());
        }
    };
    if !engines.has_tables() {
        count(&seen.without_tables);
    }
    let mut trial = Trial { text: &text, engines, packets: Vec::new(), found: Vec::new() };
    for _ in 0..PACKETS {
        let mut packet = made::packet(dice, &trial.engines.filter);
        packet.truncate(PACKET_BYTES_MAX);
        match oracle::judge(&trial.engines.filter, &packet) {
            Ok(found) => {
                trial.packets.push(packet);
                trial.found.push(found);
            }
            Err(_) => count(&seen.given_up),
        }
    }
    trial.matching_agrees()?;
    trial.judging_agrees(seen)
}

impl Trial<'_> {
    fn packets(&self) -> Vec<&[u8]> {
        self.packets.iter().map(Vec::as_slice).collect()
    }

    /// Which rule, by every engine.
    fn matching_agrees(&self) -> Result<(), TestCaseError> {
        let packets = self.packets();
        for (engine, rules) in self.engines.rules(&packets) {
            for ((packet, got), found) in packets.iter().zip(rules).zip(&self.found) {
                let found = found.as_ref().map(|found| found.rule);
                // What an engine leaves to others cannot be wrong.
                prop_assert_eq!(got.unwrap_or(found), found, "{}: {:02x?}\n{}", engine, packet, self.text);
            }
        }
        Ok(())
    }

    /// What becomes of the packets, by every plan, and put together from byte 0 and from the class.
    fn judging_agrees(&self, seen: &Seen) -> Result<(), TestCaseError> {
        let (packets, text) = (self.packets(), self.text);
        let mut outcomes = Vec::new();
        for (packet, found) in packets.iter().zip(&self.found) {
            let all = self.engines.of_match(packet, found.as_ref());
            let (_, outcome) = all[0].clone();
            for (plan, got) in all {
                prop_assert_eq!(&got, &outcome, "{}: {:02x?}\n{}", plan, packet, text);
            }
            if let Some(decided) = self.engines.decided(packet) {
                prop_assert_eq!(&decided, found, "the header DAG's labels: {:02x?}\n{}", packet, text);
                count(&seen.decided);
            }
            seen.note(&outcome);
            outcomes.push(outcome);
        }
        for (engine, all) in self.engines.outcomes(&packets) {
            for ((packet, got), outcome) in packets.iter().zip(all).zip(&outcomes) {
                prop_assert_eq!(&got, outcome, "{}: {:02x?}\n{}", engine, packet, text);
            }
        }
        Ok(())
    }
}
