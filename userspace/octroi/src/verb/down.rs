//! `octroi down`: stops the daemon in order, or cleans up after one that crashed.
use anyhow::{Context, Result, bail};
use clap::Args;
use client::control::request;

use super::{Outcome, print};
use crate::{cli::Global, daemon};

/// Stop the daemon: detach, unpin, leave the interface as it was.
///
/// What stays is the instance's directory with octroid.log, which says why a daemon went, and with the file that a daemon
/// locks.
#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Refuse unless this interface is served: guards against stopping another instance.
    #[arg(long, value_name = "IFACE")]
    iface: Option<String>,
    /// The network namespace in which the interface is; needed only with --crashed.
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// No daemon runs: detach and unpin what a crashed one left.
    #[arg(long)]
    crashed: bool,
}

impl Down {
    /// Stops the daemon and waits until it is gone.
    ///
    /// # Errors
    /// If there is none, it may not be told, or it serves another interface.
    pub(crate) fn run(&self, global: &Global) -> Result<Outcome> {
        if self.crashed {
            return self.clean(global);
        }
        let mut connection = daemon::connect(global)?;
        let status = connection.status()?;
        if let Some(iface) = &self.iface
            && !status.interfaces.iter().any(|row| row.name == *iface)
        {
            let served: Vec<_> = status.interfaces.iter().map(|row| row.name.as_str()).collect();
            bail!("instance {} serves {}, not {iface}", status.head.instance, served.join(", "));
        }
        connection.call(&request::Down {})?;
        connection.wait_for_close().context("waiting for the daemon to end")?;
        print(&format!("octroi: instance {} is down\n", status.head.instance))?;
        Ok(Outcome::Well)
    }

    fn clean(&self, global: &Global) -> Result<Outcome> {
        if daemon::try_connect(global)?.is_some() {
            bail!("the daemon runs; `octroi down` without --crashed stops it");
        }
        let mut command = daemon::program()?;
        command.arg("--clean").arg("--instance").arg(global.instance().as_str());
        command.arg("--run-dir").arg(global.run_dir().path());
        if let Some(netns) = &self.netns {
            command.arg("--netns").arg(netns);
        }
        let status = command.status().context("octroid --clean")?;
        Ok(if status.success() { Outcome::Well } else { Outcome::Unwell })
    }
}
