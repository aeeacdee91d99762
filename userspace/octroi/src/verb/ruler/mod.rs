//! `octroi ruler`: programs of Ruler checked, shown, measured and run over captures, one file a verb.
//!
//! Nothing here needs a privilege or a daemon. What a program means is the business of crate `ruler`; here files are
//! read, and answers printed.
mod bench;
mod check;
mod compile;
mod dump;
mod key;
mod program;
mod run;

use anyhow::Result;
use clap::Subcommand;

use super::Outcome;

/// Check, compile, run and look into programs of Ruler, the language that matches and rewrites packets.
#[derive(Debug, Subcommand)]
pub(crate) enum Ruler {
    Check(check::Check),
    Compile(compile::Compile),
    Run(run::Run),
    Dump(dump::Dump),
    Bench(bench::Bench),
}

impl Ruler {
    /// Does it.
    ///
    /// # Errors
    /// A file cannot be read or written. What is wrong with a program is printed, and is no error here.
    pub(crate) fn run(&self) -> Result<Outcome> {
        match self {
            Self::Check(check) => check.run(),
            Self::Compile(compile) => compile.run(),
            Self::Run(run) => run.run(),
            Self::Dump(dump) => dump.run(),
            Self::Bench(bench) => bench.run(),
        }
    }
}
