//! `ceiling`: how fast the generator itself is, into the cheapest receiver there is.
use std::process::ExitCode;

use anyhow::Result;
use octroi_bench::engine::ceiling::{self, Ceiling, Engine};
use serde::Serialize;

use crate::{
    args::{End, EngineName, Traffic, Wire},
    show,
};

/// Measure how fast the generator itself is.
///
/// Frames go to a program that counts and drops them, on a veth pair made for it in namespaces of its own; --iface and
/// --netns do not matter.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How frames are sent.
    #[arg(long, default_value = "xdp")]
    engine: EngineName,
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
    engine: Engine,
    #[serde(flatten)]
    ceiling: Ceiling,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args { engine, wire, traffic, end } = args;
    let engine = Engine::from(*engine);
    let ceiling = ceiling::measure(engine, &traffic.plan()?, end.duration_ns(), wire.core())?;
    let mut table = show::table("ceiling");
    show::line(&mut table, "sent", show::rate(ceiling.rate_pps));
    show::line(&mut table, "arrived", show::rate(ceiling.arrived_pps));
    show::line(&mut table, "generator-limited above", show::rate(ceiling.arrived_pps * ceiling::SHARE));
    show::print(end.form(), &Report { verb: "ceiling", engine, ceiling }, &table)?;
    Ok(ExitCode::SUCCESS)
}
