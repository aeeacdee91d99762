//! Fixtures: one frame, one named state of the maps, and everything that must come of it.
//!
//! A fixture goes through the real XDP object by `BPF_PROG_TEST_RUN`. It states the verdict, all 16 bytes of metadata
//! and the complete counter change: a counter that moves and is not named is a failure. A frame that passes must come
//! out as it went in, without metadata. The slow twin in `multistack` judges the same frame and must agree.
//!
//! *How a redirect is seen.* Without a socket the map lookup gives the fallback verdict, so a state names the queues
//! that have one. A test run of one frame ends at the verdict and delivers nothing, hence an AF_XDP socket that is
//! bound to nothing is enough, and frames without a device count as received on queue 0. What other queues do is
//! tested on a veth, in `b01_queues`.
mod bytes;
mod case;
mod harness;
mod maps;

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use xsk::bpf::Counts;

pub use self::{bytes::Bytes, harness::Harness};
use self::{case::Case, maps::Maps};

/// One file of fixtures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixtures {
    maps: BTreeMap<String, Maps>,
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

impl Fixtures {
    /// Reads one file.
    ///
    /// # Errors
    /// It is missing or not of this form.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// How many cases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Runs every case; what failed, one line each. Counters that moved are added to `moved`.
    ///
    /// # Errors
    /// A state cannot be set up.
    pub fn run(&self, moved: &mut Counts) -> Result<Vec<String>> {
        let mut failures = Vec::new();
        for (name, maps) in &self.maps {
            let harness = maps.harness()?;
            for case in self.cases.iter().filter(|case| case.maps == *name) {
                match case.run(&harness) {
                    Ok(delta) => moved.iter_mut().zip(delta).for_each(|(sum, d)| *sum += d),
                    Err(why) => failures.push(format!("{}: {why:#}", case.name)),
                }
            }
        }
        let lost = self.cases.iter().filter(|case| !self.maps.contains_key(&case.maps));
        failures.extend(lost.map(|case| format!("{}: no maps \"{}\"", case.name, case.maps)));
        Ok(failures)
    }
}
