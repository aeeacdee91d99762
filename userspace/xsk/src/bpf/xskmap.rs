//! The sockets of an interface: receive queue → AF_XDP socket.
//!
//! The kernel removes an entry when its socket closes, and redirects only to a socket bound to the same device and
//! queue; neither is checked here.
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{MapData, XskMap};

use super::{BpfError, MapShape, map::Map};

const NAME: &str = MapShape::XSKS.name;

/// A handle on an interface's sockets.
pub struct QueueSockets {
    map: XskMap<MapData>,
}

impl QueueSockets {
    pub(super) fn new(map: &Map) -> Result<Self, BpfError> {
        Self::from_aya(map.handle()?)
    }

    pub(super) fn from_aya(map: aya::maps::Map) -> Result<Self, BpfError> {
        let map = XskMap::try_from(map).map_err(|error| BpfError::map(NAME, error))?;
        Ok(Self { map })
    }

    /// Redirects claimed frames of `queue` to `socket`, from the next frame on.
    ///
    /// # Errors
    /// `queue` is not below `abi::pins::MAX_QUEUES`, or `socket` is no AF_XDP socket.
    pub fn set(&mut self, queue: u32, socket: impl AsFd) -> Result<(), BpfError> {
        let fd = socket.as_fd().as_raw_fd();
        self.map.set(queue, fd, 0).map_err(|error| BpfError::map(NAME, error))
    }

    /// Leaves `queue` without a socket: claimed frames follow their target's crash policy.
    ///
    /// # Errors
    /// `queue` is not below `abi::pins::MAX_QUEUES`. A queue without a socket is no error.
    pub fn clear(&mut self, queue: u32) -> Result<(), BpfError> {
        match self.map.unset(queue) {
            Err(aya::maps::MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
            {
                Ok(())
            }
            other => other.map_err(|error| BpfError::map(NAME, error)),
        }
    }
}
