//! The two kinds of region, and the seals that make each what it is.
//!
//! It refuses to take the kernel's word for granted: seals are read back, by whoever sets them and by whoever maps.
use std::os::fd::OwnedFd;

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

use crate::{RegionError, kernel};

/// Which way a region goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Written by the daemon, read by the application.
    Down,
    /// Written by the application.
    Up,
}

impl Direction {
    fn seals(self) -> SealFlag {
        let both = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        match self {
            Self::Down => both | SealFlag::F_SEAL_FUTURE_WRITE,
            Self::Up => both,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Down => "octroi-down",
            Self::Up => "octroi-up",
        }
    }

    /// A file for such a region, empty and not sealed yet.
    pub(crate) fn file(self) -> Result<OwnedFd, RegionError> {
        // Never huge pages: a hole in them would be a fault where the host has no more, and not a page of zeros.
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        memfd_create(self.name(), flags).map_err(kernel("memfd_create"))
    }

    /// Seals a file as this kind is sealed.
    pub(crate) fn seal(self, fd: &OwnedFd) -> Result<(), RegionError> {
        fcntl(fd, FcntlArg::F_ADD_SEALS(self.seals())).map_err(kernel("F_ADD_SEALS"))?;
        self.check(fd)
    }

    /// Checks that a file has the seals of this kind.
    pub(crate) fn check(self, fd: &OwnedFd) -> Result<(), RegionError> {
        let wanted = self.seals().bits();
        let given = fcntl(fd, FcntlArg::F_GET_SEALS).map_err(kernel("F_GET_SEALS"))?;
        if given & wanted == wanted { Ok(()) } else { Err(RegionError::Seals { given, wanted }) }
    }
}
