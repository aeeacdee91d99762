//! The handle that C has: one session, its control connection behind a lock, and an end for each channel number.
//!
//! It refuses to let two threads into one channel: the second is told, and never waits. A channel's memory changes when
//! the daemon was restarted; each end takes its new memory by itself, in the thread that uses it, and says so first.
use std::{
    os::fd::{AsRawFd, RawFd},
    path::Path,
    sync::{
        Mutex, MutexGuard, TryLockError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use abi::shm::layout::MAX_CHANNELS;
use nix::errno::Errno;

use super::{end::End, errno::Numbered, types::octroi_event};
use crate::{
    shm::channel::Channel,
    stack::{Client, Event, Reserve, Stack, StackOptions, Tuple, TupleId},
};

/// A session. Only the library knows what is in it.
#[allow(non_camel_case_types, reason = "octroi.h has this name")]
#[derive(Debug)]
pub struct octroi_stack {
    control: Mutex<Stack>,
    /// One for each channel there could ever be: a restarted daemon may have more than the one before.
    ports: Box<[Port]>,
    /// Channels that there are now.
    channels: AtomicU32,
    /// Raised whenever channels get other memory, or lose what they had.
    era: AtomicU32,
    /// No memory will ever come again.
    over: AtomicBool,
}

/// A channel number.
#[derive(Debug, Default)]
struct Port {
    held: Mutex<Held>,
    next: Mutex<Next>,
}

/// What the thread of this channel works on.
#[derive(Debug, Default)]
struct Held {
    era: u32,
    end: End,
}

/// What it is to work on from this era on.
#[derive(Debug, Default)]
struct Next {
    era: u32,
    channel: Option<Channel>,
}

impl octroi_stack {
    /// Connects and opens.
    pub(super) fn open(path: &Path, options: &StackOptions) -> Result<Self, Errno> {
        let client = Client::connect(path).map_err(|error| error.errno())?;
        let mut stack = client.open(options).map_err(|error| error.errno())?;
        let channels = stack.take_channels();
        let session = Self {
            control: Mutex::new(stack),
            ports: (0..MAX_CHANNELS).map(|_| Port::default()).collect(),
            channels: AtomicU32::new(0),
            era: AtomicU32::new(0),
            over: AtomicBool::new(false),
        };
        session.renew(channels)?;
        // Each takes its memory now, so that one that nobody has used yet says, too, when it is lost.
        (0..session.channels()).try_for_each(|c| session.end(c, |_| Ok(())))?;
        Ok(session)
    }

    /// Channels that there are now.
    pub(super) fn channels(&self) -> u32 {
        self.channels.load(Ordering::Relaxed)
    }

    /// Registers a tuple.
    pub(super) fn register(&self, want: &Tuple, reserve: Reserve) -> Result<u16, Errno> {
        let id = self.control()?.register(want, reserve).map_err(|error| self.gone(error.errno()))?;
        Ok(id.0)
    }

    /// Gives a tuple back.
    pub(super) fn release(&self, id: u16) -> Result<(), Errno> {
        self.control()?.release(TupleId(id)).map_err(|error| self.gone(error.errno()))
    }

    /// The next thing that happened.
    pub(super) fn event(&self) -> Result<octroi_event, Errno> {
        let mut stack = self.control()?;
        let Some(event) = stack.poll_event() else {
            return Err(if self.over.load(Ordering::Relaxed) { Errno::ESHUTDOWN } else { Errno::EAGAIN });
        };
        match event {
            Event::Disconnected => self.renew(Vec::new())?,
            Event::Reconnected(_) => self.renew(stack.take_channels())?,
            Event::Over(_) => {
                self.over.store(true, Ordering::Relaxed);
                self.renew(Vec::new())?;
            }
            Event::Revoked { .. } | Event::AddressGone(_) | Event::AddressBack(_) => {}
        }
        Ok(octroi_event::from(&event))
    }

    /// The control connection.
    pub(super) fn control_fd(&self) -> Result<RawFd, Errno> {
        let stack = self.control()?;
        stack.control().map(|fd| fd.as_raw_fd()).ok_or_else(|| self.gone(Errno::ENOTCONN))
    }

    /// Does something to one channel.
    pub(super) fn end<T>(&self, c: u32, act: impl FnOnce(&mut End) -> Result<T, Errno>) -> Result<T, Errno> {
        let port = self.ports.get(c as usize).filter(|_| c < self.channels()).ok_or(Errno::ECHRNG)?;
        let mut held = match port.held.try_lock() {
            Ok(held) => held,
            Err(TryLockError::WouldBlock) => return Err(Errno::EBUSY),
            Err(TryLockError::Poisoned(_)) => return Err(Errno::ENOTRECOVERABLE),
        };
        // Acquire: what was put in place for this era is seen.
        if held.era != self.era.load(Ordering::Acquire) {
            let mut next = lock(&port.next)?;
            if held.era != next.era {
                held.era = next.era;
                if held.end.change(next.channel.take()) {
                    return Err(self.gone(Errno::ENOTCONN));
                }
            }
        }
        act(&mut held.end).map_err(|errno| self.gone(errno))
    }

    /// Puts memory in place for every channel, `None` for those that have none.
    fn renew(&self, channels: Vec<Channel>) -> Result<(), Errno> {
        let era = self.era.load(Ordering::Relaxed).wrapping_add(1);
        if !channels.is_empty() {
            self.channels.store(channels.len() as u32, Ordering::Relaxed);
        }
        let mut channels = channels.into_iter();
        for port in &self.ports {
            *lock(&port.next)? = Next { era, channel: channels.next() };
        }
        // Release: with the `Acquire` in `end`. Eras are raised by whoever has `control` locked, one at a time.
        self.era.store(era, Ordering::Release);
        Ok(())
    }

    /// "Not connected" is said while there is hope.
    fn gone(&self, errno: Errno) -> Errno {
        match errno {
            Errno::ENOTCONN if self.over.load(Ordering::Relaxed) => Errno::ESHUTDOWN,
            other => other,
        }
    }

    fn control(&self) -> Result<MutexGuard<'_, Stack>, Errno> {
        lock(&self.control)
    }
}

/// What a panic left behind is not used again.
fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, Errno> {
    mutex.lock().map_err(|_| Errno::ENOTRECOVERABLE)
}
