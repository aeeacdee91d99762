//! A UMEM: the memory that frames live in, who has each of its chunks, and the one value that makes frames of them.
#![allow(unsafe_code, reason = "chunk addresses become pointers here; see the text of `frame`")]

use std::{
    fmt,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

use thiserror::Error;

use super::Frame;
use crate::port::PortId;

/// Whose a chunk is; the text of [`frame`](super) says what these mean.
const PARKED: u8 = 0;
const OUT: u8 = 1;
const ORPHANED: u8 = 2;

/// Largest UMEM: chunk numbers must fit the rings that carry them.
pub const MAX_CHUNKS: u32 = 1 << 20;

/// The memory behind a UMEM.
///
/// # Safety
/// From construction until drop, `base()..base() + size()` is one allocation, readable and writable, and touched by
/// nobody but the kernel's AF_XDP and the frames of the one [`Umem`] that owns this value. Both methods always
/// return the same. `base()` is aligned to at least 64 bytes.
pub unsafe trait Backing: Send + Sync {
    /// First byte of the region.
    fn base(&self) -> NonNull<u8>;
    /// Bytes in the region.
    fn size(&self) -> usize;
}

/// How a UMEM is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of one chunk, a power of two: 2048 or 4096 with AF_XDP.
    pub chunk: u32,
    /// Number of chunks.
    pub frames: u32,
}

/// Why a UMEM cannot be made.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UmemError {
    /// The chunk size is not a power of two from 256 to 65536 bytes.
    #[error("chunk size {given} is not a power of two from 256 to 65536")]
    Chunk {
        /// What was asked for.
        given: u32,
    },
    /// No frames, or more than [`MAX_CHUNKS`].
    #[error("{given} frames asked, 1 to {limit} are possible")]
    Frames {
        /// What was asked for.
        given: u32,
        /// [`MAX_CHUNKS`].
        limit: u32,
    },
    /// The region is smaller than its chunks.
    #[error("the region has {given} bytes, its chunks need {need}")]
    TooSmall {
        /// Bytes in the region.
        given: usize,
        /// Bytes needed.
        need: usize,
    },
}

/// Why a descriptor is not a frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ClaimError {
    /// The address lies outside the UMEM.
    #[error("address {addr:#x} lies outside the UMEM")]
    OutOfRange {
        /// The descriptor's address.
        addr: u64,
    },
    /// The data would cross the end of its chunk.
    #[error("{len} bytes at address {addr:#x} cross the end of the chunk")]
    CrossesChunk {
        /// The descriptor's address.
        addr: u64,
        /// The descriptor's length.
        len: u32,
    },
    /// The chunk is already out: the address was named twice.
    #[error("the chunk of address {addr:#x} is in use already")]
    InUse {
        /// The descriptor's address.
        addr: u64,
    },
}

/// A place in a UMEM as AF_XDP writes it: byte offset of the data and its length.
///
/// Plain data. Holding one gives no access: only [`Umem::claim`] makes a [`Frame`] of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desc {
    /// Offset of the first data byte from the UMEM's start.
    pub addr: u64,
    /// Bytes of data.
    pub len: u32,
}

/// Which UMEM a frame lives in: different for every [`Umem`] that this process ever makes.
///
/// A port number cannot serve for it: a port that is closed and opened again keeps its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UmemId(u64);

impl UmemId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a [`Umem`] and its frames share.
pub(super) struct Shared {
    /// Held for its drop only: it frees the region.
    _backing: Box<dyn Backing>,
    base: NonNull<u8>,
    pub(super) chunk: u32,
    chunk_shift: u32,
    frames: u32,
    pub(super) id: UmemId,
    pub(super) port: PortId,
    state: Box<[AtomicU8]>,
    orphans: AtomicU32,
}

/// The one owner of a UMEM: the only value that turns parked chunks into frames.
///
/// # Invariants
/// There is one `Umem` per region and it is not `Clone`. Dropping it frees the region unless frames are still out;
/// then the region is left allocated for them, and for good: a frame outlives its port only by a bug, and a leak
/// is the harmless way to have it.
pub struct Umem {
    shared: NonNull<Shared>,
}

// SAFETY: `Shared` is only shared data: `Backing` is Send + Sync by its bound, the states are atomics, and chunk
// bytes are reached through `Frame`s alone, each of which is the only one of its chunk.
unsafe impl Send for Umem {}

impl Shared {
    /// Parks a chunk whose frame is given back, and says where it begins.
    #[inline]
    pub(super) fn park(&self, chunk: u32) -> u64 {
        // Reckoned first: once the state is stored the `Umem` may be gone, and with it what is shared.
        let begin = u64::from(chunk) << self.chunk_shift;
        if let Some(state) = self.state.get(chunk as usize) {
            // Release: whoever claims this chunk next sees what its frame wrote.
            state.store(PARKED, Ordering::Release);
        }
        begin
    }

    /// Notes that a chunk's frame was dropped.
    pub(super) fn orphan(&self, chunk: u32) {
        if let Some(state) = self.state.get(chunk as usize) {
            // Counted first: once the state is stored the `Umem` may be gone.
            self.orphans.fetch_add(1, Ordering::Relaxed);
            state.store(ORPHANED, Ordering::Release);
        }
    }
}

impl Umem {
    /// Cuts `backing` into chunks, all parked, that belong to `port`.
    ///
    /// # Errors
    /// [`UmemError`] if the geometry is impossible or the region too small for it.
    pub fn new(backing: Box<dyn Backing>, geometry: Geometry, port: PortId) -> Result<Self, UmemError> {
        let Geometry { chunk, frames } = geometry;
        if !chunk.is_power_of_two() || !(256..=65_536).contains(&chunk) {
            return Err(UmemError::Chunk { given: chunk });
        }
        if frames == 0 || MAX_CHUNKS < frames {
            return Err(UmemError::Frames { given: frames, limit: MAX_CHUNKS });
        }
        let need = chunk as usize * frames as usize;
        if backing.size() < need {
            return Err(UmemError::TooSmall { given: backing.size(), need });
        }
        let shared = Box::new(Shared {
            base: backing.base(),
            _backing: backing,
            chunk,
            chunk_shift: chunk.trailing_zeros(),
            frames,
            id: UmemId::next(),
            port,
            state: (0..frames).map(|_| AtomicU8::new(PARKED)).collect(),
            orphans: AtomicU32::new(0),
        });
        Ok(Self { shared: NonNull::from(Box::leak(shared)) })
    }

    /// Which UMEM this is.
    #[must_use]
    pub fn id(&self) -> UmemId {
        self.shared().id
    }

    /// How the region is cut.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        let shared = self.shared();
        Geometry { chunk: shared.chunk, frames: shared.frames }
    }

    /// Makes the frame that `desc` names.
    ///
    /// # Errors
    /// [`ClaimError`] if the address is out of range, crosses its chunk, or is out already: all three mean that
    /// whoever wrote the descriptor is wrong, and leave the UMEM as it was.
    #[inline]
    pub fn claim(&mut self, desc: Desc) -> Result<Frame, ClaimError> {
        let shared = self.shared();
        let chunk = desc.addr >> shared.chunk_shift;
        let Some(state) = usize::try_from(chunk).ok().and_then(|c| shared.state.get(c)) else {
            return Err(ClaimError::OutOfRange { addr: desc.addr });
        };
        let start = (desc.addr & u64::from(shared.chunk - 1)) as u32;
        if shared.chunk - start < desc.len || u32::from(u16::MAX) < desc.len {
            return Err(ClaimError::CrossesChunk { addr: desc.addr, len: desc.len });
        }
        // A plain load and store: `&mut self` is the only way from PARKED to OUT. Acquire pairs with the Release
        // in `Shared::park`, so bytes written by the frame's last holder are visible to its next.
        if state.load(Ordering::Acquire) != PARKED {
            return Err(ClaimError::InUse { addr: desc.addr });
        }
        state.store(OUT, Ordering::Relaxed);
        // SAFETY: `desc.addr` lies inside chunk `chunk < frames`, hence inside the region (checked in `new`).
        let data = unsafe { shared.base.add(desc.addr as usize) };
        Ok(Frame {
            shared: self.shared,
            data,
            chunk: chunk as u32,
            start: start as u16,
            len: desc.len as u16,
        })
    }

    /// Parks every frame that was dropped instead of being given back, and hands `each` its chunk's address.
    ///
    /// Costs one load when there is none, which is always.
    #[inline]
    pub fn reclaim_orphans(&mut self, mut each: impl FnMut(u64)) {
        let shared = self.shared();
        if shared.orphans.load(Ordering::Relaxed) == 0 {
            return;
        }
        for (chunk, state) in shared.state.iter().enumerate() {
            if state.load(Ordering::Acquire) == ORPHANED {
                state.store(PARKED, Ordering::Relaxed);
                shared.orphans.fetch_sub(1, Ordering::Relaxed);
                each((chunk as u64) << shared.chunk_shift);
            }
        }
    }

    /// How many frames are out or orphaned now: what the books of the UMEM call "with us".
    #[must_use]
    pub fn out(&self) -> u32 {
        self.shared().state.iter().filter(|s| s.load(Ordering::Acquire) != PARKED).count() as u32
    }

    fn shared(&self) -> &Shared {
        // SAFETY: made by `Box::leak` in `new`, freed only in `drop` of this, its only `Umem`.
        unsafe { self.shared.as_ref() }
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        let in_use = self.shared().state.iter().any(|s| s.load(Ordering::Acquire) == OUT);
        if !in_use {
            // SAFETY: made by `Box::leak` in `new`; no `Frame` refers to it (none is OUT, and only `claim` on this
            // value could make one), and this is the only `Umem`.
            drop(unsafe { Box::from_raw(self.shared.as_ptr()) });
        }
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared();
        f.debug_struct("Umem")
            .field("port", &shared.port)
            .field("chunk", &shared.chunk)
            .field("frames", &shared.frames)
            .finish()
    }
}
