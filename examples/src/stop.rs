//! How a program ends: on SIGTERM and SIGINT, which are read like any other input, or with one line that says why.
//!
//! It refuses to end anywhere but where it sleeps.
use std::{
    os::fd::{AsFd, BorrowedFd},
    process::ExitCode,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// What a program's `main` returns; why it fails is said on standard error, in one line.
#[must_use]
pub fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

/// The signals that end a program, as something to poll.
#[derive(Debug)]
pub struct Stop(SignalFd);

impl Stop {
    /// From now on the signals wait to be read. To be called before any thread is started: each inherits it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn on_signals() -> Result<Self, Errno> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// Whether one came.
    #[must_use]
    pub fn came(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
