//! Frames: packet buffers as move-only values, tied to the UMEM they live in.
//!
//! A UMEM is one region of memory cut into equal chunks. At any time each chunk is *parked* (in a free list or
//! with the kernel: nobody here may look at it), *out* (exactly one [`Frame`] stands for it) or *orphaned* (its
//! `Frame` was dropped instead of being given back; the owner takes it up again with [`Umem::reclaim_orphans`]).
//! One byte per chunk records which. That byte is why no call here is an `unsafe fn`: an address that the kernel
//! or a caller made up, or names twice, is an error value and never a second `Frame` for the same bytes.
//!
//! ```text
//!            claim(desc)                 into_desc()
//!  parked ───────────────► out ───────────────────────► parked
//!     ▲                     │ drop
//!     └── reclaim_orphans ──┴► orphaned
//! ```
//!
//! Why not reference counts: an atomic read-modify-write for each frame and direction costs more than the rest of
//! the receive path. Only the [`Umem`] value, of which there is one, can turn a parked chunk into a `Frame`; a
//! plain load and store are therefore enough.
#![allow(unsafe_code, reason = "the one place where chunk addresses become slices; see the module text")]

use std::{
    fmt,
    mem::ManuallyDrop,
    ops::Range,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

use abi::rxmeta::RxMeta;
use thiserror::Error;
use zerocopy::{FromBytes, IntoBytes};

use crate::port::PortId;

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

struct Inner {
    /// Held for its drop only: it frees the region.
    _backing: Box<dyn Backing>,
    base: NonNull<u8>,
    chunk: u32,
    chunk_shift: u32,
    frames: u32,
    id: UmemId,
    port: PortId,
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
    inner: NonNull<Inner>,
}

// SAFETY: `Inner` is only shared data: `Backing` is Send + Sync by its bound, the states are atomics, and chunk
// bytes are reached through `Frame`s alone, each of which is the only one of its chunk.
unsafe impl Send for Umem {}

/// One packet buffer that is ours alone.
///
/// ```text
///  chunk start            meta          data           data + len      chunk end
///  +----------------------+-------------+--------------+---------------+
///  | headroom             | RxMeta (16) | packet bytes | tailroom      |
///  +----------------------+-------------+--------------+---------------+
/// ```
///
/// # Invariants
/// The chunk's state is `OUT`, and no other `Frame` has this chunk. `data..data + len` lies inside the chunk.
pub struct Frame {
    inner: NonNull<Inner>,
    data: NonNull<u8>,
    chunk: u32,
    start: u16,
    len: u16,
}

// SAFETY: a `Frame` is the only access to its chunk's bytes (state `OUT`), so moving it moves that access whole.
unsafe impl Send for Frame {}
// SAFETY: a shared `Frame` gives shared slices only.
unsafe impl Sync for Frame {}

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
        let inner = Box::new(Inner {
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
        Ok(Self { inner: NonNull::from(Box::leak(inner)) })
    }

    /// Which UMEM this is.
    #[must_use]
    pub fn id(&self) -> UmemId {
        self.inner().id
    }

    /// How the region is cut.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        let inner = self.inner();
        Geometry { chunk: inner.chunk, frames: inner.frames }
    }

    /// Makes the frame that `desc` names.
    ///
    /// # Errors
    /// [`ClaimError`] if the address is out of range, crosses its chunk, or is out already: all three mean that
    /// whoever wrote the descriptor is wrong, and leave the UMEM as it was.
    #[inline]
    pub fn claim(&mut self, desc: Desc) -> Result<Frame, ClaimError> {
        let inner = self.inner();
        let chunk = desc.addr >> inner.chunk_shift;
        let Some(state) = usize::try_from(chunk).ok().and_then(|c| inner.state.get(c)) else {
            return Err(ClaimError::OutOfRange { addr: desc.addr });
        };
        let start = (desc.addr & u64::from(inner.chunk - 1)) as u32;
        if inner.chunk - start < desc.len || u32::from(u16::MAX) < desc.len {
            return Err(ClaimError::CrossesChunk { addr: desc.addr, len: desc.len });
        }
        // A plain load and store: `&mut self` is the only way from PARKED to OUT. Acquire pairs with the Release
        // in `into_desc`, so bytes written by the frame's last holder are visible to its next.
        if state.load(Ordering::Acquire) != PARKED {
            return Err(ClaimError::InUse { addr: desc.addr });
        }
        state.store(OUT, Ordering::Relaxed);
        // SAFETY: `desc.addr` lies inside chunk `chunk < frames`, hence inside the region (checked in `new`).
        let data = unsafe { inner.base.add(desc.addr as usize) };
        Ok(Frame { inner: self.inner, data, chunk: chunk as u32, start: start as u16, len: desc.len as u16 })
    }

    /// Parks every frame that was dropped instead of being given back, and hands `each` its chunk's address.
    ///
    /// Costs one load when there is none, which is always.
    #[inline]
    pub fn reclaim_orphans(&mut self, mut each: impl FnMut(u64)) {
        let inner = self.inner();
        if inner.orphans.load(Ordering::Relaxed) == 0 {
            return;
        }
        for (chunk, state) in inner.state.iter().enumerate() {
            if state.load(Ordering::Acquire) == ORPHANED {
                state.store(PARKED, Ordering::Relaxed);
                inner.orphans.fetch_sub(1, Ordering::Relaxed);
                each((chunk as u64) << inner.chunk_shift);
            }
        }
    }

    /// How many frames are out or orphaned now: what the books of the UMEM call "with us".
    #[must_use]
    pub fn out(&self) -> u32 {
        self.inner().state.iter().filter(|s| s.load(Ordering::Acquire) != PARKED).count() as u32
    }

    fn inner(&self) -> &Inner {
        // SAFETY: made by `Box::leak` in `new`, freed only in `drop` of this, its only `Umem`.
        unsafe { self.inner.as_ref() }
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        let in_use = self.inner().state.iter().any(|s| s.load(Ordering::Acquire) == OUT);
        if !in_use {
            // SAFETY: made by `Box::leak` in `new`; no `Frame` refers to it (none is OUT, and only `claim` on this
            // value could make one), and this is the only `Umem`.
            drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
        }
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        f.debug_struct("Umem")
            .field("port", &inner.port)
            .field("chunk", &inner.chunk)
            .field("frames", &inner.frames)
            .finish()
    }
}

impl Frame {
    /// The port whose UMEM this frame lives in.
    #[must_use]
    #[inline]
    pub fn port(&self) -> PortId {
        self.inner().port
    }

    /// The UMEM this frame lives in: whoever takes a frame's descriptor for its own asks this first.
    #[must_use]
    #[inline]
    pub fn umem(&self) -> UmemId {
        self.inner().id
    }

    /// The number of its chunk.
    #[must_use]
    #[inline]
    pub(crate) fn chunk(&self) -> u32 {
        self.chunk
    }

    /// Bytes of the packet.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the packet has no byte at all.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The packet.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `data..data + len` lies inside this frame's chunk (type invariant), which is ours alone.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), usize::from(self.len)) }
    }

    /// The packet, to be rewritten in place.
    #[must_use]
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the slice the only one.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), usize::from(self.len)) }
    }

    /// The `room` bytes before the packet and the packet itself; `None` if the chunk has not so much room before it.
    #[must_use]
    #[inline]
    pub fn with_room_mut(&mut self, room: usize) -> Option<&mut [u8]> {
        if usize::from(self.start) < room {
            return None;
        }
        // SAFETY: `start >= room`, so the bytes before `data` lie inside this frame's chunk.
        let first = unsafe { self.data.sub(room) };
        // SAFETY: they and `data..data + len` are in the chunk, which is ours alone; `&mut self` makes the slice the
        // only one.
        Some(unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), room + usize::from(self.len)) })
    }

    /// The packet and the rest of its chunk, which it may grow into.
    #[must_use]
    #[inline]
    pub fn with_tail_mut(&mut self) -> &mut [u8] {
        let capacity = self.capacity();
        // SAFETY: `data` is `start` bytes into this frame's chunk, so `capacity` bytes from there on are in the chunk,
        // which is ours alone; `&mut self` makes the slice the only one.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), capacity) }
    }

    /// Makes a part of [`Frame::with_tail_mut`] the packet.
    ///
    /// # Errors
    /// The capacity, if the part is beyond it; the frame is left as it was.
    pub fn set_range(&mut self, part: Range<usize>) -> Result<(), usize> {
        let capacity = self.capacity();
        let (start, len) = (u16::try_from(part.start), u16::try_from(part.len()));
        match (start, len) {
            (Ok(start), Ok(len)) if part.start <= part.end && part.end <= capacity => {
                // SAFETY: at most `capacity` bytes on, it is still in this frame's chunk.
                self.data = unsafe { self.data.add(usize::from(start)) };
                self.start += start;
                self.len = len;
                Ok(())
            }
            _ => Err(capacity),
        }
    }

    /// The packet's first byte, as an address to prefetch.
    #[must_use]
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.data.as_ptr()
    }

    /// Most bytes that the packet can have without moving its start.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.inner().chunk as usize - usize::from(self.start)
    }

    /// Sets the packet's length; bytes that come in are whatever the chunk holds.
    ///
    /// # Errors
    /// The capacity, if `len` is beyond it; the frame is left as it was.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> Result<(), usize> {
        let capacity = self.capacity();
        match u16::try_from(len) {
            Ok(short) if len <= capacity => {
                self.len = short;
                Ok(())
            }
            _ => Err(capacity),
        }
    }

    /// What XDP wrote before the packet, if it is there and speaks of this packet.
    ///
    /// Believed only if the magic and the frame's length agree (`abi::rxmeta`): nothing says that the 16 bytes are
    /// not left over from another frame.
    #[must_use]
    #[inline]
    pub fn meta(&self) -> Option<RxMeta> {
        let meta = RxMeta::read_from_bytes(self.meta_bytes()?).ok()?;
        meta.is_valid_for(self.len()).then_some(meta)
    }

    /// Writes metadata before the packet, as XDP does.
    ///
    /// Returns whether there was room for it.
    #[inline]
    pub fn set_meta(&mut self, meta: &RxMeta) -> Option<()> {
        self.meta_bytes_mut()?.copy_from_slice(meta.as_bytes());
        Some(())
    }

    /// Makes it an empty packet that begins `start` bytes into its chunk. Metadata is invalid: the old packet's, and
    /// what would be the new one's.
    ///
    /// # Errors
    /// The chunk's size, if `start` is beyond it; the frame is left as it was.
    #[inline]
    pub fn clear(&mut self, start: u16) -> Result<(), usize> {
        let chunk = self.inner().chunk as usize;
        if chunk <= usize::from(start) {
            return Err(chunk);
        }
        self.forget_meta();
        if self.start != start {
            // SAFETY: `self.start` bytes back is where this frame's chunk begins (type invariant).
            let chunk = unsafe { self.data.sub(usize::from(self.start)) };
            // SAFETY: fewer bytes on from there than the chunk has.
            self.data = unsafe { chunk.add(usize::from(start)) };
            self.start = start;
            self.forget_meta();
        }
        self.len = 0;
        Ok(())
    }

    /// Gives the chunk back: parked, its metadata made invalid, and where it lies.
    ///
    /// The descriptor goes to a transmit ring (data and length) or a fill ring (the chunk's address).
    #[must_use = "a descriptor that goes nowhere is a chunk lost to its port"]
    #[inline]
    pub fn into_desc(self) -> Desc {
        let (start, len) = (u64::from(self.start), u32::from(self.len));
        Desc { addr: self.into_chunk() + start, len }
    }

    /// Gives the chunk back, as [`Frame::into_desc`] does, and says where it begins.
    #[must_use = "a chunk that goes nowhere is lost to its port"]
    #[inline]
    pub fn into_chunk(mut self) -> u64 {
        self.forget_meta();
        let this = ManuallyDrop::new(self);
        let inner = this.inner();
        let chunk = u64::from(this.chunk) << inner.chunk_shift;
        if let Some(state) = inner.state.get(this.chunk as usize) {
            // Release: whoever claims this chunk next sees our writes. After this line the chunk is not ours.
            state.store(PARKED, Ordering::Release);
        }
        chunk
    }

    #[inline]
    fn forget_meta(&mut self) {
        if let Some(magic) = self.meta_bytes_mut().and_then(|meta| meta.first_chunk_mut::<2>()) {
            *magic = [0; 2];
        }
    }

    #[inline]
    fn meta_bytes(&self) -> Option<&[u8]> {
        if usize::from(self.start) < RxMeta::SIZE {
            return None;
        }
        // SAFETY: `start >= SIZE`, so the 16 bytes before `data` lie inside this frame's chunk.
        let first = unsafe { self.data.sub(RxMeta::SIZE) };
        // SAFETY: those bytes are in the chunk, which is ours alone, and borrowed as `self` is.
        Some(unsafe { std::slice::from_raw_parts(first.as_ptr(), RxMeta::SIZE) })
    }

    #[inline]
    fn meta_bytes_mut(&mut self) -> Option<&mut [u8]> {
        if usize::from(self.start) < RxMeta::SIZE {
            return None;
        }
        // SAFETY: as in `meta_bytes`.
        let first = unsafe { self.data.sub(RxMeta::SIZE) };
        // SAFETY: as in `meta_bytes`, and `&mut self` makes the slice the only one.
        Some(unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), RxMeta::SIZE) })
    }

    #[inline]
    fn inner(&self) -> &Inner {
        // SAFETY: `Umem::drop` keeps `Inner` while a frame is OUT, and this one is (type invariant).
        unsafe { self.inner.as_ref() }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let inner = self.inner();
        if let Some(state) = inner.state.get(self.chunk as usize) {
            // Counted first: once the state is stored the `Umem` may be gone.
            inner.orphans.fetch_add(1, Ordering::Relaxed);
            state.store(ORPHANED, Ordering::Release);
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("port", &self.port())
            .field("chunk", &self.chunk)
            .field("len", &self.len)
            .finish()
    }
}

/// Heap memory as a UMEM's backing: for ports that no kernel is behind.
pub struct HeapBacking {
    base: NonNull<u8>,
    layout: std::alloc::Layout,
}

impl HeapBacking {
    /// Zeroed memory for `geometry`, page aligned; `None` if there is not so much.
    #[must_use]
    pub fn new(geometry: Geometry) -> Option<Self> {
        let bytes = (geometry.chunk as usize).checked_mul(geometry.frames as usize)?;
        let layout = std::alloc::Layout::from_size_align(bytes, 4096).ok()?;
        if bytes == 0 {
            return None;
        }
        // SAFETY: the layout has a size above zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some(Self { base, layout })
    }
}

// SAFETY: `base..base + len` is the one allocation made in `new`, freed in `drop`, reachable only from here.
unsafe impl Backing for HeapBacking {
    fn base(&self) -> NonNull<u8> {
        self.base
    }
    fn size(&self) -> usize {
        self.layout.size()
    }
}

// SAFETY: the allocation is owned like a `Box<[u8]>`'s.
unsafe impl Send for HeapBacking {}
// SAFETY: nothing is reached through a shared reference but two numbers.
unsafe impl Sync for HeapBacking {}

impl Drop for HeapBacking {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests;
