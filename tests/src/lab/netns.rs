//! Network namespaces with unique names: made, entered by one thread, removed when dropped.
//!
//! A namespace is entered by setns(2) in a thread that ends with the work, never by `ip netns exec`, which mounts a
//! `/sys` of its own and so hides bpffs: pins made there vanish with it. What is opened or started inside (a socket,
//! a child process) stays inside.
use std::{
    fs::File,
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

use super::{command, name, process};

/// Where iproute2 keeps named namespaces, and where octroid's `--netns` looks.
pub const DIRECTORY: &str = "/run/netns";

/// A network namespace of ours.
#[derive(Debug)]
pub struct Netns {
    name: String,
    handle: File,
}

impl Netns {
    /// Makes a namespace with a unique name that ends in `role`; its loopback is up.
    ///
    /// # Errors
    /// `ip` is missing or may not.
    pub fn new(role: &str) -> Result<Self> {
        let name = name::unique(role);
        command::run(&format!("ip netns add {name}"))?;
        let path = Path::new(DIRECTORY).join(&name);
        let handle = File::open(&path).with_context(|| format!("cannot open {}", path.display()));
        // From here on `drop` cleans up.
        let made = Self { name, handle: handle? };
        made.run("ip link set lo up")?;
        Ok(made)
    }

    /// The name, as `ip netns` and `--netns` take it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that names the namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Does `work` in a thread inside the namespace. A panic of `work` goes on in the caller.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.handle, CloneFlags::CLONE_NEWNET)?;
                Ok::<T, nix::Error>(work())
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
        .with_context(|| format!("cannot enter network namespace {}", self.name))
    }

    /// Runs a command line inside (see [`command::run`]).
    ///
    /// # Errors
    /// The namespace cannot be entered, or the command fails.
    pub fn run(&self, line: &str) -> Result<String> {
        self.enter(|| command::run(line))?.with_context(|| format!("in namespace {}", self.name))
    }

    /// Starts a process inside; its bpffs and file system are ours.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the program does not start.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.enter(|| process::spawn(command))?
            .with_context(|| format!("cannot start {:?} in namespace {}", command.get_program(), self.name))
    }

    /// Writes a sysctl below `/proc/sys/net`, e.g. `ipv4/ip_forward`.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel refuses.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(name);
        self.enter(|| std::fs::write(&path, value))?
            .with_context(|| format!("cannot write {value} to {}", path.display()))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the namespace `name` as far as it is there; what cannot be removed is said, as nobody can act on an error.
pub(super) fn remove(name: &str) {
    if let Err(why) = command::run(&format!("ip netns del {name}")) {
        eprintln!("network namespace {name} is left behind: {why:#}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::lab::{self, Need};

    #[test]
    fn lab_a_namespace_is_entered_by_one_thread_and_goes_away_even_after_a_panic() -> Result<()> {
        let Some(_lab) = lab::require("lab_namespace", &[Need::Netns])? else { return Ok(()) };
        let inode = || std::fs::metadata("/proc/thread-self/ns/net").map(|m| m.ino());
        let outside = inode()?;
        let namespace = Netns::new("one")?;
        let path = namespace.path();
        assert_ne!(namespace.enter(inode)??, outside, "the thread is inside");
        assert_eq!(inode()?, outside, "we are not");
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            namespace.enter(|| panic!("work fails")).ok();
        }));
        assert!(unwound.is_err(), "the panic of the work is the caller's");
        assert!(!path.exists());
        Ok(())
    }
}
