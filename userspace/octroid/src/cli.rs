//! The command line of `octroid`, as whichever build of the daemon it is.
//!
//! The daemon stays in the foreground and logs to standard error. `octroi up` is what starts it in the background.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{ArgGroup, CommandFactory, FromArgMatches, Parser};
use client::control::{
    answer::{DoctorRow, Health},
    instance::{InstanceName, RUN_DIR_VARIABLE, RunDir},
};
use tracing_subscriber::EnvFilter;

use crate::{
    Causes,
    build::Build,
    clean,
    config::{self, settings::Overrides},
    daemon::start::{self, Options, PinPlace},
    doctor,
    filters::configured,
    log, place,
};

/// Environment variable that replaces the directory in bpffs below which instances keep their pins.
const BPFFS_VARIABLE: &str = "OCTROI_BPFFS";

/// Serve interfaces with XDP and AF_XDP, in the foreground.
#[derive(Debug, Parser)]
#[command(version, group = ArgGroup::new("verb").args(["check", "doctor", "clean"]))]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/octroi/octroid.toml")]
    config: PathBuf,
    /// Serve this interface instead of the one that the configuration names.
    #[arg(long, value_name = "IFACE")]
    iface: Option<String>,
    /// Enter this network namespace: a name below /run/netns, or a path.
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// Run under this name instead of the configured one.
    #[arg(long, value_name = "NAME")]
    instance: Option<InstanceName>,
    /// Keep nothing in bpffs: when the daemon dies, its programs go with it.
    #[arg(long, conflicts_with = "bpffs")]
    no_pin: bool,
    /// Pin below this directory of a bpffs [default: $OCTROI_BPFFS, else /sys/fs/bpf/octroi].
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// Directory of sockets and locks [default: $OCTROI_RUN_DIR, else /run/octroi].
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Write "ready" to this descriptor once packets flow, and close it.
    #[arg(long, value_name = "FD")]
    ready_fd: Option<i32>,
    /// Judge this configuration file and end.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Examine this machine and end; with --config also the interfaces it names.
    #[arg(long)]
    doctor: bool,
    /// Detach and unpin what a crashed daemon of this instance left, and end.
    #[arg(long)]
    clean: bool,
    /// With --check or --doctor: print JSON.
    #[arg(long, requires = "verb")]
    json: bool,
}

/// Does what the command line says, as this build.
#[must_use]
pub fn main(build: Build) -> ExitCode {
    let matches = Arguments::command().version(build.version).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let filter = EnvFilter::try_from_env("OCTROI_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    lines.with_ansi(io::stderr().is_terminal()).with_writer(log::Stderr).init();
    match arguments.run(build) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("octroid: {}", Causes(&error));
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn run(&self, build: Build) -> Result<ExitCode> {
        if let Some(file) = &self.check {
            return self.check(file);
        }
        if self.doctor {
            return self.examine(build);
        }
        if self.clean {
            return self.clean(build);
        }
        let settings = config::load(&self.config, &self.overrides())?;
        // Opened first: once something is attached, nothing may end the daemon but going down in order.
        let ready = self.ready_fd.map(open_ready).transpose()?;
        let daemon = start::start(settings, &self.options(build))?;
        if let Some(pipe) = ready {
            tell_ready(pipe);
        }
        daemon.run()?;
        Ok(ExitCode::SUCCESS)
    }

    fn overrides(&self) -> Overrides {
        Overrides { instance: self.instance.clone(), iface: self.iface.clone() }
    }

    fn options(&self, build: Build) -> Options {
        let asked = self.bpffs.clone().or_else(|| std::env::var_os(BPFFS_VARIABLE).map(PathBuf::from));
        let pins = match (self.no_pin, asked) {
            (true, _) => PinPlace::None,
            (false, Some(root)) => PinPlace::At(root),
            (false, None) => PinPlace::Usual,
        };
        let run_dir = RunDir::resolve(self.run_dir.as_deref(), std::env::var_os(RUN_DIR_VARIABLE));
        Options { run_dir, netns: self.netns.clone(), pins, build }
    }

    fn check(&self, file: &Path) -> Result<ExitCode> {
        let judged = config::judge(file, &self.overrides(), configured::check);
        let code = if judged.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        if self.json {
            print_json(&config::mistake::Verdict::of(file, &judged))?;
        } else {
            match judged {
                Ok(_) => writeln!(io::stdout(), "{}: no mistakes", file.display())?,
                Err(mistake) => eprintln!("{mistake}"),
            }
        }
        Ok(code)
    }

    fn examine(&self, build: Build) -> Result<ExitCode> {
        // Without a configuration there is still a machine to look at.
        let settings =
            self.config.exists().then(|| config::load(&self.config, &self.overrides())).transpose()?;
        if let Some(netns) = &self.netns {
            place::enter_network(netns)?;
        }
        let options = self.options(build);
        let pins = match &options.pins {
            PinPlace::At(root) => root.as_path(),
            PinPlace::Usual | PinPlace::None => Path::new(abi::pins::ROOT),
        };
        let case = doctor::Case { settings: settings.as_ref(), ours: &Default::default(), pins };
        let rows = doctor::examine(&case);
        if self.json {
            print_json(&rows)?
        } else {
            print_rows(&rows)?
        }
        let failed = rows.iter().any(|row| row.status == Health::Fail);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn clean(&self, build: Build) -> Result<ExitCode> {
        let instance = self.instance.clone().unwrap_or_default();
        for line in clean::clean(&instance, &self.options(build))? {
            writeln!(io::stdout(), "{line}")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The descriptor is opened anew through `/proc`, which safe code can; then the inherited one is closed, so that whoever
/// reads the pipe sees its end.
fn open_ready(number: i32) -> Result<File> {
    let path = format!("/proc/self/fd/{number}");
    let pipe = File::options().write(true).open(&path).with_context(|| format!("--ready-fd {number}"))?;
    nix::unistd::close(number).context("--ready-fd")?;
    Ok(pipe)
}

fn tell_ready(mut pipe: File) {
    if let Err(error) = pipe.write_all(b"ready\n") {
        tracing::warn!(%error, "nobody waits for this daemon any more");
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    Ok(writeln!(out)?)
}

fn print_rows(rows: &[DoctorRow]) -> Result<()> {
    let mut out = io::stdout().lock();
    for row in rows {
        let subject = row.subject.as_ref().map(|s| format!(" [{s}]")).unwrap_or_default();
        writeln!(out, "{:<5} {:<18}{subject} {}", row.status, row.id, row.detail)?;
        if let Some(fix) = &row.fix {
            writeln!(out, "      fix: {fix}")?;
        }
    }
    Ok(())
}
