//! `search`: the highest rate at which replies come back, by RFC 9971.
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use octroi_bench::{
    engine::{
        Inlet, Outlet,
        clock::Monotonic,
        drive::{self, Progress},
        interface::XskEngine,
        memory::Reflector,
    },
    report::table::{Align, Table},
    search::{Goal, GoalResult, Load, Search, Step, TrialResult},
    traffic::{pace::Rate, plan::Plan},
};
use serde::Serialize;

use crate::{
    args::{End, EngineName, Traffic, Wire, book},
    progress::Line,
    show,
};

/// Search the highest rates at which replies come back: NDR, PDR, or RFC 2544's throughput.
///
/// Each trial sends at one rate and counts what does not come back; --duration and --count do not matter.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How frames are sent and received.
    #[arg(long, default_value = "xsk")]
    engine: EngineName,
    /// What is searched for, the strictest first.
    #[arg(long, value_delimiter = ',', default_value = "ndr,pdr")]
    goal: Vec<GoalName>,
    /// Lowest rate to try.
    #[arg(long, default_value = "1000")]
    min_rate: Rate,
    /// Highest rate to try; about 80 % of the ceiling is as far as results mean anything.
    #[arg(long)]
    max_rate: Rate,
    /// Trials of 100 ms, three of which decide: for a first look, never for a record.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    wire: Wire,
    #[command(flatten)]
    traffic: Traffic,
    #[command(flatten)]
    end: End,
}

#[derive(Clone, Copy, ValueEnum)]
enum GoalName {
    /// No loss in half of 21 trials of a second.
    Ndr,
    /// At most 0.5 % loss in half of 21 trials of a second.
    Pdr,
    /// No loss in one trial of a minute.
    Rfc2544,
}

#[derive(Serialize)]
struct Report {
    verb: &'static str,
    trials: usize,
    quick: bool,
    goals: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    result: GoalResult,
    generator_limited: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (Some(min), Some(max)) = (args.min_rate.per_second(), args.max_rate.per_second()) else {
        bail!("--min-rate and --max-rate are numbers of frames a second, not \"max\"");
    };
    let goals: Vec<Goal> = args.goal.iter().map(|name| name.goal(args.quick)).collect();
    let search = Search::new(&goals, Load::nearest(min), Load::nearest(max))?;
    let search = match args.engine {
        EngineName::Xdp => {
            bail!("search --engine xdp cannot be: live frames have no replies; use --engine xsk")
        }
        EngineName::Xsk => {
            let interface = args.wire.interface()?;
            let plan = args.traffic.plan_for(&interface)?;
            let mut engine = XskEngine::both_ways(&interface, plan.clone())?;
            args.wire.settle()?;
            trials(search, &mut engine, &plan, args)?
        }
        EngineName::Memory => {
            let plan = args.traffic.plan()?;
            args.wire.settle()?;
            trials(search, &mut Reflector::new(plan.clone())?, &plan, args)?
        }
    };
    report(&search, args)
}

fn trials(
    mut search: Search,
    engine: &mut (impl Outlet + Inlet),
    plan: &Plan,
    args: &Args,
) -> Result<Search> {
    while let Step::Measure(trial) = search.step() {
        let duration_ns = (trial.duration_s * 1e9) as u64;
        let rate = Rate::new(trial.load.per_second())?;
        let job = drive::Job { frames: None, duration_ns, ..args.end.job(&args.wire, rate) };
        let mut book = book(plan)?;
        let mut line = Line::new("search", duration_ns);
        let mut watch = |progress: Progress| line.show(progress);
        let (sent, _) = drive::echo(engine, &mut book, &job, &Monotonic, &mut watch)?;
        // RFC 9971: what could not be offered counts as lost.
        let outcome = book.outcome(Some(sent.sent + sent.unsent));
        search.record(TrialResult::of(trial, outcome.loss_ratio));
    }
    Ok(search)
}

fn report(search: &Search, args: &Args) -> Result<ExitCode> {
    let limited =
        |result: &GoalResult| result.lower.is_some_and(|l| args.end.generator_limited(l.per_second()));
    let goals: Vec<Found> = search
        .results()
        .into_iter()
        .map(|result| Found { result, generator_limited: limited(&result) })
        .collect();
    let columns = [
        ("goal", Align::Left),
        ("holds", Align::Right),
        ("fails", Align::Right),
        ("throughput", Align::Right),
        ("", Align::Left),
    ];
    let mut table = Table::new(columns);
    for Found { result, generator_limited } in &goals {
        let load =
            |load: Option<Load>| load.map_or_else(|| "none".to_owned(), |l| show::rate(l.per_second()));
        let throughput = result.conditional_throughput.map_or_else(|| "none".to_owned(), show::rate);
        let mut remarks = Vec::new();
        remarks.extend((!result.regular).then_some("irregular"));
        remarks.extend(generator_limited.then_some("generator-limited"));
        remarks.extend(args.quick.then_some("quick"));
        let name = result.goal.name.to_owned();
        table.row([name, load(result.lower), load(result.upper), throughput, remarks.join(", ")]);
    }
    let report = Report { verb: "search", trials: search.trials(), quick: args.quick, goals };
    show::print(args.end.form(), &report, &table)?;
    Ok(ExitCode::SUCCESS)
}

impl GoalName {
    const fn goal(self, quick: bool) -> Goal {
        let goal = match self {
            Self::Ndr => Goal::NDR,
            Self::Pdr => Goal::PDR,
            Self::Rfc2544 => Goal::RFC2544,
        };
        if quick { goal.quick(0.1) } else { goal }
    }
}
