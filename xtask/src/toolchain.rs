//! What this machine can build with, found by looking: the eBPF compiler, its linker, and the host's tools.
//!
//! It installs nothing and prints nothing; `task::setup` acts on what is found here. A compiler counts only if the
//! library source it was built from lies beside it, because `core` for BPF is built from source and must be of the
//! compiler's own version. No nightly is needed: `RUSTC_BOOTSTRAP=1` opens `-Z build-std` on any release, and is
//! set for that build alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child;

/// The oldest compiler that understands our crates, from the workspace's `rust-version`.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");
/// Where Debian's `rustc-web` lives.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The library source, relative to a compiler's sysroot.
const LIBRARY_LOCK: &str = "lib/rustlib/src/rust/library/Cargo.lock";

/// What `rustc -vV` says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RustcVersion {
    /// Major and minor release number.
    pub(crate) release: (u32, u32),
    /// Major number of its LLVM: bitcode it makes can be read by this LLVM and newer ones.
    pub(crate) llvm: u32,
}

impl RustcVersion {
    /// Reads the output of `rustc -vV`.
    #[must_use]
    pub(crate) fn parse(verbose: &str) -> Option<Self> {
        let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let release = major_minor(field("release:")?)?;
        let (llvm, _) = major_minor(field("LLVM version:")?)?;
        Some(Self { release, llvm })
    }
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-', ' ']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A compiler that can build `core` for BPF, and the cargo that goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    /// Absolute path: given to cargo as `RUSTC`.
    pub(crate) rustc: PathBuf,
    /// The cargo of the same toolchain, or the one that runs us.
    pub(crate) cargo: Option<PathBuf>,
    /// Its numbers.
    pub(crate) version: RustcVersion,
}

impl Compiler {
    /// The first of Debian's compiler, the default toolchain and rustup's nightly that qualifies.
    #[must_use]
    pub(crate) fn find() -> Option<Self> {
        Self::probe(Path::new(DEBIAN_RUSTC), None)
            .or_else(|| Self::of_toolchain(&sysroot(Path::new("rustc"))?))
            .or_else(|| Self::of_toolchain(&nightly_sysroot()?))
    }

    fn of_toolchain(sysroot: &Path) -> Option<Self> {
        let cargo = Some(sysroot.join("bin/cargo")).filter(|path| path.exists());
        Self::probe(&sysroot.join("bin/rustc"), cargo)
    }

    fn probe(rustc: &Path, cargo: Option<PathBuf>) -> Option<Self> {
        let version = RustcVersion::parse(&child::output(Command::new(rustc).arg("-vV")).ok()?)?;
        let wanted = major_minor(RUST_VERSION)?;
        let source = sysroot(rustc)?.join(LIBRARY_LOCK);
        (wanted <= version.release && source.exists()).then(|| Self {
            rustc: rustc.to_path_buf(),
            cargo,
            version,
        })
    }

    /// A cargo command that builds library and crate with this compiler.
    #[must_use]
    pub(crate) fn cargo(&self) -> Command {
        let mut command = child::cargo();
        if let Some(cargo) = &self.cargo {
            let mut own = Command::new(cargo);
            own.env_remove("CARGO_MANIFEST_DIR");
            command = own;
        }
        command.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1");
        // `cargo run` points these at the host's toolchain; this compiler brings its own libraries and wrapper-free.
        for name in [
            "LD_LIBRARY_PATH",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
        ] {
            command.env_remove(name);
        }
        // `cargo install` puts bpf-linker there, which need not be on PATH.
        command.env("PATH", path_with(&cargo_bin()));
        command
    }
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let text = child::output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(text.trim()))
}

fn nightly_sysroot() -> Option<PathBuf> {
    let mut which = Command::new("rustup");
    // Looking must not install.
    which.args(["which", "--toolchain", "nightly", "rustc"]).env("RUSTUP_AUTO_INSTALL", "0");
    let rustc = PathBuf::from(child::output(&mut which).ok()?.trim());
    Some(rustc.parent()?.parent()?.to_path_buf())
}

/// The directory `cargo install` fills.
#[must_use]
pub(crate) fn cargo_bin() -> PathBuf {
    cargo_home().join("bin")
}

fn cargo_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

fn path_with(dir: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([dir.to_path_buf()]);
    std::env::join_paths(dirs).unwrap_or(path)
}

/// Where a program is, on PATH or where `cargo install` puts it.
#[must_use]
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = path_with(&cargo_bin());
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// What is known of the bpf-linker that is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linker {
    /// None, or it does not start (its LLVM library is gone).
    Missing,
    /// Built by `cargo install` for this LLVM.
    Llvm(u32),
    /// A release or a distribution's: it does not say which LLVM it has.
    Unknown,
}

impl Linker {
    /// Looks for bpf-linker and for cargo's note of how it was built.
    #[must_use]
    pub(crate) fn find() -> Self {
        let starts = program("bpf-linker")
            .is_some_and(|linker| child::output(Command::new(linker).arg("--version")).is_ok());
        if !starts {
            return Self::Missing;
        }
        let note = std::fs::read_to_string(cargo_home().join(".crates2.json")).unwrap_or_default();
        linker_llvm(&note).map_or(Self::Unknown, Self::Llvm)
    }

    /// Whether it can read the bitcode of a compiler with this LLVM.
    #[must_use]
    pub(crate) fn reads(self, llvm: u32) -> bool {
        match self {
            Self::Missing => false,
            Self::Llvm(own) => llvm <= own,
            Self::Unknown => true,
        }
    }
}

/// The LLVM that `cargo install` was told to build bpf-linker with, from `.crates2.json`.
fn linker_llvm(crates2: &str) -> Option<u32> {
    let note: serde_json::Value = serde_json::from_str(crates2).ok()?;
    let installs = note.get("installs")?.as_object()?;
    let (_, entry) = installs.iter().find(|(id, _)| id.starts_with("bpf-linker "))?;
    let features = entry.get("features")?.as_array()?;
    features.iter().find_map(|feature| feature.as_str()?.strip_prefix("llvm-")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
        commit-date: 2026-05-25\nhost: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";

    #[test]
    fn release_and_llvm_are_read_from_rustc() {
        assert_eq!(RustcVersion::parse(DEBIAN), Some(RustcVersion { release: (1, 96), llvm: 22 }));
        let nightly = "release: 1.98.0-nightly\nLLVM version: 23.0\n";
        assert_eq!(RustcVersion::parse(nightly), Some(RustcVersion { release: (1, 98), llvm: 23 }));
    }

    #[test]
    fn a_compiler_without_llvm_or_release_is_none() {
        for text in ["", "release: 1.96.0\n", "LLVM version: 22.1.8\n", "release: new\nLLVM version: 22.1\n"]
        {
            assert_eq!(RustcVersion::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_compiler_without_its_library_source_does_not_count() {
        assert!(Compiler::probe(Path::new("/nonexistent/rustc"), None).is_none());
        // A directory that looks like a toolchain but has no source.
        assert!(Compiler::of_toolchain(Path::new("/usr/share")).is_none());
    }

    #[test]
    fn the_linkers_llvm_is_read_from_cargos_note() {
        let note = r#"{"installs":{"cargo-deny 1.0.0 (x)":{"features":["llvm-3"]},
            "bpf-linker 0.13.0 (registry)":{"features":["llvm-22"],"no_default_features":true}}}"#;
        assert_eq!(linker_llvm(note), Some(22));
        assert_eq!(linker_llvm(r#"{"installs":{"bpf-linker 0.13.0 (r)":{"features":[]}}}"#), None);
        assert_eq!(linker_llvm("not json"), None);
    }

    #[test]
    fn an_older_linker_is_refused() {
        assert!(Linker::Llvm(22).reads(22) && Linker::Llvm(23).reads(22) && Linker::Unknown.reads(22));
        assert!(!Linker::Llvm(21).reads(22) && !Linker::Missing.reads(22));
    }
}
