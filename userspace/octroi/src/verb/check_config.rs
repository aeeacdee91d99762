//! `octroi check-config`: has `octroid` judge a configuration file, without starting anything.
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::Outcome;
use crate::daemon;

/// Judge a configuration file: file, line, key and what was expected for every mistake.
#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    /// The configuration file.
    file: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

impl CheckConfig {
    /// Runs `octroid --check`.
    ///
    /// # Errors
    /// If `octroid` cannot be run.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let mut command = daemon::program()?;
        command.arg("--check").arg(&self.file);
        if self.json {
            command.arg("--json");
        }
        let status = command.status().context("octroid --check")?;
        Ok(if status.success() { Outcome::Well } else { Outcome::Unwell })
    }
}
