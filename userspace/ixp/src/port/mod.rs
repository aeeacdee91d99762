//! Ports: where frames come from and go to, each cut into a receiving and a sending half.
//!
//! A port that serves AF_XDP, a pcap file or plain memory looks the same to an engine. The halves can live on two
//! cores (layout `pipeline`) or on one (`run-to-completion`); what the sending half gets back from the wire travels
//! to the receiving half inside the port, so no engine ever sees a completed frame.
pub mod fault;
pub mod memory;
pub mod pcap;
pub mod pool;
pub mod source;

use std::{fmt, os::fd::BorrowedFd};

use thiserror::Error;

use crate::frame::Frame;

/// Number of a port: one (interface, queue) pair, a file, or a memory port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(u16);

impl PortId {
    /// The port with number `id`.
    #[must_use]
    pub const fn new(id: u16) -> Self {
        Self(id)
    }

    /// As an index into tables of ports.
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A port that can be cut into its halves.
pub trait Port: Send + 'static {
    /// The receiving half.
    type Rx: Receive;
    /// The sending half.
    type Tx: Transmit;

    /// Cuts the port. Both halves together are the port: it closes when both are dropped.
    fn split(self) -> (Self::Rx, Self::Tx);
}

/// What went wrong with a port for good; the engine gives the port up and reports it.
#[derive(Debug, Error)]
pub enum PortError {
    /// The device behind the port went away or is down.
    #[error("the device is gone or down")]
    Gone,
    /// There was an end, and it is reached: the last packet of a file has been received.
    #[error("the end is reached")]
    Ended,
    /// The kernel refused a call that must not fail.
    #[error("{call}: {source}")]
    Kernel {
        /// The system call.
        call: &'static str,
        /// What it said.
        source: std::io::Error,
    },
}

/// Counters that only the port knows, since start. Losses here happened *before* the engine saw the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxLosses {
    /// Dropped by the kernel because the receive ring was full.
    pub ring_full: u64,
    /// Dropped by the kernel because the fill ring was empty, or for another reason of its own.
    pub no_buffer: u64,
    /// Descriptors that named no frame of ours.
    pub bad_descriptor: u64,
}

/// Where the chunks of a port's UMEM are. `free + fill + out + tx = frames` at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All chunks.
    pub frames: u32,
    /// In the port's own free list.
    pub free: u32,
    /// With the kernel for receiving: fill ring and receive ring.
    pub fill: u32,
    /// Frames that somebody here holds.
    pub out: u32,
    /// With the kernel for sending: transmit ring and completion ring, and on the way back.
    pub tx: u32,
}

impl Census {
    /// Chunks that are nowhere: 0, or a frame was lost (above) or is in two places (below).
    #[must_use]
    pub fn missing(&self) -> i64 {
        let known = [self.free, self.fill, self.out, self.tx].map(i64::from);
        i64::from(self.frames) - known.iter().sum::<i64>()
    }
}

/// The receiving half.
pub trait Receive: Send + 'static {
    /// Which port this is.
    fn id(&self) -> PortId;

    /// Appends at most `max` received frames to `into`, in order of arrival, and returns how many.
    ///
    /// # Errors
    /// [`PortError`] if nothing will ever be received again.
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> Result<usize, PortError>;

    /// Takes a frame of this port back, to receive into it again.
    ///
    /// A frame of another port is dropped, which gives it back to its own (see [`crate::frame`]).
    fn recycle(&mut self, frame: Frame);

    /// Takes a whole burst back, as [`Receive::recycle`] does.
    fn recycle_all(&mut self, frames: &mut Vec<Frame>) {
        frames.drain(..).for_each(|frame| self.recycle(frame));
    }

    /// A fresh frame to be filled and sent: length 0, room for metadata before it. `None` if all are in use.
    fn alloc(&mut self) -> Option<Frame>;

    /// Publishes what was recycled and takes in what the sending half got back. Once per batch.
    ///
    /// # Errors
    /// [`PortError`] if the port is gone.
    fn refill(&mut self) -> Result<(), PortError>;

    /// Becomes readable when frames wait; `None` if the port never waits (a file, memory).
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Bytes of packet memory behind the port; chunks of 2048 unless it says otherwise.
    fn memory_bytes(&self) -> u64 {
        u64::from(self.census().frames) * 2048
    }

    /// Losses before the engine, since start.
    fn losses(&self) -> RxLosses;

    /// Where this port's chunks are, as far as this half knows: `tx` is what it has not got back.
    fn census(&self) -> Census;
}

/// The sending half.
pub trait Transmit: Send + 'static {
    /// Which port this is.
    fn id(&self) -> PortId;

    /// Hands a frame to the wire.
    ///
    /// A frame of another port's UMEM is copied or refused, as the implementation documents.
    ///
    /// # Errors
    /// The frame comes back if there is no room now: if it [`Transmit::fits`], try again after [`Transmit::flush`].
    fn send(&mut self, frame: Frame) -> Result<(), Frame>;

    /// Whether there can ever be room for the frame: what does not fit is to be dropped, not tried again. Asked only
    /// once [`Transmit::send`] has handed it back.
    fn fits(&self, _frame: &Frame) -> bool {
        true
    }

    /// Kicks what was sent and passes completed frames to the receiving half. Once per batch; never blocks.
    ///
    /// # Errors
    /// [`PortError`] if the port is gone.
    fn flush(&mut self) -> Result<(), PortError>;

    /// Frames handed in that the wire has not taken yet: while not 0, the engine must come back to `flush`.
    fn pending(&self) -> usize;
}
