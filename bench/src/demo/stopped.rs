//! Ctrl-C and its like, received by reading: so that a demo always cleans up.
use std::{os::fd::AsFd as _, time::Duration};

use anyhow::Result;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// The signals that end a demo.
pub(super) struct Stopped(SignalFd);

impl Stopped {
    /// From now on they wait to be read.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn watch() -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?))
    }

    /// Returns when a signal came, or after `time`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn or_after(&self, time: Duration) -> Result<()> {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
