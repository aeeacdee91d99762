//! `octroi completions`: a shell's completion script, from the one definition of the command line.
use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Outcome, print};
use crate::cli::Cli;

/// Print the completion script of a shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints it.
    ///
    /// # Errors
    /// If standard output does not take it.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "octroi", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(Outcome::Well)
    }
}
