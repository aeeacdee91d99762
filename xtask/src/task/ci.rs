//! `ci`: lints and tests with no skip allowed; every step runs, whatever the one before said.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::child;
use crate::repo::Repo;
use crate::toolchain::program;

/// Runs all steps, each as a person would type it; the tests come last, so that the count is the last line.
///
/// # Errors
/// If a step failed: the message names all that did.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let xtask = std::env::current_exe().context("where is xtask?")?;
    let step = |task: &str| {
        let mut command = Command::new(&xtask);
        command.current_dir(repo.root()).env("OCTROI_CAPS", "1").arg(task);
        (format!("cargo xtask {task}"), command)
    };
    let mut steps = vec![step("setup"), step("lint")];
    if program("cargo-deny").is_some() {
        let mut deny = child::cargo();
        deny.current_dir(repo.root()).args(["deny", "check"]);
        steps.push(("cargo deny check".to_owned(), deny));
    } else {
        eprintln!("cargo-deny is not installed: tidy checks licences, nobody checks advisories");
    }
    steps.push(step("test"));

    let mut failed = Vec::new();
    for (typed, mut command) in steps {
        eprintln!("\n$ {typed}");
        // Not `child::run`: the count that the tests print is a result and belongs on stdout.
        let status = command.status().with_context(|| format!("cannot start `{typed}`"))?;
        if !status.success() {
            failed.push(typed);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
