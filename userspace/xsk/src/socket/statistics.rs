//! What the kernel counts for one AF_XDP socket.
//!
//! These are losses *before* the engine saw a packet, and they die with the socket: [`super::LastStatistics`] keeps
//! the last ones. `rx_dropped` already has what `fill_ring_empty` has: the two are never added.
use std::os::fd::BorrowedFd;

use super::{call::CallError, syscall};

/// `XDP_STATISTICS`, under the kernel's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Dropped on receiving, other than for a full ring: mostly that the fill ring was empty, or that a packet was
    /// longer than a chunk.
    pub rx_dropped: u64,
    /// Descriptors on the fill ring that named no chunk.
    pub rx_invalid_descs: u64,
    /// Descriptors on the transmit ring that named no packet.
    pub tx_invalid_descs: u64,
    /// Dropped on receiving because the receive ring was full.
    pub rx_ring_full: u64,
    /// How often the kernel found the fill ring empty; each is in `rx_dropped` too.
    pub rx_fill_ring_empty: u64,
    /// How often the kernel found the transmit ring empty: no loss.
    pub tx_ring_empty: u64,
}

impl Statistics {
    /// Asks the kernel.
    pub(crate) fn read(fd: BorrowedFd<'_>) -> Result<Self, CallError> {
        let kernel = syscall::xdp_statistics(fd)?;
        Ok(Self {
            rx_dropped: kernel.rx_dropped,
            rx_invalid_descs: kernel.rx_invalid_descs,
            tx_invalid_descs: kernel.tx_invalid_descs,
            rx_ring_full: kernel.rx_ring_full,
            rx_fill_ring_empty: kernel.rx_fill_ring_empty_descs,
            tx_ring_empty: kernel.tx_ring_empty_descs,
        })
    }
}
