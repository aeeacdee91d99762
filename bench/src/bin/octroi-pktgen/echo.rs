//! `echo`: frames out of an interface and their replies back by it, for whatever sends them back.
use std::process::ExitCode;

use anyhow::{Result, bail};
use octroi_bench::{
    engine::{
        Inlet, Outlet,
        clock::Monotonic,
        drive::{self, Job, Progress, Received, Sent},
        interface::XskEngine,
        memory::Reflector,
    },
    traffic::{book::Outcome, pace::Rate, plan::Plan},
};
use serde::Serialize;

use crate::{
    args::{End, EngineName, Traffic, Wire, book},
    progress::Line,
    show,
};

/// Send frames and receive their replies on the same interface.
///
/// Without --rate, --window frames are under way and each reply lets the next one go; with it, every frame leaves at
/// its time, and latency counts from there.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How frames are sent and received.
    #[arg(long, default_value = "xsk")]
    engine: EngineName,
    /// Frames a second: 1000, 250k, 1.5M, or max.
    #[arg(long, default_value = "max")]
    rate: Rate,
    /// Frames under way without a rate.
    #[arg(long, default_value_t = 256)]
    window: u64,
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
    send: Sent,
    receive: Received,
    #[serde(flatten)]
    outcome: Outcome,
    generator_limited: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args { engine, rate, window, wire, traffic, end } = args;
    let job = Job { window: *window, ..end.job(wire, *rate) };
    let report = match engine {
        EngineName::Xdp => bail!(
            "echo --engine xdp cannot be: live frames leave in long runs during which nothing is received; \
             use --engine xsk, or `send --engine xdp` with `sink` elsewhere"
        ),
        EngineName::Xsk => {
            let interface = wire.interface()?;
            let plan = traffic.plan_for(&interface)?;
            let mut engine = XskEngine::both_ways(&interface, plan.clone())?;
            wire.settle()?;
            measure(&mut engine, &plan, &job, end)?
        }
        EngineName::Memory => {
            let plan = traffic.plan()?;
            wire.settle()?;
            measure(&mut Reflector::new(plan.clone())?, &plan, &job, end)?
        }
    };
    let mut table = show::table("echo");
    show::sent(&mut table, &report.send);
    show::received(&mut table, &report.outcome, &report.receive);
    show::limited(&mut table, report.generator_limited);
    show::print(end.form(), &report, &table)?;
    Ok(ExitCode::SUCCESS)
}

fn measure(engine: &mut (impl Outlet + Inlet), plan: &Plan, job: &Job, end: &End) -> Result<Report> {
    let mut book = book(plan)?;
    let mut line = Line::new("echo", job.duration_ns);
    let mut watch = |progress: Progress| line.show(progress);
    let (send, receive) = drive::echo(engine, &mut book, job, &Monotonic, &mut watch)?;
    Ok(Report {
        verb: "echo",
        send,
        receive,
        outcome: book.outcome(Some(send.sent)),
        generator_limited: end.generator_limited(send.rate_pps),
    })
}
