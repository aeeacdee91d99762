//! `setup`: finds what building and running need, and installs what is missing where it may.
//!
//! It never installs silently: what is missing, why it is needed and the commands come first. It installs only by
//! `apt-get` and `cargo install`, only as root, and only if not told otherwise; in every other case it prints the
//! exact commands, says what works without them, and stops. Run twice, the second run changes nothing.

mod need;
mod service;

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use self::need::Need;
pub(crate) use self::need::Stage;
use self::service::NothingStarts;
use crate::child;
use crate::toolchain::{Compiler, DEBIAN_RUSTC, Linker, program};

/// Newest LLVM that the bpf-linker release below knows; a newer compiler gets the newest bpf-linker.
const LINKER_LLVM_MAX: u32 = 22;
/// A release that is known to work, so that setup does the same thing next year.
const LINKER_VERSION: &str = "0.13.0";

/// Whether setup may install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Install {
    /// If it can, it does, and says so first.
    Allowed,
    /// Print the commands and stop (`--no-install`).
    Forbidden,
}

/// Says what is missing, installs it where it may, and returns the eBPF compiler.
///
/// # Errors
/// If something is missing and may not or could not be installed: the message holds the exact commands.
pub(crate) fn ensure(stage: Stage, install: Install) -> Result<Compiler> {
    let found = Found::look(stage);
    if let (Some(compiler), true) = (&found.compiler, found.complete()) {
        return Ok(compiler.clone());
    }
    eprintln!("setup: this machine lacks\n{}", found.describe());
    if let Some(reason) = cannot_install(install) {
        bail!("{reason}\n\n{}", found.advice());
    }
    apt(&found.packages())?;
    let compiler = match Compiler::find() {
        Some(compiler) => compiler,
        None => bail!(
            "apt-get succeeded but {DEBIAN_RUSTC} and its library source do not fit\n\n{}",
            found.advice()
        ),
    };
    linker(&compiler)?;
    let now = Found::look(stage);
    if !now.complete() {
        bail!("still missing after the installation:\n{}\n{}", now.describe(), now.advice());
    }
    Ok(compiler)
}

/// `cargo xtask setup`: everything that `stage` needs, and a line that says it is there.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn run(stage: Stage, install: Install) -> Result<()> {
    let compiler = ensure(stage, install)?;
    let (major, minor) = compiler.version.release;
    let names: Vec<_> = Need::of(stage).map(|need| need.name).collect();
    eprintln!(
        "setup: complete. eBPF compiler {} (rustc {major}.{minor}, LLVM {}), bpf-linker, {}",
        compiler.rustc.display(),
        compiler.version.llvm,
        names.join(", ")
    );
    Ok(())
}

/// What is there and what is not.
struct Found {
    compiler: Option<Compiler>,
    linker: Linker,
    missing: Vec<&'static Need>,
}

impl Found {
    fn look(stage: Stage) -> Self {
        let missing = Need::of(stage).filter(|need| !need.is_met()).collect();
        Self { compiler: Compiler::find(), linker: Linker::find(), missing }
    }

    fn linker_fits(&self) -> bool {
        self.compiler.as_ref().is_some_and(|compiler| self.linker.reads(compiler.version.llvm))
    }

    fn complete(&self) -> bool {
        self.compiler.is_some() && self.linker_fits() && self.missing.is_empty()
    }

    fn describe(&self) -> String {
        let mut lines = Vec::new();
        if self.compiler.is_none() {
            lines.push(
                "a Rust compiler with its library source: `core` for BPF is built from source".to_owned(),
            );
        }
        if !self.linker_fits() {
            lines.push("bpf-linker, not older than the compiler's LLVM: it makes the eBPF object".to_owned());
        }
        lines.extend(self.missing.iter().map(|need| format!("{}: {}", need.name, need.why)));
        lines.iter().map(|line| format!("  - {line}\n")).collect()
    }

    /// Debian packages for all that is missing; LLVM's depends on the compiler and comes later.
    fn packages(&self) -> Vec<&'static str> {
        let compiler: &[&str] = if self.compiler.is_none() { &["rustc-web", "rust-web-src"] } else { &[] };
        compiler.iter().chain(self.missing.iter().flat_map(|need| need.packages)).copied().collect()
    }

    /// The commands for a person.
    fn advice(&self) -> String {
        let mut text = String::from("On Debian 12, as root:\n");
        let packages = self.packages();
        if !packages.is_empty() {
            text += &format!(
                "  apt-get update && apt-get install -y --no-install-recommends {}\n",
                packages.join(" ")
            );
        }
        if !self.linker_fits() {
            let rustc =
                self.compiler.as_ref().map_or(DEBIAN_RUSTC.into(), |it| it.rustc.display().to_string());
            text += &format!(
                "  LLVM=$({rustc} -vV | sed -n 's/^LLVM version: \\([0-9]*\\).*/\\1/p')\n  \
                 apt-get install -y --no-install-recommends llvm-$LLVM-dev\n  \
                 LLVM_PREFIX=/usr/lib/llvm-$LLVM cargo install bpf-linker --locked --force --no-default-features --features llvm-$LLVM\n"
            );
        }
        text += "Elsewhere:\n";
        if self.compiler.is_none() {
            text += "  rustup toolchain install nightly --component rust-src\n";
        }
        if !self.linker_fits() {
            text += "  a bpf-linker release from its project's page, put on PATH\n";
        }
        for need in &self.missing {
            text += &format!("  {} (Debian: {})\n", need.name, need.packages.join(" "));
        }
        text += "\nWithout these you can still run `cargo test`: it builds and tests every crate that needs neither\n\
                 BPF nor a C library (abi, wire, multistack, ixp, client, examples, xtask) with stable Rust alone.\n";
        text
    }
}

/// Why nothing may be installed here, if so.
fn cannot_install(install: Install) -> Option<&'static str> {
    if install == Install::Forbidden {
        Some("--no-install was given, so nothing was installed.")
    } else if !is_root() {
        Some("Only root can install packages, so nothing was installed.")
    } else if program("apt-get").is_none() {
        Some("There is no apt-get here, so nothing was installed.")
    } else {
        None
    }
}

/// Whether we may install packages, attach programs and make namespaces.
#[must_use]
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective_uid(&status) == Some(0)
}

/// The second number of `Uid:` in `/proc/self/status`.
fn effective_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

fn apt(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("setup: will install by apt-get: {}", packages.join(" "));
    child::run_quietly("apt-get update", Command::new("apt-get").args(["update", "-q"]))?;
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    let nothing_starts = NothingStarts::while_installing(packages)?;
    child::run_quietly("apt-get install", &mut command)?;
    nothing_starts.nor_at_boot();
    Ok(())
}

/// Builds bpf-linker against the LLVM that the compiler has.
fn linker(compiler: &Compiler) -> Result<()> {
    let llvm = compiler.version.llvm;
    if Linker::find().reads(llvm) {
        return Ok(());
    }
    let prefix = format!("/usr/lib/llvm-{llvm}");
    if !Path::new(&prefix).join("bin/llvm-config").exists() {
        apt(&[&format!("llvm-{llvm}-dev")])?;
    }
    eprintln!("setup: will install by cargo: bpf-linker for LLVM {llvm} (a minute of compiling)");
    let mut command = child::cargo();
    command.env("LLVM_PREFIX", prefix).current_dir("/");
    command.args(["install", "bpf-linker", "--locked", "--force", "--no-default-features"]);
    command.args(["--features", &format!("llvm-{llvm}")]);
    if llvm <= LINKER_LLVM_MAX {
        command.args(["--version", LINKER_VERSION]);
    }
    child::run_quietly("cargo install bpf-linker", &mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> Found {
        Found { compiler: None, linker: Linker::Missing, missing: Need::of(Stage::Peers).collect() }
    }

    #[test]
    fn the_effective_uid_is_the_second_number() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t0\n"), Some(0));
        assert_eq!(effective_uid("Uid:\t0\t1000\t0\t0\n"), Some(1000));
        assert_eq!(effective_uid(""), None);
    }

    #[test]
    fn a_bare_machine_is_told_every_command_and_what_still_works() {
        let found = bare();
        assert!(!found.complete());
        let advice = found.advice();
        for word in [
            "rustc-web rust-web-src",
            "clang-19",
            "llvm-$LLVM-dev",
            "cargo install bpf-linker",
            "nightly",
            "`cargo test`",
        ] {
            assert!(advice.contains(word), "{word} is not in\n{advice}");
        }
        assert_eq!(found.describe().lines().count(), 2 + Need::of(Stage::Peers).count());
    }

    #[test]
    fn an_old_linker_is_named_and_nothing_else() {
        let version = crate::toolchain::RustcVersion { release: (1, 96), llvm: 22 };
        let compiler = Compiler { rustc: DEBIAN_RUSTC.into(), cargo: None, version };
        let found = Found { compiler: Some(compiler), linker: Linker::Llvm(21), missing: Vec::new() };
        assert!(!found.complete());
        assert!(found.describe().contains("bpf-linker") && found.describe().lines().count() == 1);
        assert!(found.packages().is_empty());
        assert!(!found.advice().contains("rustc-web"));
    }

    #[test]
    fn no_install_is_obeyed_even_as_root() {
        assert!(cannot_install(Install::Forbidden).is_some());
    }
}
