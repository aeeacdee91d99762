//! The layout of pins: one directory per instance, one below it per interface.
//!
//! It refuses names that bpffs would refuse, or that would leave the directory they belong in.
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use abi::pins;

use super::{BpfError, Bpffs};

/// Longest instance name.
const INSTANCE_NAME_MAX: usize = 32;
/// Longest interface name, `IFNAMSIZ` less the NUL.
const INTERFACE_NAME_MAX: usize = 15;

/// The name of an instance: 1 to 32 of `a-z 0-9 - _`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstanceName(String);

/// A name that cannot be a directory of pins.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Not an instance name.
    #[error("\"{given}\" is no instance name: 1 to {INSTANCE_NAME_MAX} of a-z 0-9 - _")]
    Instance {
        /// What was given.
        given: String,
    },
    /// Not an interface name.
    #[error("\"{given}\" is no interface name")]
    Interface {
        /// What was given.
        given: String,
    },
}

impl FromStr for InstanceName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let legal = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if (1..=INSTANCE_NAME_MAX).contains(&name.len()) && name.bytes().all(legal) {
            Ok(Self(name.into()))
        } else {
            Err(NameError::Instance { given: name.into() })
        }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The directory of one instance's pins.
#[derive(Clone, Debug)]
pub(super) struct InstanceDir(PathBuf);

impl InstanceDir {
    pub(super) fn of(bpffs: &Bpffs, name: &InstanceName) -> Self {
        Self(bpffs.root().join(&name.0))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn pin(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn create(&self) -> Result<(), BpfError> {
        create(&self.0)
    }

    /// Removes the instance's own pins and its directory; there must be no interface left in it.
    pub(super) fn remove(&self) -> Result<(), BpfError> {
        for name in [pins::COUNTERS, pins::FRAGS, pins::STEER, pins::LAYOUT] {
            remove_pin(&self.pin(name))?;
        }
        remove_dir(&self.0)
    }

    pub(super) fn interface(&self, ifname: &str) -> Result<InterfaceDir, NameError> {
        let illegal = |c: char| c == '/' || c == ':' || c.is_whitespace();
        let refused = ifname.is_empty() || ifname.len() > INTERFACE_NAME_MAX || ifname.contains(illegal);
        if refused || ifname == "." || ifname == ".." {
            return Err(NameError::Interface { given: ifname.into() });
        }
        // bpffs refuses dots in names, as in eth0.100; no interface name may contain a colon.
        Ok(InterfaceDir(self.0.join(ifname.replace('.', ":"))))
    }
}

/// The directory of one interface's pins.
#[derive(Clone, Debug)]
pub struct InterfaceDir(PathBuf);

impl InterfaceDir {
    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn pin(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn create(&self) -> Result<(), BpfError> {
        create(&self.0)
    }

    /// Removes every pin and the directory. The link goes first: nothing may run on maps that are gone.
    pub(super) fn remove(&self) -> Result<(), BpfError> {
        for name in [pins::LINK, pins::JUMP, pins::XSKS, pins::PORT] {
            remove_pin(&self.pin(name))?;
        }
        remove_dir(&self.0)
    }
}

fn create(path: &Path) -> Result<(), BpfError> {
    fs::create_dir_all(path).map_err(|error| BpfError::path(path, error))
}

/// Removes one pin, which may be gone already.
pub(super) fn remove_pin(path: &Path) -> Result<(), BpfError> {
    absent_is_fine(fs::remove_file(path)).map_err(|error| BpfError::path(path, error))
}

fn remove_dir(path: &Path) -> Result<(), BpfError> {
    absent_is_fine(fs::remove_dir(path)).map_err(|error| BpfError::path(path, error))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_name_stays_in_its_directory() {
        for name in ["main", "a", "lab-7_x", &"x".repeat(INSTANCE_NAME_MAX)] {
            assert_eq!(name.parse::<InstanceName>().map(|n| n.to_string()).as_deref(), Ok(name));
        }
        for name in ["", "..", "a/b", "a.b", "Main", "ä", &"x".repeat(INSTANCE_NAME_MAX + 1)] {
            assert_eq!(name.parse::<InstanceName>(), Err(NameError::Instance { given: name.into() }));
        }
    }

    #[test]
    fn an_interface_name_with_a_dot_gets_a_directory_that_bpffs_allows() {
        let dir = InstanceDir(PathBuf::from("/x"));
        let path = |name: &str| dir.interface(name).map(|d| d.path().to_owned());
        assert_eq!(path("eth0.100"), Ok(PathBuf::from("/x/eth0:100")));
        assert_eq!(path("veth1"), Ok(PathBuf::from("/x/veth1")));
        for name in ["", ".", "..", "a/b", "a:b", "a b", "sixteen-letters-"] {
            assert_eq!(path(name), Err(NameError::Interface { given: name.into() }));
        }
    }
}
