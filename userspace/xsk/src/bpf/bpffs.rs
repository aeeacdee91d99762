//! bpffs: where pins live, mounted if it is missing.
//!
//! It refuses to pin anywhere else, and says which mount is missing if it may not make it.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use abi::pins::ROOT;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

/// Where bpffs is mounted by convention.
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Whether [`Bpffs::open`] had to mount the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// It was there.
    Before,
    /// It was mounted now; whoever starts should say so.
    Now,
}

/// The directory in bpffs below which instances pin.
#[derive(Clone, Debug)]
pub struct Bpffs {
    root: PathBuf,
    mounted: Mounted,
}

/// Why there is no bpffs.
#[derive(Debug, thiserror::Error)]
pub enum BpffsError {
    /// It is not mounted and cannot be.
    #[error("{} is not a bpffs and cannot be mounted: run `mount -t bpf bpf /sys/fs/bpf`, or use --no-pin", .path.display())]
    NotMounted {
        /// Where it was expected.
        path: PathBuf,
        /// Why mounting failed.
        source: io::Error,
    },
    /// The directory cannot be made.
    #[error("{}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Bpffs {
    /// Opens `/sys/fs/bpf/octroi`, and mounts bpffs first if it is missing.
    ///
    /// # Errors
    /// bpffs is missing and may not be mounted, or the directory cannot be made.
    pub fn open() -> Result<Self, BpffsError> {
        let mounted = ensure_mounted(Path::new(MOUNT_POINT))?;
        Self::with_root(Path::new(ROOT), mounted)
    }

    /// Opens `root`, a directory of a bpffs that is mounted elsewhere.
    ///
    /// # Errors
    /// It is not in a bpffs, or cannot be made.
    pub fn at(root: &Path) -> Result<Self, BpffsError> {
        Self::with_root(root, Mounted::Before)
    }

    fn with_root(root: &Path, mounted: Mounted) -> Result<Self, BpffsError> {
        let directory = |source| BpffsError::Directory { path: root.into(), source };
        fs::create_dir_all(root).map_err(directory)?;
        if !is_bpffs(root).map_err(directory)? {
            return Err(BpffsError::NotMounted { path: root.into(), source: io::ErrorKind::NotFound.into() });
        }
        Ok(Self { root: root.into(), mounted })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether opening mounted the file system.
    #[must_use]
    pub fn mounted(&self) -> Mounted {
        self.mounted
    }
}

fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == BPF_FS_MAGIC)
}

fn ensure_mounted(point: &Path) -> Result<Mounted, BpffsError> {
    let failed = |source| BpffsError::NotMounted { path: point.into(), source };
    if is_bpffs(point).map_err(failed)? {
        return Ok(Mounted::Before);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
    mount(Some("bpf"), point, Some("bpf"), flags, Some("mode=0700")).map_err(|errno| failed(errno.into()))?;
    Ok(Mounted::Now)
}
