//! A place for pins that nobody else uses: an instance of a unique name below `/sys/fs/bpf/octroi`.
//!
//! The daemon and `xsk` make and remove the pins. This removes what is still there when the lab ends, so no pin
//! outlives a test, and lets a test look.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::name;

/// The pins of an instance with a name of its own.
#[derive(Debug)]
pub struct Pins(String);

impl Pins {
    /// An instance name nobody else has, with no pins yet; bpffs is mounted if it was not.
    ///
    /// # Errors
    /// bpffs is not there and may not be mounted.
    pub fn new() -> Result<Self> {
        mount()?;
        Ok(Self(name::unique("inst")))
    }

    /// The instance's name, as `--instance` takes it.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.0
    }

    /// Their directory, whether it is there or not.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(abi::pins::ROOT).join(&self.0)
    }

    /// Every pin, relative to its directory, sorted.
    ///
    /// # Errors
    /// The directory is there and cannot be read.
    pub fn list(&self) -> Result<Vec<String>> {
        let root = self.path();
        let mut found = Vec::new();
        if root.exists() {
            walk(&root, &mut |path| {
                if let Ok(relative) = path.strip_prefix(&root) {
                    found.push(relative.display().to_string());
                }
            })?;
        }
        found.sort();
        Ok(found)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes every pin of `instance`. Most often there is none.
pub(super) fn remove(instance: &str) {
    let root = Path::new(abi::pins::ROOT).join(instance);
    if root.exists()
        && let Err(why) = fs::remove_dir_all(&root)
    {
        eprintln!("pins below {} are left behind: {why}", root.display());
    }
}

/// Mounts bpffs where it belongs, if nobody did.
fn mount() -> Result<()> {
    const BPFFS: &str = "/sys/fs/bpf";
    let is_bpffs =
        nix::sys::statfs::statfs(BPFFS).is_ok_and(|s| s.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC);
    if is_bpffs {
        return Ok(());
    }
    nix::mount::mount(Some("bpf"), BPFFS, Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>)
        .context("cannot mount bpffs on /sys/fs/bpf")
}

fn walk(directory: &Path, found: &mut dyn FnMut(&Path)) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, found)? } else { found(&path) }
    }
    Ok(())
}
