//! The pure crates built for machines that have no operating system: if that breaks, one leaked in.
//!
//! Nothing is linked or run; `cargo check` with the library built from source shows it. A target directory of its
//! own keeps this compiler's artefacts apart from the host's.

use anyhow::Result;

use crate::child;
use crate::repo::Repo;
use crate::toolchain::Compiler;

/// Crates that know no operating system.
const WASM: [&str; 4] = ["abi", "wire", "multistack", "ruler"];
/// Crates that XDP programs may use as well.
const BPF: [&str; 2] = ["abi", "wire"];

/// Builds both.
///
/// # Errors
/// If one does not build.
pub(crate) fn run(repo: &Repo, compiler: &Compiler) -> Result<()> {
    check(repo, compiler, "wasm32-unknown-unknown", "build-std=std,panic_abort", &WASM)?;
    check(repo, compiler, "bpfel-unknown-none", "build-std=core", &BPF)
}

fn check(repo: &Repo, compiler: &Compiler, target: &str, std: &str, crates: &[&str]) -> Result<()> {
    let mut command = compiler.cargo();
    command.current_dir(repo.root()).args(["check", "--quiet", "--target", target, "-Z", std]);
    command.arg("--target-dir").arg(repo.pure_target());
    // Nothing of it runs but macros and build scripts.
    command.args(["--config", "profile.dev.opt-level=0"]);
    for name in crates {
        command.args(["-p", name]);
    }
    child::run(&mut command)
}
