//! Processes, started beside tests that close things, and stopped: what is closed here is closed everywhere.
//!
//! Between fork(2) and execve(2) a child has every descriptor of this process, so that a socket which another test has
//! just closed lives on for a moment, and its port is still taken. Nobody starts a process while [`close`] closes, and
//! whoever starts one waits until the child is through.
use std::{
    fs, io,
    process::{Child, Command, Output, Stdio},
    sync::{PoisonError, RwLock},
};

use anyhow::{Context as _, Result};
use nix::{
    libc::c_long,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use super::until;

/// Read by whoever starts a process, written by whoever closes something.
static STARTING: RwLock<()> = RwLock::new(());

/// Starts a process.
///
/// # Errors
/// As [`Command::spawn`].
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    leave_kernel(&child);
    Ok(child)
}

/// Runs a process that reads nothing to its end, and returns what it said.
///
/// # Errors
/// As [`Command::output`].
pub fn output(command: &mut Command) -> io::Result<Output> {
    spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?.wait_with_output()
}

/// Does something while no process is being started: whatever it opens and closes is open nowhere else after.
pub fn alone<T>(work: impl FnOnce() -> T) -> T {
    let _nobody_starts = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// Drops something that holds descriptors; no process that is being started keeps them open.
pub fn close<T>(held: T) {
    alone(|| drop(held));
}

/// Makes a call as often as a signal interrupts it. Calls with a time limit are interrupted where others are resumed
/// (signal(7)): a debugger, a cgroup that is frozen and thawed.
///
/// # Errors
/// What the call says in the end.
pub fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Waits until a child has left execve(2) behind: only on its way to its own code does it let go of what it was not to have,
/// and its parent goes on before that (fs/exec.c, `begin_new_exec`). A stop is taken at the end of that way.
fn leave_kernel(child: &Child) {
    let pid = Pid::from_raw(child.id().cast_signed());
    // Refused for a child that became another user: then it is as it is without this function.
    if kill(pid, Signal::SIGSTOP).is_ok() {
        // Seen and left there: whoever waits for the child is told of its end.
        let seen = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), seen) == Err(nix::errno::Errno::EINTR) {}
        // A child that ended meanwhile needs none.
        let _ = kill(pid, Signal::SIGCONT);
    }
}

/// Stops a process, and waits until none of its threads runs: the signal alone promises nothing about when.
///
/// # Errors
/// It is gone, or goes on.
pub fn stop(pid: u32) -> Result<()> {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).context("cannot stop it")?;
    until("all of its threads have stopped", || {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else { continue };
            // The name, in parentheses, may have anything in it (proc_pid_stat(5)).
            if !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T")) {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// Waits until a process of one thread waits within a call to the kernel.
///
/// # Errors
/// It is gone, or does not.
pub fn await_call(pid: u32, number: c_long) -> Result<()> {
    until("the process makes the call", || {
        // The number comes first, and "running" where there is none (proc_pid_syscall(5)).
        let call = fs::read_to_string(format!("/proc/{pid}/syscall"))?;
        Ok(call.split_ascii_whitespace().next() == Some(number.to_string().as_str()))
    })
}

/// Lets a stopped process go on.
///
/// # Errors
/// It is gone.
pub fn go_on(pid: u32) -> Result<()> {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT).context("it does not go on")
}

#[cfg(test)]
mod tests {
    use std::{
        net::UdpSocket,
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn what_is_closed_is_free_at_once_whoever_starts_processes() {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        assert!(output(&mut Command::new("true")).unwrap().status.success());
                    }
                });
            }
            let at = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = at.local_addr().unwrap();
            close(at);
            let freed = (0..500).try_for_each(|_| UdpSocket::bind(address).map(close));
            done.store(true, Ordering::Relaxed);
            freed.unwrap();
        });
    }

    #[test]
    fn an_interrupted_call_is_made_again() {
        let mut errors =
            vec![io::ErrorKind::NotFound, io::ErrorKind::Interrupted, io::ErrorKind::Interrupted];
        let outcome = again(|| Err::<(), _>(errors.pop().unwrap().into()));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(errors.is_empty());
    }
}
