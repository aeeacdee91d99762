//! The socket of a port, shared by its halves, and how it is let go of.
//!
//! libxdp keeps the first socket's descriptor open until the UMEM is deleted, and the UMEM lives as long as a frame
//! of it is out. A frame that somebody forgot would so keep the device's queue taken for as long as the process
//! runs. Therefore the last half to go, its rings unmapped, makes the descriptor refer to an eventfd that nobody
//! has: the queue is free, and the forgotten frame still has its memory.
#![allow(unsafe_code, reason = "xsk-rs gives the descriptor as a number")]

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::{Arc, OnceLock},
};

use super::{statistics::Statistics, syscall};

/// An open AF_XDP socket.
///
/// # Invariants
/// `fd` stays open while `_memory` lives. Every ring of the socket is dropped before this: whoever holds rings
/// declares them before the handle.
pub(crate) struct SocketHandle {
    fd: RawFd,
    last: Arc<OnceLock<Statistics>>,
    _memory: xsk_rs::Umem,
}

/// The counters of a socket when it closed. The kernel forgets them with the socket; this does not.
#[derive(Clone, Debug, Default)]
pub struct LastStatistics(Arc<OnceLock<Statistics>>);

impl LastStatistics {
    /// The counters, once both halves of the port are gone.
    #[must_use]
    pub fn get(&self) -> Option<Statistics> {
        self.0.get().copied()
    }
}

impl SocketHandle {
    /// Takes note of the socket behind `fd`, the UMEM's own, which `memory` keeps open.
    pub(crate) fn new(fd: &xsk_rs::socket::Fd, memory: &xsk_rs::Umem) -> Self {
        Self { fd: fd.as_raw_fd(), last: Arc::default(), _memory: memory.clone() }
    }

    /// Where the counters will be found after the socket.
    pub(crate) fn last_statistics(&self) -> LastStatistics {
        LastStatistics(Arc::clone(&self.last))
    }
}

impl AsFd for SocketHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: libxdp closes this descriptor when it deletes the UMEM, and `_memory` prevents that for at least
        // as long as `self` is borrowed (type invariant).
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for SocketHandle {
    fn drop(&mut self) {
        if let Ok(statistics) = Statistics::read(self.as_fd()) {
            // Set once: this is the only place, and it runs once.
            let _ = self.last.set(statistics);
        }
        // Without a free descriptor the queue is freed a little later, with the UMEM.
        let _ = syscall::let_go(self.fd);
    }
}
