//! `octroi man`: the manual pages, from the one definition of the command line.
use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

use super::Outcome;
use crate::cli::Cli;

/// Write the manual pages.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory to write them to; made if missing.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
}

impl Man {
    /// Writes `octroi.1` and one page for each verb.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let write = || {
            fs::create_dir_all(&self.output)?;
            clap_mangen::generate_to(Cli::command(), &self.output)
        };
        write().with_context(|| format!("writing manual pages to {}", self.output.display()))?;
        Ok(Outcome::Well)
    }
}
