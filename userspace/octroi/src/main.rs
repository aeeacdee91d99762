//! `octroi`: starts, stops, asks and shows a daemon, one verb a file.
//!
//! It refuses to know BPF or configuration files: everything it tells of a daemon it was told over the control socket, or
//! by `octroid` run with `--check`, `--doctor` or `--clean`. The packets that it knows are those of captures.
#![deny(unsafe_code)]

mod cli;
mod daemon;
mod table;
mod verb;

use std::process::ExitCode;

use clap::Parser;

/// Exit status 0: done, and all is well. 1: it failed, or something is wrong. 2: usage (clap's own).
fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(verb::Outcome::Well) => ExitCode::SUCCESS,
        Ok(verb::Outcome::Unwell) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("octroi: {error:#}");
            ExitCode::FAILURE
        }
    }
}
