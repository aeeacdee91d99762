//! `octroi-bench`: measures one suite in one interleaved run, and keeps a record of it.
#![deny(unsafe_code)]

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use octroi_bench::{
    report::{
        Form, Report,
        machine::{Machine, today},
        record::{self, Setting},
    },
    suite::{Extent, Suite},
};

/// Measure Octroi against what users would pick instead, in turns, and record the ratios.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Which suite: road, stacks, ruler, or rates (RFC 9971's searches; 64 bytes and IMIX unless --only names other sizes).
    #[arg(default_value = "road")]
    suite: Suite,
    /// Print one JSON object, the last line of standard output.
    #[arg(long)]
    json: bool,
    /// A look with few runs: never recorded.
    #[arg(long)]
    quick: bool,
    /// Only rows whose id contains this; may be repeated.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Where records are kept.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/record"))]
    record: PathBuf,
    /// Record nothing.
    #[arg(long)]
    no_record: bool,
}

fn main() -> ExitCode {
    Arguments::parse().run().unwrap_or_else(|error| {
        eprintln!("octroi-bench: {error:#}");
        ExitCode::FAILURE
    })
}

impl Arguments {
    fn run(self) -> Result<ExitCode> {
        // A picture shows a suite as a whole.
        let picture = self.only.is_empty().then(|| self.suite.name());
        let extent = if self.quick { Extent::quick(self.only) } else { Extent::whole(self.only) };
        let report = self.suite.run(&extent, &|what| eprintln!("bench: {what}"))?;
        if !self.no_record {
            let machine = Machine::here();
            let setting = Setting {
                kernel: machine.kernel.clone(),
                mode: self.suite.mode().into(),
                layout: "run-to-completion".into(),
            };
            if let Some(file) =
                record::append(&report, &setting, &self.record, &machine.cpu, &today(), picture)?
            {
                eprintln!("bench: recorded in {}", file.display());
            }
        }
        let form = if self.json { Form::Json } else { Form::Text };
        Ok(report.finish(form, &mut io::stdout().lock())?)
    }
}
