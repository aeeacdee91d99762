//! Why the loader stopped: one enum for all of it, because its callers do one thing with an error, they show it.
//!
//! Every message says what to do where something can be done.
use std::{io, path::PathBuf};

use super::{BpffsError, Difference, NameError, Occupant, XdpMode};

/// An error of the loader.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BpfError {
    /// The program was built without the eBPF object.
    #[error("the eBPF object is missing from this build: run `cargo xtask build`")]
    NoObject,
    /// The object lacks a program or a map that it must have.
    #[error("the eBPF object has no {name}")]
    Incomplete {
        /// The missing program or map.
        name: &'static str,
    },
    /// A map of the object or a pinned one is not what this version uses.
    #[error("map {name} differs from this version's: {difference}")]
    Shape {
        /// The map.
        name: &'static str,
        /// The first difference found.
        difference: Difference,
    },
    /// A pinned map is not what this version uses; nothing was touched.
    #[error("{} was made by another version ({difference}): stop that one with `octroi down` first", .path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// The first difference found.
        difference: Difference,
    },
    /// The instance's pins have no, or another, layout number; nothing was touched.
    #[error(
        "the pins in {} have {}, this version has layout {ours}: stop that one with `octroi down` first",
        .path.display(),
        .found.map_or_else(|| "no layout number".to_owned(), |number| format!("layout {number}"))
    )]
    Layout {
        /// The instance's directory.
        path: PathBuf,
        /// The pinned number, if there is one.
        found: Option<u32>,
        /// `abi::LAYOUT`.
        ours: u32,
    },
    /// Another XDP program is attached; it was not touched.
    #[error("interface {ifname} already has an XDP program: {occupant}; it was not touched, remove it first")]
    Occupied {
        /// The interface.
        ifname: String,
        /// The program.
        occupant: Occupant,
    },
    /// Our own pinned link is attached in another mode, which a link cannot change.
    #[error(
        "interface {ifname} is served in {attached} mode, {wanted} mode was asked for: `octroi down` first"
    )]
    Mode {
        /// The interface.
        ifname: String,
        /// The link's mode.
        attached: XdpMode,
        /// The mode asked for.
        wanted: XdpMode,
    },
    /// The pinned link serves another device: one that was renamed, or one of another network namespace.
    #[error("{} serves another device, with index {ifindex} in its network namespace: `octroi down` there first", .path.display())]
    ForeignLink {
        /// The pin.
        path: PathBuf,
        /// That device's index.
        ifindex: u32,
    },
    /// The interface cannot take an XDP program in this mode.
    #[error("interface {ifname} refused the program in {mode} mode")]
    Attach {
        /// The interface.
        ifname: String,
        /// The mode asked for.
        mode: XdpMode,
        /// What the kernel said.
        source: io::Error,
    },
    /// The link did not take another program; the old one is still attached.
    #[error("interface {ifname} kept its program")]
    Replace {
        /// The interface.
        ifname: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no bpffs.
    #[error(transparent)]
    Bpffs(#[from] BpffsError),
    /// A name that cannot be a directory in bpffs.
    #[error(transparent)]
    Name(#[from] NameError),
    /// aya could not load the object.
    #[error("loading the eBPF object failed")]
    Load(#[source] Box<aya::EbpfError>),
    /// A program operation failed.
    #[error("eBPF program {name}")]
    Program {
        /// The program.
        name: &'static str,
        /// What aya said; the verifier's log is part of it.
        source: Box<aya::programs::ProgramError>,
    },
    /// A map operation failed.
    #[error("eBPF map {name}")]
    Map {
        /// The map.
        name: &'static str,
        /// What aya said.
        source: Box<aya::maps::MapError>,
    },
    /// A system call failed.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file operation in bpffs failed.
    #[error("{}", .path.display())]
    Path {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl BpfError {
    pub(super) fn map(name: &'static str, source: impl Into<aya::maps::MapError>) -> Self {
        Self::Map { name, source: Box::new(source.into()) }
    }

    pub(super) fn program(name: &'static str, source: impl Into<aya::programs::ProgramError>) -> Self {
        Self::Program { name, source: Box::new(source.into()) }
    }

    pub(super) fn path(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Path { path: path.into(), source }
    }
}
