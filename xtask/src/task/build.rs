//! `build`: the eBPF object first, then the programs that embed it.
//!
//! The object is not built from `xsk`'s build script: its compiler may differ from the host's, and `cargo check`
//! must work on a machine that has neither (docs/adr/0003).

use anyhow::{Result, ensure};

use crate::child;
use crate::repo::Repo;
use crate::task::setup::{self, Install, Stage};
use crate::toolchain::Compiler;

/// What aya's own build helper would pass. Without `--btf` the linker leaves out all type information.
const EBPF_RUSTFLAGS: &str = "-Cdebuginfo=2 -Clink-arg=--btf";

/// What the build must leave: the daemon's programs, and those of tests and benches.
const OBJECTS: [&str; 2] = ["octroi-xdp", "octroi-xdp-lab"];

/// Sets up what is missing, then builds the object and the release programs.
///
/// # Errors
/// If a tool is missing and may not be installed, or a build fails.
pub(crate) fn run(repo: &Repo, install: Install) -> Result<()> {
    release(repo, &setup::ensure(Stage::Build, install)?, FOR_USERS)
}

/// Builds the XDP programs into `target/ebpf`.
///
/// # Errors
/// If the build fails.
pub(crate) fn ebpf(repo: &Repo, compiler: &Compiler) -> Result<()> {
    let mut command = compiler.cargo();
    command
        .current_dir(repo.join("xdp-ebpf"))
        .env("RUSTFLAGS", EBPF_RUSTFLAGS)
        .args([
            "build",
            "--release",
            "--target",
            "bpfel-unknown-none",
            "-Z",
            "build-std=core",
            "--target-dir",
        ])
        .arg(repo.ebpf_target());
    child::run(&mut command)?;
    for object in OBJECTS.map(|name| repo.ebpf_object(name)) {
        ensure!(object.exists(), "the eBPF build left no {}", object.display());
    }
    Ok(())
}

/// Packages of the programs that a user runs.
pub(crate) const FOR_USERS: &[&str] = &["octroid", "octroi", "octroi-bench", "octroi-examples"];
/// The same, and the lab's application, which benches have beside them.
pub(crate) const FOR_BENCHES: &[&str] =
    &["octroid", "octroi", "octroi-bench", "octroi-examples", "octroi-tests"];

/// Builds the object and every program of these packages.
///
/// # Errors
/// If a build fails.
pub(crate) fn release(repo: &Repo, compiler: &Compiler, packages: &[&str]) -> Result<()> {
    ebpf(repo, compiler)?;
    let mut command = child::cargo();
    command.current_dir(repo.root()).args(["build", "--release", "--bins"]);
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    child::run(&mut command)
}
