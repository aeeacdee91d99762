//! Where an instance lives: its run directory, the lock that makes it the only one, and its network namespace.
//!
//! The directory outlives the daemon, with two files: the log that `octroi up` made, and the lock. Whoever removed the
//! lock's file could remove it under a daemon that has just opened it, and a third would find no lock.
//!
//! Of another process's namespaces it enters the network's alone: its bpffs must stay the host's, or pins would vanish
//! with the namespace (`ip netns exec` mounts a fresh `/sys`).
use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use client::control::instance::{InstanceName, RunDir};
use nix::sched::{CloneFlags, setns};

/// An instance's directory, ours as long as this lives.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    socket: PathBuf,
    /// Locked; the kernel unlocks it when the process ends, however that happens.
    _lock: File,
}

impl Place {
    /// Makes the instance's directory and takes its lock.
    ///
    /// # Errors
    /// Another daemon has it, or the directory cannot be made.
    pub fn take(run_dir: &RunDir, instance: &InstanceName) -> Result<Self> {
        let dir = run_dir.of(instance);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot set the mode of {}", dir.display()))?;
        let path = run_dir.lock(instance);
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = open.with_context(|| format!("cannot open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).unwrap_or_default();
                bail!(
                    "instance {instance} runs already, as process {}: `octroi --instance {instance} down` stops it",
                    pid.trim()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the instance"),
        }
        let note = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        note.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { dir, socket: run_dir.socket(instance), _lock: lock })
    }

    /// The instance's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its control socket belongs.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Enters a network namespace: a name below `/run/netns`, or a path.
///
/// # Errors
/// There is none, or the kernel refuses.
pub fn enter_network(name: &str) -> Result<()> {
    let path = if name.contains('/') { PathBuf::from(name) } else { Path::new("/run/netns").join(name) };
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no network namespace {name} ({} is missing)", path.display())
        }
        other => other.with_context(|| format!("cannot open {}", path.display()))?,
    };
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter network namespace {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemon_for_one_instance() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::resolve(Some(dir.path()), None);
        let main = InstanceName::default();
        let place = Place::take(&run_dir, &main).unwrap();
        let error = Place::take(&run_dir, &main).unwrap_err().to_string();
        let pid = std::process::id();
        assert_eq!(
            error,
            format!("instance main runs already, as process {pid}: `octroi --instance main down` stops it")
        );
        let other = "other".parse().unwrap();
        Place::take(&run_dir, &other).unwrap();
        drop(place);
        Place::take(&run_dir, &main).unwrap();
    }

    #[test]
    fn a_missing_namespace_is_named() {
        let error = enter_network("octroi-no-such").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no network namespace octroi-no-such (/run/netns/octroi-no-such is missing)"
        );
    }
}
