//! `octroi ruler`: programs of Ruler checked, shown, measured, run over captures, and attached, one file a verb.
//!
//! What speaks to a daemon is in `attach` and `list`; nothing else here needs one, or a privilege. What a program means is
//! the business of crate `ruler`; here files are read, and answers printed.
mod attach;
mod bench;
mod check;
mod compile;
mod dump;
mod header;
mod key;
mod language_server;
mod list;
mod program;
mod run;

use anyhow::Result;
use clap::Subcommand;

use super::Outcome;
use crate::cli::Global;

/// Check, compile, run and look into programs of Ruler, the language that matches and rewrites packets.
#[derive(Debug, Subcommand)]
pub(crate) enum Ruler {
    Check(check::Check),
    Compile(compile::Compile),
    Run(run::Run),
    Dump(dump::Dump),
    Bench(bench::Bench),
    List(list::List),
    LanguageServer(language_server::LanguageServer),
}

impl Ruler {
    /// Does it.
    ///
    /// # Errors
    /// A file cannot be read or written. What is wrong with a program is printed, and is no error here.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        match self {
            Self::Check(check) => check.run(),
            Self::Compile(compile) => compile.run(),
            Self::Dump(dump) => dump.run(),
            Self::Bench(bench) => bench.run(),
            Self::Run(run) => run.run(global),
            Self::List(list) => list.run(global),
            Self::LanguageServer(server) => server.run(),
        }
    }
}
