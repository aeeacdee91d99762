//! Key files: where the key is that addresses are anonymised by.
//!
//! There is no default and no key on the command line, where others could read it.
use std::{fs::File, path::Path};

use anyhow::{Context, Result};
use ruler::rewrite::key::{self, Key};

/// Reads the key in a file.
///
/// # Errors
/// It cannot be read, or has no key.
pub(crate) fn read(file: &Path) -> Result<Key> {
    File::open(file).and_then(key::read).with_context(|| format!("key file {}", file.display()))
}
