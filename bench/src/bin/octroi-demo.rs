//! `octroi-demo`: moves real packets between two namespaces, beside the OS stack, and shows what happened.
#![deny(unsafe_code)]

use std::{io, process::ExitCode, time::Duration};

use clap::Parser;
use octroi_bench::{
    demo::{Demo, MAX_HOLD},
    report::{Form, Report},
};

/// Make a small network, run Octroi in it, check what it does, and remove everything.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Which demo: road, stacks or ruler.
    #[arg(default_value = "road")]
    demo: Demo,
    /// Leave the network standing for so many seconds after the checks.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=MAX_HOLD.as_secs()))]
    hold: u64,
    /// Print one JSON object, the last line of standard output.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let form = if arguments.json { Form::Json } else { Form::Text };
    let say = |what: &str| eprintln!("demo: {what}");
    let shown = arguments
        .demo
        .run(Duration::from_secs(arguments.hold), &say)
        .and_then(|report| Ok(report.finish(form, &mut io::stdout().lock())?));
    shown.unwrap_or_else(|error| {
        eprintln!("octroi-demo: {error:#}");
        ExitCode::FAILURE
    })
}
