//! How often the tests of this crate do what they do: both scales, in one place.
//!
//! `OCTROI_SCALE=deep`, which `cargo xtask test --deep` sets, chooses the second number. Tests beside the code have this
//! module too, so that no count stands anywhere else.
#![allow(dead_code, reason = "each test needs a part of it")]

use proptest::test_runner::Config;

/// How often a test does what it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// In every run.
    run: u32,
    /// When there are hours.
    deep: u32,
}

/// RT3: sources, for each way to damage or to shuffle them.
pub(crate) const RT03_SOURCES: Scale = Scale { run: 2_000, deep: 100_000 };

/// RT4: programs, on twenty packets each: a million pairs, and some more, as the oracle gives up at a few.
pub(crate) const RT04_PROGRAMS: Scale = Scale { run: 1_000, deep: 50_100 };

/// RT4: patterns for the engines one by one, on dozens of inputs each.
pub(crate) const RT04_PATTERNS: Scale = Scale { run: 256, deep: 10_000 };

/// RT5: filters for the header DAG, on twelve packets each.
pub(crate) const RT05_FILTERS: Scale = Scale { run: 500, deep: 20_000 };

/// RT7: probes, for each kind of tree.
pub(crate) const RT07_PROBES: Scale = Scale { run: 256, deep: 50_000 };

/// RT8: random outputs of random packets, and addresses, for each property: together a hundred thousand and a million.
pub(crate) const RT08_REWRITES: Scale = Scale { run: 15_000, deep: 150_000 };

/// RT13: inputs made by dice, for each fuzz target; those that compare engines get a quarter.
pub(crate) const RT13_INPUTS: Scale = Scale { run: 400, deep: 40_000 };

impl Scale {
    /// The number that counts now.
    pub(crate) fn count(self) -> u32 {
        let is_deep = std::env::var_os("OCTROI_SCALE").is_some_and(|scale| scale == "deep");
        if is_deep { self.deep } else { self.run }
    }

    /// So many cases; what fails is printed, and nothing is written beside the tests.
    pub(crate) fn cases(self) -> Config {
        Config { cases: self.count(), failure_persistence: None, ..Config::default() }
    }
}
