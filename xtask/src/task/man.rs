//! `man`: the man pages and completions of `octroi`, written below the target directory.
//!
//! Their text is not here: `octroi` makes it from the one definition of its command line.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::child;
use crate::repo::Repo;

/// Shells, and the file names under which they look for completions.
const SHELLS: [(&str, &str); 3] = [("bash", "octroi"), ("zsh", "_octroi"), ("fish", "octroi.fish")];

/// Builds `octroi`, which needs neither BPF nor a C library, and lets it write.
///
/// # Errors
/// If it does not build, or a file cannot be written.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let mut build = child::cargo();
    build.current_dir(repo.root()).args(["build", "--release", "-p", "octroi"]);
    child::run(&mut build)?;
    let octroi = repo.release_binary("octroi");

    let pages = repo.generated("man");
    child::run(Command::new(&octroi).arg("man").arg("--output").arg(&pages))?;
    let completions = repo.generated("completions");
    fs::create_dir_all(&completions).with_context(|| format!("cannot make {}", completions.display()))?;
    for (shell, file) in SHELLS {
        write(&octroi, shell, &completions.join(file))?;
    }
    println!("man pages in {}, completions in {}", pages.display(), completions.display());
    Ok(())
}

fn write(octroi: &Path, shell: &str, file: &Path) -> Result<()> {
    let script = child::output(Command::new(octroi).args(["completions", shell]))?;
    fs::write(file, script).with_context(|| format!("cannot write {}", file.display()))
}
