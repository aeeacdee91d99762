//! `sink`: collects generated frames on an interface and says what became of those it did not get.
use std::process::ExitCode;

use anyhow::Result;
use octroi_bench::{
    engine::{
        clock::Monotonic,
        drive::{self, Progress, Received},
        interface::Collector,
    },
    traffic::{book::Outcome, pace::Rate},
};
use serde::Serialize;

use crate::{
    args::{End, Traffic, Wire, book},
    progress::Line,
    show,
};

/// Collect generated frames on an interface; all others stay the OS stack's.
///
/// Give the same --flows, --vlan, --proto and address family as the sender does.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many frames the sender says it sent; else each flow's highest number is believed.
    #[arg(long)]
    expect: Option<u64>,
    #[command(flatten)]
    wire: Wire,
    #[command(flatten)]
    traffic: Traffic,
    #[command(flatten)]
    end: End,
}

#[derive(Serialize)]
struct Report {
    verb: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
    #[serde(flatten)]
    received: Received,
    generator_limited: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args { expect, wire, traffic, end } = args;
    let interface = wire.interface()?;
    let plan = traffic.plan()?;
    let mut book = book(&plan)?;
    let mut collector = Collector::open(&interface, &plan)?;
    wire.settle()?;
    let job = end.job(wire, Rate::UNLIMITED);
    let mut line = Line::new("sink", job.duration_ns);
    let mut watch = |progress: Progress| line.show(progress);
    let received = drive::collect(&mut collector, &mut book, &job, &Monotonic, &mut watch)?;
    drop(line);
    let outcome = book.outcome(*expect);
    let generator_limited = end.generator_limited(received.rate_pps);
    let mut table = show::table("sink");
    show::received(&mut table, &outcome, &received);
    show::limited(&mut table, generator_limited);
    show::print(end.form(), &Report { verb: "sink", outcome, received, generator_limited }, &table)?;
    Ok(ExitCode::SUCCESS)
}
