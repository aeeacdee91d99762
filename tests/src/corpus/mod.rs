//! The corpus: frames by name, made the same way each time, and those written down in `testdata/corpus.toml`.
//!
//! It judges no frame; what must come of one is the oracle's and the fixtures' to say.
//!
//! | module | frames |
//! |---|---|
//! | [`matrix`] | whole ones: tags × networks × chains × protocols |
//! | [`malformed`] | each with one thing wrong |
//! | [`errors`] | ICMP errors, and the packets they quote |
//! | [`imix`] | a mixture of ordinary traffic, by size |
//! | [`damage`] | any of these, damaged at random; and bytes that were never a frame |
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{fixture::Bytes, scale::Seed};

pub mod damage;
pub mod errors;
pub mod imix;
pub mod layers;
pub mod malformed;
pub mod matrix;
pub mod rng;

/// A frame and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unique in the corpus.
    pub name: String,
    /// From the destination MAC on.
    pub frame: Vec<u8>,
}

impl Sample {
    pub(crate) fn new(name: impl Into<String>, frame: Vec<u8>) -> Self {
        Self { name: name.into(), frame }
    }
}

/// The whole corpus.
///
/// # Errors
/// `testdata/corpus.toml` cannot be read.
pub fn all(seed: Seed) -> Result<Vec<Sample>> {
    Ok([matrix::samples(), malformed::samples(), errors::samples(), imix::samples(seed), written()?].concat())
}

/// The frames that were written down.
///
/// # Errors
/// `testdata/corpus.toml` is missing or not of its form.
pub fn written() -> Result<Vec<Sample>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        frame: Vec<Written>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        name: String,
        origin: String,
        licence: String,
        bytes: Bytes,
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: File = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    file.frame
        .into_iter()
        .map(|Written { name, origin, licence, bytes }| {
            ensure!(!origin.is_empty() && !licence.is_empty(), "{name}: of unknown origin or licence");
            Ok(Sample::new(name, bytes.0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_every_run_makes_the_same_frames() -> Result<()> {
        let corpus = all(Seed(1))?;
        let names: BTreeSet<_> = corpus.iter().map(|sample| &sample.name).collect();
        assert_eq!(names.len(), corpus.len());
        assert_eq!(corpus, all(Seed(1))?);
        assert_ne!(corpus, all(Seed(2))?);
        Ok(())
    }
}
