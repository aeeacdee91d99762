//! A memory cgroup of one's own: a limit that a process started inside runs into.
//!
//! Both hierarchies are served, as machines have one or the other. Dropping removes the group; whoever was in it must
//! have ended by then.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::name;

const ROOT: &str = "/sys/fs/cgroup";

/// A memory cgroup.
#[derive(Debug)]
pub struct MemoryCgroup {
    path: PathBuf,
    limit_file: &'static str,
}

impl MemoryCgroup {
    /// Makes a group without a limit.
    ///
    /// # Errors
    /// There is no writable memory controller.
    pub fn new(role: &str) -> Result<Self> {
        let legacy = Path::new(ROOT).join("memory");
        let (parent, limit_file) =
            if legacy.is_dir() { (legacy, "memory.limit_in_bytes") } else { (ROOT.into(), "memory.max") };
        let path = parent.join(name::unique(role));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let made = Self { path, limit_file };
        anyhow::ensure!(made.path.join(limit_file).exists(), "no memory controller below {ROOT}");
        Ok(made)
    }

    /// Sets the most that all processes inside may use together.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn limit(&self, bytes: u64) -> Result<()> {
        let file = self.path.join(self.limit_file);
        fs::write(&file, bytes.to_string()).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The file that takes the number of a process which is to be inside.
    #[must_use]
    pub fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir(&self.path) {
            eprintln!("cgroup {} is left behind: {why}", self.path.display());
        }
    }
}
