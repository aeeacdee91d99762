//! Literals anywhere in a packet, none of which occurs: `r1`, `r1_bytes`, `r2`, `r4`, each with every peer.
//!
//! | rows | literals | packets |
//! |---|---|---|
//! | `r1` | 100 of 8 bytes | 1500 bytes of random lower-case letters, as literals are: nothing can be skipped early |
//! | `r1_bytes` | the same | 1500 random bytes: kinder to whoever first looks for rare bytes |
//! | `r2` | the same | IMIX of letters |
//! | `r4` | 16 | as `r1` |
//!
//! One rule with all literals as its alternatives, and one that accepts all else. Before anything is timed, every scanner must
//! find each literal in packets that have it, and none in others.
use anyhow::{Context as _, Result, ensure};

use super::{Goal, absolute};
use crate::{
    report::bench::{Better, Row},
    scan::{
        automata::Automata,
        contest::{Measure, Scanner, agree, alone, contest},
        engines::{Entry, Judging, OneLane},
        here::Here,
        literals::Literals,
        packets::{Filling, Lengths, Packets},
        program::{Peer, Workshop},
    },
    suite::mux::pinned,
};

/// Bytes of a literal.
const LITERAL: usize = 8;
/// Of literals, packets, and packets with literals in them.
const SEEDS: [u64; 3] = [1, 2, 3];
/// Ours must be no slower than regex-automata and PCRE2, and should be this much faster.
const FASTER: Goal = Goal::new(1.0, 2.5);

/// Some literals in some packets.
pub(super) struct Table {
    /// What its rows are called: first against an aim, then against each peer.
    pub(super) ids: [&'static str; 7],
    literals: usize,
    lengths: Lengths,
    filling: Filling,
    /// In GB/s.
    aim: f64,
    one_lane: Goal,
}

/// A hundred literals in packets of 1500 bytes.
pub(super) const R1: Table = Table {
    ids: [
        "r1",
        "r1_vs_one_lane",
        "r1_vs_regex_automata",
        "r1_vs_pcre2",
        "r1_vs_hyperscan",
        "r1_vs_re2",
        "r1_vs_re2c",
    ],
    literals: 100,
    lengths: Lengths::Fixed(1_500),
    filling: Filling::Letters,
    aim: 2.0,
    one_lane: Goal::new(2.5, 4.0),
};

/// The same, in packets of any bytes.
pub(super) const R1_BYTES: Table = Table {
    ids: [
        "r1_bytes",
        "r1_bytes_vs_one_lane",
        "r1_bytes_vs_regex_automata",
        "r1_bytes_vs_pcre2",
        "r1_bytes_vs_hyperscan",
        "r1_bytes_vs_re2",
        "r1_bytes_vs_re2c",
    ],
    filling: Filling::Bytes,
    ..R1
};

/// A hundred literals in IMIX.
pub(super) const R2: Table = Table {
    ids: [
        "r2",
        "r2_vs_one_lane",
        "r2_vs_regex_automata",
        "r2_vs_pcre2",
        "r2_vs_hyperscan",
        "r2_vs_re2",
        "r2_vs_re2c",
    ],
    lengths: Lengths::Imix,
    aim: 1.8,
    one_lane: Goal::new(2.5, 3.5),
    ..R1
};

/// So few literals that a packed search comes first.
pub(super) const R4: Table = Table {
    ids: [
        "r4",
        "r4_vs_one_lane",
        "r4_vs_regex_automata",
        "r4_vs_pcre2",
        "r4_vs_hyperscan",
        "r4_vs_re2",
        "r4_vs_re2c",
    ],
    literals: 16,
    aim: 5.0,
    ..R1
};

/// The peers that are programs, in the order of the ids.
const PROGRAMS: [(Peer, Goal); 4] = [
    (Peer::Pcre2, FASTER),
    (Peer::Hyperscan, Goal::SHOWN),
    (Peer::Re2, Goal::SHOWN),
    (Peer::Re2c, Goal::SHOWN),
];

/// Measures one table.
pub(super) fn rows(table: &Table, runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    pinned(|| table.measure(runs, rows))
}

impl Table {
    fn measure(&self, runs: u32, rows: &mut Vec<Row>) -> Result<()> {
        let [id, id_one, id_automata, ids_programs @ ..] = self.ids;
        let literals = Literals::random(self.literals, LITERAL, SEEDS[0]);
        let packets = Packets::random(self.lengths, self.filling, SEEDS[1]);
        let planted = Packets::planted(&literals, SEEDS[2]);
        let ours =
            |packets| Ok::<_, anyhow::Error>(Here(Judging::new(&literals.program(), packets, Entry::Zero)?));
        let (mut finds, mut ours) = (ours(&planted)?, ours(&packets)?);
        ensure!(finds.round(1)?.hits == self.literals as u64, "not every planted literal is found");
        ensure!(ours.round(1)?.hits == 0, "a literal occurs in packets that should have none");
        let measure = Measure::bytes(packets.len_bytes());
        let rates = alone(runs, measure, &mut ours)?;
        rows.push(absolute(Row::against_aim(id, measure.unit, Better::Higher, &rates, self.aim))?);
        let mut against = |id, goal: Goal, peer: &mut dyn Scanner| {
            let pairs = contest(runs, measure, &mut ours, peer)?;
            rows.push(goal.of(Row::paired(id, measure.unit, &peer.name(), &pairs).context("no runs")?));
            Ok::<_, anyhow::Error>(())
        };
        agree(&mut finds, &mut Here(OneLane::new(&literals.program(), &planted)?))?;
        against(id_one, self.one_lane, &mut Here(OneLane::new(&literals.program(), &packets)?))?;
        agree(&mut finds, &mut Here(Automata::new(&literals, &planted)?))?;
        against(id_automata, FASTER, &mut Here(Automata::new(&literals, &packets)?))?;
        let workshop = Workshop::new()?;
        for (id, (peer, goal)) in ids_programs.into_iter().zip(PROGRAMS) {
            let built = workshop.build(peer, &literals)?;
            agree(&mut finds, &mut built.start(&planted)?)?;
            against(id, goal, &mut built.start(&packets)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_row_for_each_peer() {
        for table in [&R1, &R1_BYTES, &R2, &R4] {
            let id = table.ids[0];
            let peers = ["one_lane", "regex_automata", "pcre2", "hyperscan", "re2", "re2c"];
            assert_eq!(table.ids[1..], peers.map(|peer| format!("{id}_vs_{peer}")));
        }
    }
}
