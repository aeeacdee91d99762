//! The frames of a port that no kernel is behind: a UMEM in heap memory, its free list, and the way back to it.
//!
//! It gives out empty frames and takes them back; it knows no packets. Its sums are what [`Census`] shows.
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use thiserror::Error;

use super::{Census, PortId};
use crate::{
    frame::{Desc, Frame, Geometry, HeapBacking, Umem, UmemError, UmemId},
    ring::{Consumer, Producer, RingSize, ring},
};

/// Bytes before the packet in each chunk: what AF_XDP keeps free, and room for metadata.
pub const HEADROOM: u64 = 256 + 16;

/// Why a port's frames cannot be made.
#[derive(Debug, Error, PartialEq)]
pub enum PoolError {
    /// Its UMEM cannot be made.
    #[error(transparent)]
    Umem(#[from] UmemError),
    /// A ring of its size cannot be made.
    #[error(transparent)]
    Ring(#[from] RingSize),
    /// A chunk has no room for a packet.
    #[error("chunks of {given} bytes hold no packet behind {limit} bytes of headroom")]
    Chunk {
        /// Bytes of a chunk.
        given: u32,
        /// [`HEADROOM`].
        limit: u64,
    },
    /// There is not enough memory.
    #[error("no memory for {bytes} bytes of frames")]
    NoMemory {
        /// Bytes wanted.
        bytes: u64,
    },
    /// Its descriptor to wait on could not be made.
    #[error("eventfd: {0}")]
    Bell(#[from] nix::Error),
}

/// The receiving half's store of frames.
pub(super) struct Pool {
    umem: Umem,
    free: Vec<u64>,
    back: Consumer<Frame>,
    under_way: UnderWay,
}

/// Counts a pool's frames on their way out and back: held by whoever sends them.
#[derive(Clone, Debug)]
pub(super) struct UnderWay {
    umem: UmemId,
    count: Arc<AtomicU32>,
}

impl UnderWay {
    /// Whether the frame is one of this pool's.
    pub(super) fn owns(&self, frame: &Frame) -> bool {
        frame.umem() == self.umem
    }

    /// A frame of the pool goes out. To be called before it can come back.
    pub(super) fn leaves(&self, frame: &Frame) {
        if self.owns(frame) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A frame of the pool did not go out after all, or will not come back this way.
    pub(super) fn stays(&self) {
        self.return_all(1);
    }

    fn return_all(&self, frames: u32) {
        self.count.fetch_sub(frames, Ordering::Relaxed);
    }
}

impl Pool {
    /// A full pool, and the way back for frames that were sent.
    pub(super) fn new(
        id: PortId,
        geometry: Geometry,
        slots: usize,
    ) -> Result<(Self, Producer<Frame>), PoolError> {
        let Geometry { chunk, frames } = geometry;
        if u64::from(chunk) <= HEADROOM {
            return Err(PoolError::Chunk { given: chunk, limit: HEADROOM });
        }
        let bytes = u64::from(chunk) * u64::from(frames);
        let backing = HeapBacking::new(geometry).ok_or(PoolError::NoMemory { bytes })?;
        let umem = Umem::new(Box::new(backing), geometry, id)?;
        let (way, back) = ring(slots)?;
        // The lowest chunk is used first.
        let free = (0..frames).rev().map(|c| u64::from(c) * u64::from(chunk)).collect();
        let under_way = UnderWay { umem: umem.id(), count: Arc::default() };
        Ok((Self { umem, free, back, under_way }, way))
    }

    pub(super) fn under_way(&self) -> UnderWay {
        self.under_way.clone()
    }

    /// Most bytes that a packet can have.
    pub(super) fn capacity(&self) -> usize {
        self.umem.geometry().chunk as usize - HEADROOM as usize
    }

    /// An empty frame.
    #[inline]
    pub(super) fn alloc(&mut self) -> Option<Frame> {
        let addr = self.free.pop()?;
        self.umem.claim(Desc { addr: addr + HEADROOM, len: 0 }).ok()
    }

    /// Takes a frame back; one of another pool is dropped, which gives it back to its own.
    #[inline]
    pub(super) fn recycle(&mut self, frame: Frame) {
        if self.under_way.owns(&frame) {
            self.park(frame);
        }
    }

    #[inline]
    fn park(&mut self, frame: Frame) {
        self.free.push(frame.into_chunk());
    }

    /// Takes in what came back from the wire, and what was dropped somewhere.
    pub(super) fn take_back(&mut self) {
        let mut frames = 0;
        while let Some(frame) = self.back.pop() {
            self.park(frame);
            frames += 1;
        }
        if frames != 0 {
            self.under_way.return_all(frames);
        }
        let Self { umem, free, .. } = self;
        umem.reclaim_orphans(|addr| free.push(addr));
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let Geometry { chunk, frames } = self.umem.geometry();
        u64::from(chunk) * u64::from(frames)
    }

    /// Where the chunks are, `fill` of them waiting for packets outside and `spare` set aside by the port.
    pub(super) fn census(&self, fill: u32, spare: u32) -> Census {
        let tx = self.under_way.count.load(Ordering::Relaxed);
        Census {
            frames: self.umem.geometry().frames,
            free: self.free.len() as u32 + spare,
            fill,
            out: self.umem.out().saturating_sub(fill + spare + tx),
            tx,
        }
    }
}
