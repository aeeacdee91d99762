//! Falling asleep without missing what comes in between, and being woken at the price of one fence.
//!
//! The sleeper says that it sleeps, then looks once more; the waker publishes, then looks whether someone sleeps.
//! Between the two steps of each side lies a `SeqCst` fence. Without both fences store and load may change places,
//! and the sleeper can miss the work while the waker misses the sleeper.
use std::time::Duration;

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use std::os::fd::{AsFd, BorrowedFd};

use crate::sync::{AtomicBool, Ordering, fence};

/// The memory half of a wake-up: who sleeps, and who must wake it.
#[derive(Debug)]
pub(crate) struct Doze {
    asleep: AtomicBool,
}

impl Doze {
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// Says "I sleep". The caller must look for work once more after this, and only then block.
    pub(crate) fn prepare(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says "I am awake".
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Whether "I sleep" still stands: nobody has woken the sleeper since.
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    /// Whether someone sleeps, and must be woken by the caller. Work must have been published before.
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        if !self.asleep.load(Ordering::Relaxed) {
            return false;
        }
        self.asleep.store(false, Ordering::Relaxed);
        true
    }
}

/// A [`Doze`] with an eventfd: what an engine blocks on and others ring.
#[derive(Debug)]
pub(crate) struct Bell {
    doze: Doze,
    fd: EventFd,
}

/// Most descriptors that an engine blocks on: its bell, one for each port, and one for all applications.
const MAX_FDS: usize = 2 + crate::engines::MAX_PORTS_PER_ENGINE;

/// What an engine blocks on, built on the stack each time it does.
pub(crate) struct PollSet<'a> {
    fds: [PollFd<'a>; MAX_FDS],
    len: usize,
}

impl<'a> PollSet<'a> {
    pub(crate) fn new(bell: &'a Bell) -> Self {
        Self { fds: std::array::from_fn(|_| PollFd::new(bell.fd.as_fd(), PollFlags::POLLIN)), len: 1 }
    }

    /// Adds a descriptor to wait for input on. An engine has no more ports than there is room for.
    pub(crate) fn add(&mut self, fd: BorrowedFd<'a>) {
        if let Some(entry) = self.fds.get_mut(self.len) {
            *entry = PollFd::new(fd, PollFlags::POLLIN);
            self.len += 1;
        }
    }

    /// Numbers, in order of [`PollSet::add`], of the descriptors that report an error.
    pub(crate) fn broken(&self) -> impl Iterator<Item = usize> + '_ {
        let bad = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        let added = self.fds.iter().take(self.len).skip(1);
        added
            .enumerate()
            .filter(move |(_, fd)| fd.revents().is_some_and(|r| r.intersects(bad)))
            .map(|(i, _)| i)
    }
}

impl Bell {
    pub(crate) fn new() -> Result<Self, Errno> {
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { doze: Doze::new(), fd })
    }

    /// Wakes the sleeper if there is one. What it is to find must have been published before.
    #[inline]
    pub(crate) fn ring(&self) {
        if self.doze.must_wake() {
            // The counter cannot overflow into EAGAIN: the sleeper empties it and was rung once.
            let _ = self.fd.write(1);
        }
    }

    /// Says "ring me when there is something", for a sleeper that blocks on [`Bell::fd`] elsewhere, later or never.
    /// It must look for work once more after this.
    pub(crate) fn arm(&self) {
        if !self.doze.is_asleep() {
            let _ = self.fd.read();
        }
        self.doze.prepare();
    }

    /// Readable once the bell was rung.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Blocks until rung, a descriptor of `set` is ready or `timeout` is over; not at all if `work_waits`.
    pub(crate) fn sleep(
        &self,
        set: &mut PollSet<'_>,
        timeout: Option<Duration>,
        work_waits: impl FnOnce() -> bool,
    ) {
        self.doze.prepare();
        if !work_waits() {
            let timeout =
                timeout.map_or(PollTimeout::NONE, |t| PollTimeout::try_from(t).unwrap_or(PollTimeout::MAX));
            // EINTR wakes early, which an engine takes for an empty round.
            let _ = poll(set.fds.get_mut(..set.len).unwrap_or_default(), timeout);
        }
        self.doze.awake();
        let _ = self.fd.read();
    }
}
