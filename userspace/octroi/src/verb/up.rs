//! `octroi up`: starts `octroid` in the background and returns when it is ready, or prints why it is not.
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use client::control::instance::InstanceName;
use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    unistd,
};
use serde::Deserialize;

use super::{Outcome, print};
use crate::{cli::Global, daemon};

/// Where the configuration is unless somebody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/octroi/octroid.toml";

/// What the daemon writes to the readiness pipe once packets flow.
const READY: &[u8] = b"ready\n";

/// Start the daemon in the background and return when it is ready.
///
/// What it says goes to octroid.log in the instance's directory; if it does not get ready, that is printed here and the
/// exit status is 1.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Serve this interface instead of the one that the configuration names.
    #[arg(long, value_name = "IFACE")]
    iface: Option<String>,
    /// The network namespace, by the name it has in /run/netns, in which the interface is.
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// Keep nothing in bpffs: when the daemon dies, its programs go with it.
    #[arg(long)]
    no_pin: bool,
}

/// What `octroid --check --json` says.
#[derive(Debug, Deserialize)]
struct Verdict {
    instance: Option<InstanceName>,
    shown: Option<String>,
}

impl Up {
    /// Starts the daemon and waits.
    ///
    /// # Errors
    /// If it runs already, cannot be started, or does not get ready.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        let instance = self.instance(global)?;
        let global = &Global { instance: Some(instance.clone()), ..global.clone() };
        if let Some(mut running) = daemon::try_connect(global)? {
            let pid = running.status()?.head.pid;
            bail!(
                "instance {instance} runs already (pid {pid}); `octroi --instance {instance} down` stops it"
            );
        }
        let run_dir = global.run_dir();
        let directory = run_dir.of(&instance);
        fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        let log_path = run_dir.log(&instance);
        let (log, begin) = open_log(&log_path)?;
        let (ours, theirs) = readiness_pipe()?;
        let mut child =
            self.command(global, &theirs)?.stdout(log.try_clone()?).stderr(log).spawn().context("octroid")?;
        drop(theirs);
        if is_ready(ours)? {
            return print(&format!("octroi: instance {instance} is up (pid {})\n", child.id()))
                .map(|()| Outcome::Well);
        }
        let what = ended(&mut child)?;
        let said = said_since(&log_path, begin)?;
        bail!("octroid {what}\n{}", said.trim_end());
    }

    /// The instance that was named, else the one that the configuration names.
    ///
    /// Only `octroid` reads configurations, so it is asked; a mistake is then shown before anything is started.
    fn instance(&self, global: &Global) -> Result<InstanceName> {
        if let Some(named) = &global.instance {
            return Ok(named.clone());
        }
        let mut command = daemon::program()?;
        command.arg("--check").arg(&self.config).arg("--json");
        if let Some(iface) = &self.iface {
            command.arg("--iface").arg(iface);
        }
        let output = command.output().context("octroid --check")?;
        let verdict: Verdict = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("octroid --check: {}", String::from_utf8_lossy(&output.stderr).trim())
        })?;
        verdict.instance.with_context(|| verdict.shown.unwrap_or_default())
    }

    /// The daemon in a process group of its own, so that a Ctrl-C here does not end it.
    fn command(&self, global: &Global, ready: &OwnedFd) -> Result<Command> {
        let mut command = daemon::program()?;
        command.arg("--config").arg(&self.config).arg("--instance").arg(global.instance().as_str());
        command
            .arg("--run-dir")
            .arg(global.run_dir().path())
            .arg("--ready-fd")
            .arg(ready.as_raw_fd().to_string());
        if let Some(iface) = &self.iface {
            command.arg("--iface").arg(iface);
        }
        if let Some(netns) = &self.netns {
            command.arg("--netns").arg(netns);
        }
        if self.no_pin {
            command.arg("--no-pin");
        }
        command.stdin(Stdio::null()).process_group(0);
        Ok(command)
    }
}

/// The log, opened to append, and where it ends now.
fn open_log(path: &Path) -> Result<(File, u64)> {
    let open = || {
        let mut log = OpenOptions::new().create(true).append(true).open(path)?;
        let end = log.seek(SeekFrom::End(0))?;
        Ok::<_, std::io::Error>((log, end))
    };
    open().with_context(|| format!("opening {}", path.display()))
}

/// A pipe of which only the writing end survives exec.
fn readiness_pipe() -> Result<(File, OwnedFd)> {
    let (ours, theirs) = unistd::pipe2(OFlag::O_CLOEXEC).context("pipe2")?;
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).context("fcntl")?;
    Ok((File::from(ours), theirs))
}

/// Waits until the daemon is ready (true) or has closed the pipe without being so, which it does by ending.
fn is_ready(mut pipe: File) -> Result<bool> {
    let mut said = Vec::new();
    pipe.read_to_end(&mut said).context("waiting for octroid")?;
    Ok(said == READY)
}

fn ended(child: &mut Child) -> Result<String> {
    let status = child.wait().context("waiting for octroid")?;
    Ok(match status.code() {
        Some(code) => format!("did not start (exit status {code})"),
        None => format!("died ({status})"),
    })
}

fn said_since(path: &Path, begin: u64) -> Result<String> {
    let mut log = File::open(path)?;
    log.seek(SeekFrom::Start(begin))?;
    let mut said = Vec::new();
    log.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}
