//! A program that serves: started in an end's namespace, awaited until it says that it is ready, ended by SIGTERM.
//!
//! Dropping one that still runs kills it.
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{until, veth::End};

/// A running program.
#[derive(Debug)]
pub struct Service {
    child: Child,
    /// Kept open: a program that says something more must not be killed by SIGPIPE.
    output: BufReader<ChildStdout>,
}

impl Service {
    /// Starts a program and reads its first line, which says that it is ready.
    ///
    /// # Errors
    /// It ends without one.
    pub fn start(end: &End, command: &mut Command) -> Result<Self> {
        let mut service = Self::spawn(end, command)?;
        service.await_ready().with_context(|| format!("{:?}", command.get_program()))?;
        Ok(service)
    }

    /// Starts a program that says nothing, or whose first line is waited for later.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(end: &End, command: &mut Command) -> Result<Self> {
        let mut child = end.netns.spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let output = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, output })
    }

    /// Waits for its first line, which says that it is ready.
    ///
    /// # Errors
    /// It ends without one.
    pub fn await_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.contains("ready"), "it is not ready: {line:?}");
        Ok(())
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It does not.
    pub fn stop(mut self) -> Result<ExitStatus> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        let mut status = None;
        until("the program ends", || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.context("it did not end")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
