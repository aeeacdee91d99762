//! `cargo xtask`: everything one types to build, test, show, load and check Octroi.
//!
//! It holds no BPF code and needs no system library: it must compile on a machine that has stable Rust and nothing
//! else, because it is what installs the rest.
#![deny(unsafe_code)]

mod child;
mod repo;
mod task;
mod toolchain;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::repo::Repo;
use crate::task::ids::Bless;
use crate::task::load::Verb;
use crate::task::setup::{Install, Stage};
use crate::task::test::Scale;

/// Build, test, show, load and check Octroi.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    /// Install nothing: print the exact commands for what is missing, and stop.
    #[arg(long, global = true)]
    no_install: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find the toolchain and install what is missing (Debian as root; elsewhere it says what to run).
    Setup {
        /// Also what demos and benches compare with: nginx, wrk, curl, dig, tshark, PCRE2, Hyperscan, RE2, re2c. No service is
        /// started.
        #[arg(long)]
        peers: bool,
    },
    /// Build the eBPF object and the release programs.
    Build,
    /// Build the eBPF object alone.
    Ebpf,
    /// Build everything, run every test, and say what ran: `test [--deep [IDS]]`.
    Test {
        /// Larger counts and slower tools (up to two hours), for all rows or for these: B5 F4 …
        #[arg(long, num_args = 0.., value_name = "IDS")]
        deep: Option<Vec<String>>,
    },
    /// Look for inputs that break a property: `fuzz [TARGET] [--seconds N]`. It needs cargo-fuzz, and root for ruler_ebpf.
    Fuzz {
        /// Only this one: ruler_source, ruler_packet, ruler_rewrite, ruler_ebpf.
        target: Option<String>,
        /// For each target.
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u32,
    },
    /// Build, then show real packets at work: `demo [road|stacks|ruler] [--json] [--hold SECONDS]`.
    Demo(Passed),
    /// Build, then `octroi up`: `load --config F [--iface I] [--netns N] [--instance X]`.
    Load(Passed),
    /// Build, then `octroi down` with the same arguments.
    Unload(Passed),
    /// Build, then measure against the baselines: `bench [road|stacks|ruler|rates] [--json]`.
    Bench(Passed),
    /// Check the rules of the house: purpose lines, unsafe, dependencies, ignored tests, counters, specification.
    Tidy,
    /// Formatting, clippy and tidy.
    Lint,
    /// Lints and tests, no skip allowed.
    Ci,
    /// Write the man pages and completions of `octroi` below the target directory.
    Man,
    /// Build the C library and install it with header and pkg-config file: `install-c --prefix DIR`.
    InstallC {
        /// The directory that gets `include` and `lib`.
        #[arg(long, value_name = "DIR")]
        prefix: PathBuf,
        /// Build nothing: the libraries are in this directory.
        #[arg(long, value_name = "DIR")]
        built: Option<PathBuf>,
    },
    /// Which rows of SPECIFICATION.md have a test or a record, and which are pending.
    Ids {
        /// Write the status column.
        #[arg(long)]
        bless: bool,
    },
}

/// Arguments that another program understands.
#[derive(Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not the debug form: nobody who builds wants xtask's own backtrace.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let install = if cli.no_install { Install::Forbidden } else { Install::Allowed };
    let repo = Repo::here();
    match cli.task {
        Task::Setup { peers } => task::setup::run(if peers { Stage::Peers } else { Stage::Test }, install),
        Task::Build => task::build::run(&repo, install),
        Task::Ebpf => task::build::ebpf(&repo, &task::setup::ensure(Stage::Build, install)?),
        Task::Demo(passed) => task::demo::run(&repo, install, &passed.args),
        Task::Load(passed) => task::load::run(&repo, install, Verb::Up, &passed.args),
        Task::Unload(passed) => task::load::run(&repo, install, Verb::Down, &passed.args),
        Task::Bench(passed) => task::bench::run(&repo, install, &passed.args),
        Task::Test { deep } => task::test::run(&repo, install, &deep.map_or(Scale::Run, Scale::Deep)),
        Task::Fuzz { target, seconds } => task::fuzz::run(&repo, target.as_deref(), seconds),
        Task::Tidy => task::tidy::run(&repo),
        Task::Lint => task::lint::run(&repo, install),
        Task::Ci => task::ci::run(&repo),
        Task::Man => task::man::run(&repo),
        Task::InstallC { prefix, built } => task::install_c::run(&repo, &prefix, built.as_deref()),
        Task::Ids { bless } => task::ids::run(&repo, if bless { Bless::Write } else { Bless::Read }),
    }
}
