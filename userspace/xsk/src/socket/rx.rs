//! The receiving half of an AF_XDP port: receive ring, fill ring, and the frames of the UMEM.
//!
//! This half owns every chunk that is not on its way out. What the sending half gets back from the kernel comes
//! through a ring that has room for all chunks, so nothing on that way can be full or lost. Chunks are kept in a
//! stack: the one used last is still in the cache.
//!
//! ```text
//!          ┌────────── free (stack) ◄───────────┬──────────────┐
//!    refill▼                                    │recycle       │ returns
//!     fill ring ─► kernel ─► receive ring ─► Frame ─► sending half
//! ```
#![allow(unsafe_code, reason = "xsk-rs leaves to its caller what `ixp::frame` keeps: who owns which chunk")]

use std::{
    cell::Cell,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use ixp::{
    frame::{Desc, Frame, Umem},
    port::{Census, PortError, PortId, Receive, RxLosses},
    ring::Consumer,
};
use xsk_rs::{FillQueue, FrameDesc, RxQueue};

use super::{
    BURST,
    call::{Call, CallError},
    handle::SocketHandle,
    later::{Later, judge},
    statistics::Statistics,
    syscall,
};

/// The receiving half of an [`super::XskPort`].
///
/// # Invariants
/// Each chunk of `umem` is in exactly one place: `free`, with the kernel (`with_kernel` counts these), out as a
/// [`Frame`], or with the sending half.
pub struct XskReceive {
    // The rings come before the socket: they must be gone when it closes.
    queue: RxQueue,
    fill: FillQueue,
    socket: Arc<SocketHandle>,
    id: PortId,
    umem: Umem,
    /// One for each chunk, to name it to xsk-rs.
    descs: Box<[FrameDesc]>,
    chunk_shift: u32,
    data_offset: u32,
    free: Vec<u32>,
    with_kernel: u32,
    returns: Consumer<u32>,
    batch: Box<[FrameDesc; BURST]>,
    bad_descriptors: u64,
    waking: Waking,
    /// The last answer of the kernel, for when it gives none.
    statistics: Cell<Statistics>,
}

/// When the kernel's receiving side must be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waking {
    /// When it says so.
    WhenNeeded,
    /// At every empty look: our calls drive the device.
    Always,
}

/// What a receiving half is made of.
pub(crate) struct Parts {
    pub(crate) queue: RxQueue,
    pub(crate) fill: FillQueue,
    pub(crate) socket: Arc<SocketHandle>,
    pub(crate) id: PortId,
    pub(crate) umem: Umem,
    pub(crate) descs: Box<[FrameDesc]>,
    pub(crate) data_offset: u32,
    pub(crate) returns: Consumer<u32>,
    pub(crate) waking: Waking,
}

impl XskReceive {
    /// Puts the half together, all chunks free, and fills the fill ring.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { queue, fill, socket, id, umem, descs, data_offset, returns, waking } = parts;
        let geometry = umem.geometry();
        let mut half = Self {
            queue,
            fill,
            socket,
            id,
            umem,
            descs,
            chunk_shift: geometry.chunk.trailing_zeros(),
            data_offset,
            // Popped from the end: chunk 0 is used first.
            free: (0..geometry.frames).rev().collect(),
            with_kernel: 0,
            returns,
            batch: Box::new([FrameDesc::default(); BURST]),
            bad_descriptors: 0,
            waking,
            statistics: Cell::default(),
        };
        half.fill_ring();
        half
    }

    /// The socket.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The kernel's counters of this socket.
    ///
    /// # Errors
    /// The kernel refuses, which it does not do for an open socket.
    pub fn statistics(&self) -> Result<Statistics, CallError> {
        Statistics::read(self.socket.as_fd())
    }

    /// Takes at most [`BURST`] descriptors from the receive ring and makes frames of them.
    #[inline]
    fn take_burst(&mut self, into: &mut Vec<Frame>, max: usize) -> usize {
        let batch = &mut self.batch[..max];
        // SAFETY: this queue's descriptors name chunks of its own UMEM. What they say is not relied on: `claim`
        // judges every address and length.
        let taken = unsafe { self.queue.consume(batch) };
        self.with_kernel -= taken as u32;
        for desc in &batch[..taken] {
            let desc = Desc { addr: desc.addr() as u64, len: desc.lengths().data() as u32 };
            match self.umem.claim(desc) {
                Ok(frame) => into.push(frame),
                Err(_) => self.bad_descriptors += 1,
            }
        }
        taken
    }

    /// Moves free chunks to the fill ring, as many as it has room for.
    #[inline]
    fn fill_ring(&mut self) {
        while !self.free.is_empty() {
            let want = self.free.len().min(BURST);
            let room = self.fill.nb_free(want as u32) as usize;
            let rest = self.free.len() - want.min(room);
            let mut count = 0;
            for (slot, chunk) in self.batch.iter_mut().zip(self.free.drain(rest..).rev()) {
                *slot = self.descs[chunk as usize];
                count += 1;
            }
            if count == 0 {
                return;
            }
            // SAFETY: these chunks belong to this UMEM and were in `free`, so nothing else has them (type
            // invariant); there is room for all of them, so all are taken.
            self.with_kernel += unsafe { self.fill.produce(&self.batch[..count]) } as u32;
        }
    }

    #[inline]
    fn take_returns(&mut self) {
        self.returns.pop_burst(&mut self.free, usize::MAX);
    }

    fn wake(&self) -> Result<(), PortError> {
        match syscall::receive(self.socket.as_fd()) {
            Ok(()) => Ok(()),
            Err(errno) => judge(Call::Receive, errno).map(|_: Later| ()),
        }
    }
}

impl Receive for XskReceive {
    fn id(&self) -> PortId {
        self.id
    }

    #[inline]
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> Result<usize, PortError> {
        let before = into.len();
        let mut left = max;
        while 0 < left {
            let want = left.min(BURST);
            let taken = self.take_burst(into, want);
            left -= taken;
            if taken < want {
                break;
            }
        }
        if left == max && (self.waking == Waking::Always || self.fill.needs_wakeup()) {
            self.wake()?;
        }
        Ok(into.len() - before)
    }

    #[inline]
    fn recycle(&mut self, frame: Frame) {
        // A frame of another UMEM is dropped: its owner takes it up again.
        if frame.umem() == self.umem.id() {
            self.free.push((frame.into_desc().addr >> self.chunk_shift) as u32);
        }
    }

    #[inline]
    fn alloc(&mut self) -> Option<Frame> {
        if self.free.is_empty() {
            self.take_returns();
        }
        let chunk = self.free.pop()?;
        let addr = (u64::from(chunk) << self.chunk_shift) + u64::from(self.data_offset);
        // A free chunk is parked and the address is inside it, so this cannot fail.
        self.umem.claim(Desc { addr, len: 0 }).ok()
    }

    #[inline]
    fn refill(&mut self) -> Result<(), PortError> {
        self.take_returns();
        let Self { umem, free, chunk_shift, .. } = self;
        umem.reclaim_orphans(|addr| free.push((addr >> *chunk_shift) as u32));
        self.fill_ring();
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket())
    }

    fn memory_bytes(&self) -> u64 {
        self.descs.len() as u64 * u64::from(self.umem.geometry().chunk)
    }

    fn losses(&self) -> RxLosses {
        if let Ok(now) = self.statistics() {
            self.statistics.set(now);
        }
        let Statistics { rx_dropped, rx_ring_full, .. } = self.statistics.get();
        RxLosses { ring_full: rx_ring_full, no_buffer: rx_dropped, bad_descriptor: self.bad_descriptors }
    }

    fn census(&self) -> Census {
        let frames = self.umem.geometry().frames;
        let (free, fill, out) = (self.free.len() as u32, self.with_kernel, self.umem.out());
        Census { frames, free, fill, out, tx: frames.saturating_sub(free + fill + out) }
    }
}
