//! RT9: programs made to land on each rung of the ladder give the same verdicts and the same packets on every rung below.
//!
//! What the ladder does with patterns alone, and that an arena that is thrashed costs linear work, stands beside the code.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod engines;
mod made;

use engines::{Engines, OFFLINE};
use made::Dice;
use ruler::{
    bundle::Bundle,
    dfa,
    exec::ladder::{self, Rung, Screens, Slow},
    filter::{Limits, Params},
    oracle,
};

/// A program, where it lands, and where it can be made to land.
struct Case {
    source: String,
    rung: Rung,
    below: &'static [Rung],
    packets: Vec<Vec<u8>>,
}

/// The rung that is asked for and none before it, for programs that could have a better one.
fn only(rung: Rung) -> Limits {
    let natural = ladder::Limits { slow: Slow::Allowed, pieces: 0, ..ladder::Limits::default() };
    let no_table = dfa::Limits { states: 0, transitions: 0, work: 0 };
    let no_small = ladder::Limits { wide_states: 0, small_cells: 0, ..natural };
    let engines = match rung {
        Rung::Small => natural,
        Rung::Screen => ladder::Limits { direct: no_table, ..natural },
        Rung::Large => ladder::Limits { screens: Screens::Refused, ..no_small },
        Rung::Groups => ladder::Limits { screens: Screens::Refused, ..natural },
        Rung::Lazy => ladder::Limits { dfa: no_table, screens: Screens::Refused, ..natural },
        Rung::Simulation => {
            ladder::Limits { dfa: no_table, screens: Screens::Refused, arena_bytes: 0, ..natural }
        }
    };
    Limits { engines, ..Limits::default() }
}

/// Packets of few letters, so that they nearly match.
fn packets(alphabet: &[u8], length: usize) -> Vec<Vec<u8>> {
    let mut dice = Dice::of(9);
    (0..150)
        .map(|_| (0..dice.index(length)).map(|_| alphabet[dice.index(alphabet.len())]).collect())
        .collect()
}

/// Words of five letters, of which many overlap.
fn words(count: usize) -> Vec<String> {
    let mut dice = Dice::of(4);
    (0..count).map(|_| (0..5).map(|_| char::from(b"abcd"[dice.index(4)])).collect()).collect()
}

fn cases() -> Vec<Case> {
    let rule = |(code, word): (usize, &String)| format!("  * x:\"{word}\" * => x class {code};\n");
    let searches = |count| words(count).iter().enumerate().map(rule).collect::<String>();
    vec![
        Case {
            source: format!("filter f\n{}  * => accept 99;\n", searches(3)),
            rung: Rung::Small,
            below: &[Rung::Screen, Rung::Large, Rung::Lazy, Rung::Simulation],
            packets: packets(b"abcd", 90),
        },
        Case {
            source: format!("filter f\n{}  * => accept 99;\n", searches(150)),
            rung: Rung::Screen,
            below: &[Rung::Lazy, Rung::Simulation],
            packets: packets(b"abcd", 30),
        },
        Case {
            source: "filter f\n  * \"a\" x:byte#14 \"b\" => x class 1;\n  * => reject 2;\n".to_owned(),
            rung: Rung::Large,
            below: &[Rung::Lazy, Rung::Simulation],
            packets: packets(b"ab", 60),
        },
        Case {
            source:
                "filter f\n  * \"a\" byte#10 \"a\" * => accept 1;\n  * \"b\" byte#10 \"b\" * => reject 2;\n"
                    .to_owned(),
            rung: Rung::Groups,
            below: &[Rung::Lazy, Rung::Simulation],
            packets: packets(b"abcd", 40),
        },
        Case {
            source: "filter f\n  * \"a\" x:byte#30 => x class 3;\n  * => reject 2;\n".to_owned(),
            rung: Rung::Lazy,
            below: &[Rung::Simulation],
            packets: packets(b"ab", 60),
        },
    ]
}

impl Case {
    /// On this rung, every packet gets what the oracle and the slow twin of rewriting give it.
    fn agrees(&self, rung: Rung, limits: &Limits) {
        let (mut filters, found) = ruler::resolve(&Bundle::new("a.rl", self.source.as_bytes()));
        assert!(!found.iter().any(ruler::diagnostic::Diagnostic::is_error), "{found:?}");
        let filter = filters.remove(0);
        let params = Params { bounds: OFFLINE, key: None };
        let engines = Engines::new(filter, limits, 1 << 18, params);
        let rungs: Vec<&str> = engines.rungs();
        assert!(rungs.contains(&rung.name()), "{rungs:?} instead of {rung:?}\n{}", self.source);
        let packets: Vec<&[u8]> = self.packets.iter().map(Vec::as_slice).collect();
        let expected: Vec<_> = packets
            .iter()
            .map(|packet| {
                let found = oracle::judge(&engines.filter, packet).unwrap();
                engines.of_match(packet, found.as_ref()).remove(0).1
            })
            .collect();
        let kinds: std::collections::BTreeSet<_> = expected.iter().map(|(rule, _)| *rule).collect();
        assert!(1 < kinds.len(), "all packets have one verdict");
        for (how, outcomes) in engines.outcomes(&packets) {
            assert_eq!(outcomes, expected, "{rung:?}, {how}\n{}", self.source);
        }
    }
}

#[test]
fn rt09_programs_land_where_they_should_and_are_judged_alike_on_every_rung() {
    for case in cases() {
        let natural = ladder::Limits { slow: Slow::Allowed, ..ladder::Limits::default() };
        case.agrees(case.rung, &Limits { engines: natural, ..Limits::default() });
        case.agrees(case.rung, &only(case.rung));
        for rung in case.below {
            case.agrees(*rung, &only(*rung));
        }
    }
}
