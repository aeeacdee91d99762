//! Where things lie in this repository: the one place in xtask that knows paths.
//!
//! It refuses to guess from the current directory: a user may call `cargo xtask` from anywhere below the root,
//! and relative paths in the arguments are the user's, not ours.

use std::path::{Path, PathBuf};

/// The repository and its target directory.
#[derive(Clone, Debug)]
pub(crate) struct Repo {
    root: PathBuf,
    target: PathBuf,
}

impl Repo {
    /// The repository whose xtask this is. `CARGO_TARGET_DIR` is respected.
    #[must_use]
    pub(crate) fn here() -> Self {
        // What cargo says now, rather than when this was compiled: two clones may share a target directory.
        let now = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let crate_dir = now.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = crate_dir.parent().unwrap_or(&crate_dir).to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) if !dir.is_empty() => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
            _ => root.join("target"),
        };
        Self { root, target }
    }

    /// The directory of `Cargo.toml`, README.md and the rest.
    #[must_use]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    #[must_use]
    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Target directory of the eBPF build alone: its compiler is not the host's. It is fixed, whatever
    /// `CARGO_TARGET_DIR` says, because `xsk`'s build script must find it.
    #[must_use]
    pub(crate) fn ebpf_target(&self) -> PathBuf {
        self.root.join("target/ebpf")
    }

    /// An eBPF object, from where `xsk`'s build script embeds it.
    #[must_use]
    pub(crate) fn ebpf_object(&self, name: &str) -> PathBuf {
        self.ebpf_target().join("bpfel-unknown-none/release").join(name)
    }

    /// Target directory of the checks for machines without an operating system.
    pub(crate) fn pure_target(&self) -> PathBuf {
        self.target.join("pure")
    }

    /// A directory of files that are made, not built.
    pub(crate) fn generated(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// Target directory of the builds under `--cfg loom`: every crate in it is another one.
    pub(crate) fn loom_target(&self) -> PathBuf {
        self.target.join("loom")
    }

    /// Where tests note what they could not run.
    pub(crate) fn skips(&self) -> PathBuf {
        self.target.join("skips.txt")
    }

    /// Where the release profile leaves programs and libraries.
    pub(crate) fn release_directory(&self) -> PathBuf {
        self.target.join("release")
    }

    /// A program of ours, built with the release profile.
    #[must_use]
    pub(crate) fn release_binary(&self, name: &str) -> PathBuf {
        self.release_directory().join(name)
    }
}
