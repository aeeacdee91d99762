//! What each failure is for a C program: a number of errno(3), the daemon's codes being errno's names already.
//!
//! It refuses to lose a distinction that a program could act on; what only people could, `detail`, stays in the daemon's
//! log.
use std::io;

use nix::errno::Errno;

use super::super::{
    control::{
        answer::ReplyError,
        connection::{CallError, ConnectError},
        refusal::{Code, Refusal},
    },
    shm::region::RegionError,
    stack::{OpenError, RegisterError},
};

/// A failure that has a number.
pub(super) trait Numbered {
    /// The number.
    fn errno(&self) -> Errno;
}

impl Numbered for Refusal {
    fn errno(&self) -> Errno {
        match self.code {
            Code::Einval => Errno::EINVAL,
            Code::Eproto => Errno::EPROTO,
            Code::Eacces => Errno::EACCES,
            Code::Enoent => Errno::ENOENT,
            Code::Estale => Errno::ESTALE,
            Code::Ebusy => Errno::EBUSY,
            Code::Eaddrinuse => Errno::EADDRINUSE,
            Code::Eaddrnotavail => Errno::EADDRNOTAVAIL,
            Code::Enetdown => Errno::ENETDOWN,
            Code::Enospc => Errno::ENOSPC,
            Code::Eio => Errno::EIO,
        }
    }
}

impl Numbered for ConnectError {
    fn errno(&self) -> Errno {
        match self {
            Self::NoDaemon { .. } => Errno::ECONNREFUSED,
            Self::Denied { .. } => Errno::EACCES,
            Self::Socket { source, .. } => source.errno(),
        }
    }
}

impl Numbered for CallError {
    fn errno(&self) -> Errno {
        match self {
            Self::Reply(ReplyError::Refused(refusal)) => refusal.errno(),
            Self::Request(_) => Errno::EINVAL,
            Self::Reply(_) | Self::Pages | Self::Events => Errno::EPROTO,
            Self::Timeout => Errno::ETIMEDOUT,
            Self::Closed => Errno::ENOTCONN,
            Self::Socket(source) => source.errno(),
        }
    }
}

impl Numbered for OpenError {
    fn errno(&self) -> Errno {
        match self {
            Self::Call(error) => error.errno(),
            Self::Regions(RegionError::Region(region::RegionError::Kernel { source, .. })) => *source,
            Self::Regions(_) | Self::Descriptors { .. } => Errno::EPROTO,
        }
    }
}

impl Numbered for RegisterError {
    fn errno(&self) -> Errno {
        match self {
            Self::Call(error) => error.errno(),
            Self::Disconnected => Errno::ENOTCONN,
        }
    }
}

impl Numbered for io::Error {
    fn errno(&self) -> Errno {
        self.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_number_that_its_code_names() {
        for code in Code::ALL {
            let errno = code.because("x").errno();
            assert_eq!(format!("{errno:?}"), code.name());
        }
    }
}
