//! The eBPF objects: what the build embedded, or a file.
//!
//! An object is only bytes here; nothing is loaded, and nothing is believed, before `load`.
use std::{borrow::Cow, fs, path::Path};

use aya::include_bytes_aligned;

use super::BpfError;

static DAEMON: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/octroi-xdp"));
static LAB: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/octroi-xdp-lab"));

/// The object with `ingress` and `steer`.
#[derive(Clone, Debug)]
pub struct Object(Cow<'static, [u8]>);

impl Object {
    /// The object that this program was built with.
    ///
    /// # Errors
    /// [`BpfError::NoObject`] if there was none.
    pub fn embedded() -> Result<Self, BpfError> {
        if DAEMON.is_empty() { Err(BpfError::NoObject) } else { Ok(Self(Cow::Borrowed(DAEMON))) }
    }

    /// An object from a file: another release's, in tests of up- and downgrade.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, BpfError> {
        fs::read(path).map(|bytes| Self(Cow::Owned(bytes))).map_err(|error| BpfError::path(path, error))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The object with programs for benches and tests.
#[derive(Clone, Copy, Debug)]
pub struct LabObject(&'static [u8]);

impl LabObject {
    /// The object that this program was built with.
    ///
    /// # Errors
    /// [`BpfError::NoObject`] if there was none.
    pub fn embedded() -> Result<Self, BpfError> {
        if LAB.is_empty() { Err(BpfError::NoObject) } else { Ok(Self(LAB)) }
    }

    pub(super) fn bytes(self) -> &'static [u8] {
        self.0
    }
}
