//! `lint`: formatting, clippy and tidy, all of them, whatever the first one said.

use std::process::Command;

use anyhow::{Result, bail};

use crate::child;
use crate::repo::Repo;
use crate::task::setup::{self, Install, Stage};
use crate::task::{build, tidy};

/// Runs every lint and names all that failed.
///
/// # Errors
/// If one of them complains.
pub(crate) fn run(repo: &Repo, install: Install) -> Result<()> {
    let compiler = setup::ensure(Stage::Build, install)?;
    // The daemon's code embeds the object, so what clippy checks should be what is built.
    build::ebpf(repo, &compiler)?;
    let cargo = |args: &[&str], dir: &str| {
        let mut command = child::cargo();
        command.current_dir(repo.join(dir)).args(args);
        command
    };
    let mut failed = Vec::new();
    for mut command in [
        cargo(&["fmt", "--all", "--check"], "."),
        cargo(&["fmt", "--check"], "xdp-ebpf"),
        cargo(&["fmt", "--check"], "fuzz"),
        cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], "."),
    ] {
        failed.extend(attempt(&mut command));
    }
    if let Err(error) = tidy::run(repo) {
        failed.push(error.to_string());
    }
    if !failed.is_empty() {
        bail!("lint: {} of 5 failed\n  {}", failed.len(), failed.join("\n  "));
    }
    Ok(())
}

fn attempt(command: &mut Command) -> Option<String> {
    eprintln!("$ {}", child::typed(command));
    child::run(command).err().map(|error| error.to_string())
}
