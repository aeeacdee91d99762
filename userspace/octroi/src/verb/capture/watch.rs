//! What a capture waits for between two looks at its rings: a signal, the daemon's end, or a moment.
use std::{
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// Signals that end a capture in order.
#[derive(Debug)]
pub(super) struct Watch {
    signals: SignalFd,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Nothing: the moment is over.
    Nothing,
    /// Somebody wants it to end.
    Signal,
    /// The daemon has closed the connection, or says something unasked.
    Daemon,
}

impl Watch {
    /// Takes the signals that would end this program, for as long as it runs.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn open() -> Result<Self> {
        let mut set = SigSet::empty();
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| set.add(signal));
        set.thread_block().context("cannot block signals")?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self { signals: signals.context("signalfd")? })
    }

    /// Waits for `pause` at most.
    pub(super) fn wait(&self, daemon: BorrowedFd<'_>, pause: Duration) -> Came {
        let mut fds =
            [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), PollFd::new(daemon, PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::ZERO);
        // An interrupted wait was a short one.
        if poll(&mut fds, timeout).unwrap_or(0) == 0 {
            return Came::Nothing;
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        match fds.each_ref().map(ready) {
            [true, _] => Came::Signal,
            [_, true] => Came::Daemon,
            _ => Came::Nothing,
        }
    }
}
