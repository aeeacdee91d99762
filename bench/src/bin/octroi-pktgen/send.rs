//! `send`: frames out of an interface, by a schedule or as fast as they go.
use std::process::ExitCode;

use anyhow::{Result, bail};
use octroi_bench::{
    engine::{
        clock::Monotonic,
        drive::{self, Progress, Sent},
        interface::XskEngine,
        live::LiveSender,
    },
    traffic::pace::Rate,
};
use serde::Serialize;

use crate::{
    args::{End, EngineName, Traffic, Wire},
    progress::Line,
    show,
};

/// Send frames out of an interface.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How frames are sent.
    #[arg(long, default_value = "xdp")]
    engine: EngineName,
    /// Frames a second: 1000, 250k, 1.5M, or max.
    #[arg(long, default_value = "max")]
    rate: Rate,
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
    sent: Sent,
    generator_limited: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args { engine, rate, wire, traffic, end } = args;
    if *engine == EngineName::Memory {
        bail!(
            "send --engine memory has nowhere to send to: `octroi-pktgen echo --engine memory` has both ends"
        );
    }
    let interface = wire.interface()?;
    let plan = traffic.plan_for(&interface)?;
    wire.settle()?;
    let job = end.job(wire, *rate);
    let mut line = Line::new("send", job.duration_ns);
    let mut watch = |progress: Progress| line.show(progress);
    let sent = match engine {
        EngineName::Xdp => LiveSender::open(&interface, &plan)?.send(&job, &Monotonic, &mut watch)?,
        _ => drive::send(&mut XskEngine::sending(&interface, plan)?, &job, &Monotonic, &mut watch)?,
    };
    drop(line);
    let generator_limited = end.generator_limited(sent.rate_pps);
    let mut table = show::table("send");
    show::sent(&mut table, &sent);
    show::limited(&mut table, generator_limited);
    show::print(end.form(), &Report { verb: "send", sent, generator_limited }, &table)?;
    Ok(ExitCode::SUCCESS)
}
