//! `setup`: finds what building and running need, and installs what is missing where it may.
//!
//! It never installs silently: what is missing, why it is needed and the commands come first. It installs only by
//! `apt-get` and `cargo install`, only as root, and only if not told otherwise; in every other case it prints the
//! exact commands, says what works without them, and stops. Run twice, the second run changes nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

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

/// What the caller is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Compile everything.
    Build,
    /// Compile and move packets between network namespaces.
    Run,
}

/// Something a machine must have.
struct Need {
    name: &'static str,
    why: &'static str,
    stage: Stage,
    /// Debian packages that bring it.
    packages: &'static [&'static str],
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        name: "a C compiler",
        why: "libbpf and libxdp are C",
        stage: Stage::Build,
        packages: &["gcc", "libc6-dev"],
        present: || program("cc").is_some(),
    },
    Need {
        name: "make, m4, pkg-config",
        why: "the build scripts of libbpf and libxdp call them",
        stage: Stage::Build,
        packages: &["make", "m4", "pkg-config"],
        present: || ["make", "m4", "pkg-config"].iter().all(|name| program(name).is_some()),
    },
    Need {
        name: "clang-19",
        why: "libxdp compiles a BPF program of its own while it builds",
        stage: Stage::Build,
        packages: &["clang-19"],
        present: || program("clang-19").is_some(),
    },
    Need {
        name: "headers for BPF C (asm/types.h)",
        why: "clang's BPF target has no system directory of its own",
        stage: Stage::Build,
        packages: &["gcc-multilib"],
        present: || Path::new("/usr/include/asm/types.h").exists(),
    },
    Need {
        name: "libelf and zlib with their headers",
        why: "libbpf reads ELF files",
        stage: Stage::Build,
        packages: &["libelf-dev", "zlib1g-dev"],
        present: || child::output(Command::new("pkg-config").args(["--exists", "libelf", "zlib"])).is_ok(),
    },
    Need {
        name: "ip",
        why: "the demo and the tests make network namespaces and veth pairs",
        stage: Stage::Run,
        packages: &["iproute2"],
        present: || program("ip").is_some(),
    },
    Need {
        name: "ethtool",
        why: "offloads that hide bytes from XDP are switched off with it",
        stage: Stage::Run,
        packages: &["ethtool"],
        present: || program("ethtool").is_some(),
    },
];

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

/// `cargo xtask setup`: everything, and a line that says it is there.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn run(install: Install) -> Result<()> {
    let compiler = ensure(Stage::Run, install)?;
    let (major, minor) = compiler.version.release;
    eprintln!(
        "setup: complete. eBPF compiler {} (rustc {major}.{minor}, LLVM {}), bpf-linker, clang-19, libelf, zlib, ip, ethtool",
        compiler.rustc.display(),
        compiler.version.llvm
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
        let missing = NEEDS.iter().filter(|need| need.stage <= stage && !(need.present)()).collect();
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
                 BPF nor a C library (abi, wire, multistack, ixp, client, xtask) with stable Rust alone.\n";
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
    child::run_quietly("apt-get install", &mut command)
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
        Found { compiler: None, linker: Linker::Missing, missing: NEEDS.iter().collect() }
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
        assert_eq!(found.describe().lines().count(), 2 + NEEDS.len());
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
    fn building_does_not_ask_for_what_only_running_needs() {
        let names = |stage| {
            NEEDS.iter().filter(move |need| need.stage <= stage).map(|need| need.name).collect::<Vec<_>>()
        };
        assert!(!names(Stage::Build).contains(&"ethtool"));
        assert!(names(Stage::Run).contains(&"ethtool") && names(Stage::Run).contains(&"clang-19"));
    }

    #[test]
    fn no_install_is_obeyed_even_as_root() {
        assert!(cannot_install(Install::Forbidden).is_some());
    }
}
