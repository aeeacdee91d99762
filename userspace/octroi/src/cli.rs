//! The one definition of the command line: help, man pages and completions come from it.
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use client::control::instance::{InstanceName, RUN_DIR_VARIABLE, RunDir};

use crate::verb::{self, Outcome};

/// Start, stop and look into Octroi, the AF_XDP dataplane.
#[derive(Debug, Parser)]
#[command(name = "octroi", version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Which daemon, by its instance name [default: main].
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) instance: Option<InstanceName>,
    /// Directory of sockets and logs [default: $OCTROI_RUN_DIR, else /run/octroi].
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    pub(crate) run_dir: Option<PathBuf>,
}

impl Global {
    /// The instance that was named, or `main`.
    #[must_use]
    pub(crate) fn instance(&self) -> InstanceName {
        self.instance.clone().unwrap_or_default()
    }

    /// Where sockets and logs are.
    #[must_use]
    pub(crate) fn run_dir(&self) -> RunDir {
        RunDir::resolve(self.run_dir.as_deref(), std::env::var_os(RUN_DIR_VARIABLE))
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(verb::up::Up),
    Down(verb::down::Down),
    Status(verb::status::Show),
    Stats(verb::stats::Stats),
    Doctor(verb::doctor::Doctor),
    Top(verb::top::Top),
    #[command(subcommand)]
    Target(verb::target::Target),
    #[command(subcommand)]
    Stack(verb::stack::Stack),
    Capture(verb::capture::Take),
    #[command(subcommand)]
    Ruler(verb::ruler::Ruler),
    CheckConfig(verb::check_config::CheckConfig),
    Completions(verb::completions::Completions),
    Man(verb::man::Man),
}

impl Cli {
    /// Carries the verb out.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub(crate) fn run(self) -> Result<Outcome> {
        let global = &self.global;
        match self.verb {
            Verb::Up(up) => up.run(global),
            Verb::Down(down) => down.run(global),
            Verb::Status(status) => status.run(global),
            Verb::Stats(stats) => stats.run(global),
            Verb::Doctor(doctor) => doctor.run(global),
            Verb::Top(top) => top.run(global),
            Verb::Target(target) => target.run(global),
            Verb::Stack(stack) => stack.run(global),
            Verb::Capture(capture) => capture.run(global),
            Verb::Ruler(ruler) => ruler.run(global),
            Verb::CheckConfig(check) => check.run(),
            Verb::Completions(completions) => completions.run(),
            Verb::Man(man) => man.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verbs_help_is_a_snapshot() {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut text = command.render_long_help().to_string();
        for verb in command.get_subcommands_mut() {
            let name = verb.get_name().to_owned();
            text += &format!("\n=== {name}\n{}", verb.render_long_help());
            for inner in verb.get_subcommands_mut() {
                text +=
                    &format!("\n=== {name} {}\n{}", inner.get_name().to_owned(), inner.render_long_help());
            }
        }
        insta::assert_snapshot!(text);
    }
}
