//! octroi-pktgen: sends generated frames, collects them, and says what became of each.
//!
//! It refuses to run for ever: every verb ends by its count or its duration. Only for isolated networks (RFC 6815):
//! what it sends it sends as fast as it was told to.
mod args;
mod ceiling;
mod echo;
mod progress;
mod search;
mod send;
mod show;
mod sink;
mod write;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Sends generated frames, collects them, and says what became of each.
///
/// Numbers, flows and times of sending travel in the payload, so loss, duplication, reordering, corruption and
/// latency are measured, not guessed. With --json the last line on standard output is one JSON object.
#[derive(Parser)]
#[command(name = "octroi-pktgen", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Send(send::Args),
    Sink(sink::Args),
    Echo(echo::Args),
    Ceiling(ceiling::Args),
    Search(search::Args),
    Write(write::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("octroi-pktgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Send(args) => send::run(&args),
        Verb::Sink(args) => sink::run(&args),
        Verb::Echo(args) => echo::run(&args),
        Verb::Ceiling(args) => ceiling::run(&args),
        Verb::Search(args) => search::run(&args),
        Verb::Write(args) => write::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_default_is_legal() {
        Cli::command().debug_assert();
        for verb in ["send", "sink", "echo", "ceiling"] {
            assert!(Cli::try_parse_from(["octroi-pktgen", verb]).is_ok(), "{verb}");
        }
        assert!(Cli::try_parse_from(["octroi-pktgen", "search", "--max-rate", "1M"]).is_ok());
    }
}
