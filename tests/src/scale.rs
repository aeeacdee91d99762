//! How often, and from which seed: the counts of every test that repeats itself, at both scales, in one place.
//!
//! `OCTROI_SCALE=deep` (what `cargo xtask test --deep` sets) chooses the second number. `OCTROI_SEED` replaces the seed,
//! which every failure names; without it a test does the same each time. `cargo xtask test` hands the seed on to proptest,
//! as `PROPTEST_RNG_SEED`; without one, proptest takes another at each run, and keeps the input of a test that fails.
use std::fmt;

/// How often a test does what it does.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// In every run.
    pub run: u64,
    /// When there are hours.
    pub deep: u64,
}

/// B5: random and damaged frames for the parser, the twin and the oracle.
pub const B05_FRAMES: Scale = Scale { run: 500_000, deep: 10_000_000 };

/// B5: frames that proptest builds, and makes small when one fails.
pub const B05_SHRINKABLE: Scale = Scale { run: 20_000, deep: 400_000 };

/// B7: random fragments for the XDP object, the twin and the oracle.
pub const B07_FRAMES: Scale = Scale { run: 50_000, deep: 2_000_000 };

/// B10: tuples in tables that are looked up, by chance and by choice.
pub const B10_TUPLES: Scale = Scale { run: 100_000, deep: 1_000_000 };

/// F1: times that a daemon with applications is killed.
pub const F01_KILLS: Scale = Scale { run: 5, deep: 100 };

/// F2: applications killed beside another.
pub const F02_KILLS: Scale = Scale { run: 20, deep: 1000 };

/// F4: rounds of ten replacements of the XDP programs under load, in each mode.
pub const F04_ROUNDS: Scale = Scale { run: 1, deep: 10 };

/// F5: times that a daemon with applications is replaced.
pub const F05_UPGRADES: Scale = Scale { run: 3, deep: 20 };

/// F9: times that an application reads nothing, and then again.
pub const F09_ROUNDS: Scale = Scale { run: 1, deep: 10 };

/// F11: packets in which no engine may allocate.
pub const F11_PACKETS: Scale = Scale { run: 100_000, deep: 10_000_000 };

/// F12: random writes of an application over all that it shares with the daemon.
pub const F12_WRITES: Scale = Scale { run: 1_000_000, deep: 100_000_000 };

/// F13: requests of clients that say whatever comes to their minds.
pub const F13_REQUESTS: Scale = Scale { run: 20_000, deep: 2_000_000 };

/// F18: times that a tuple comes and goes beside traffic that it does not concern.
pub const F18_CHANGES: Scale = Scale { run: 500, deep: 10_000 };

/// MT4: random bursts between both ends of a channel, for each kind of ring.
pub const MT04_STEPS: Scale = Scale { run: 3_000, deep: 300_000 };

/// MT4: packets there and back between two ends that sleep.
pub const MT04_PACKETS: Scale = Scale { run: 20_000, deep: 1_000_000 };

/// MT5: random packets of applications, for egress and its slow checker.
pub const MT05_PACKETS: Scale = Scale { run: 1_000_000, deep: 20_000_000 };

/// MT8: rounds of random arrivals on the virtual clock.
pub const MT08_ROUNDS: Scale = Scale { run: 64, deep: 4096 };

/// RT5: random filters whose header programs are compared with their DAGs, on some forty frames each.
pub const RT05_FILTERS: Scale = Scale { run: 125, deep: 5_000 };

/// RT6: random filters whose header programs are measured, and cut at several depths.
pub const RT06_FILTERS: Scale = Scale { run: 40, deep: 1_000 };

/// RT13: inputs made by dice for the fuzz target of header programs.
pub const RT13_INPUTS: Scale = Scale { run: 50, deep: 5_000 };

impl Scale {
    /// The number that counts now.
    #[must_use]
    pub fn count(self) -> u64 {
        if std::env::var_os("OCTROI_SCALE").is_some_and(|scale| scale == "deep") {
            self.deep
        } else {
            self.run
        }
    }
}

/// Where a test's randomness begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// `OCTROI_SEED`, decimal or `0x…`; else the one that all runs share.
    ///
    /// # Panics
    /// If `OCTROI_SEED` is no number: a run that was meant to repeat another must not silently do something else.
    #[must_use]
    pub fn get() -> Self {
        let Ok(text) = std::env::var("OCTROI_SEED") else { return Self(0x6f63_7472_6f69) };
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        match number {
            Ok(number) => Self(number),
            Err(why) => panic!("OCTROI_SEED=\"{text}\" is no number: {why}"),
        }
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OCTROI_SEED={:#x}", self.0)
    }
}
