//! A thread of another process, held at the very call to the kernel that a test names: what goes on without it?
//!
//! By ptrace(2), from the test's own thread. Nobody is stopped but the thread that is held: not who started it, and not
//! threads that it starts itself.
use std::fs;

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    libc::c_long,
    sys::{
        ptrace::{self, Event, Options},
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// A process whose first thread is watched: that thread, or the next one that it starts, is to be held.
#[derive(Debug)]
#[must_use = "whoever is watched is to be held"]
pub struct Watched(Pid);

/// A thread that is held. Dropping it, or the end of the test, lets it go.
#[derive(Debug)]
pub struct Halted(Pid);

/// A call to the kernel, by its number and its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub number: c_long,
    /// Its first argument.
    pub first: u64,
}

impl Watched {
    /// Watches the first thread of a process.
    ///
    /// # Errors
    /// The kernel does not allow it.
    pub fn new(process: u32) -> Result<Self> {
        let process = Pid::from_raw(process.cast_signed());
        let options = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACESYSGOOD;
        ptrace::seize(process, options).context("it may not be watched")?;
        Ok(Self(process))
    }

    /// Lets it run until it is about to make `call` for the so many-th time.
    ///
    /// # Errors
    /// It ends before.
    pub fn halt(self, call: Call, time: u32) -> Result<Halted> {
        ptrace::interrupt(self.0)?;
        halt(self.0, call, time)
    }

    /// Waits until it has started a thread, and lets that run until it is about to make `call`.
    ///
    /// # Errors
    /// The thread ends without making it.
    pub fn halt_next(self, call: Call) -> Result<Halted> {
        let Self(process) = self;
        let thread = loop {
            match wait(process)? {
                status if is_clone(status) => break started_by(process)?,
                status => ptrace::cont(process, signal(status)?)?,
            }
        };
        ptrace::detach(process, None)?;
        halt(thread, call, 1)
    }
}

fn halt(thread: Pid, call: Call, time: u32) -> Result<Halted> {
    let (mut times, mut is_inside) = (0, false);
    loop {
        let status = wait(thread)?;
        if is_clone(status) {
            let other = started_by(thread)?;
            wait(other)?;
            ptrace::detach(other, None)?;
        }
        // It stops where a call begins and where it ends, and first where one begins.
        let stops = matches!(status, WaitStatus::PtraceSyscall(_));
        is_inside ^= stops;
        if stops && is_inside && made_by(thread)? == Some(call) {
            times += 1;
            if times == time {
                return Ok(Halted(thread));
            }
        }
        ptrace::syscall(thread, signal(status)?)?;
    }
}

impl Halted {
    /// Lets it go on.
    pub fn go_on(self) {
        drop(self);
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // Fails if its process is gone.
        ptrace::detach(self.0, None).ok();
    }
}

fn wait(thread: Pid) -> Result<WaitStatus> {
    loop {
        match waitpid(thread, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            status => return status.context("a watched thread is gone"),
        }
    }
}

fn is_clone(status: WaitStatus) -> bool {
    matches!(status, WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_CLONE as i32)
}

/// The signal that a thread is to get when it goes on.
fn signal(status: WaitStatus) -> Result<Option<Signal>> {
    match status {
        WaitStatus::PtraceEvent(..) | WaitStatus::PtraceSyscall(_) => Ok(None),
        WaitStatus::Stopped(_, signal) => Ok(Some(signal)),
        ended => bail!("it ended without the call: {ended:?}"),
    }
}

fn started_by(thread: Pid) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(ptrace::getevent(thread)?)?))
}

/// The call that a stopped thread is in: its number, then its arguments (proc_pid_syscall(5)).
fn made_by(thread: Pid) -> Result<Option<Call>> {
    let said = fs::read_to_string(format!("/proc/{thread}/syscall")).context("what it asks the kernel")?;
    let mut words = said.split_ascii_whitespace();
    let (Some(number), Some(first)) = (words.next(), words.next()) else { return Ok(None) };
    let first = first.strip_prefix("0x").context("an argument that is not hexadecimal")?;
    Ok(Some(Call { number: number.parse()?, first: u64::from_str_radix(first, 16)? }))
}
