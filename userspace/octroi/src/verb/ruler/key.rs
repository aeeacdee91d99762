//! Key files: where the key is that addresses are anonymised by.
//!
//! There is no default and no key on the command line, where others could read it.
use std::{fs::File, io::Read, path::Path};

use anyhow::{Context, Result};
use ruler::rewrite::key::{self, Key};

/// Reads the key in a file.
///
/// # Errors
/// It cannot be read, or has no key.
pub(crate) fn read(file: &Path) -> Result<Key> {
    let read = || {
        let mut text = Vec::new();
        File::open(file)?.take(key::LONGEST as u64 + 1).read_to_end(&mut text)?;
        Ok::<_, anyhow::Error>(key::of(&text)?)
    };
    read().with_context(|| format!("key file {}", file.display()))
}
