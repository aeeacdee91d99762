//! Where the programs under test are: beside the test, in the same target directory.
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The path of `name` (`octroid`, `octroi`) built like the running program.
///
/// # Errors
/// It was not built; the error says how.
pub fn find(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    // A test lies in `target/debug/deps`, a program in `target/debug`.
    let found = own.ancestors().skip(1).take(2).map(|d| d.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "no program {name} beside {}: build it first, with `cargo build -p octroid -p octroi` (`cargo xtask test` does)",
            own.display()
        )
    })
}
