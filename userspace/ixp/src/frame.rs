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

mod heap;
mod umem;

use std::{fmt, mem::ManuallyDrop, ops::Range, ptr::NonNull};

use abi::rxmeta::RxMeta;
use zerocopy::{FromBytes, IntoBytes};

use crate::port::PortId;

pub use heap::HeapBacking;
pub use umem::{Backing, ClaimError, Desc, Geometry, MAX_CHUNKS, Umem, UmemError, UmemId};

use umem::Shared;

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
    shared: NonNull<Shared>,
    data: NonNull<u8>,
    chunk: u32,
    start: u16,
    len: u16,
}

// SAFETY: a `Frame` is the only access to its chunk's bytes (state `OUT`), so moving it moves that access whole.
unsafe impl Send for Frame {}
// SAFETY: a shared `Frame` gives shared slices only.
unsafe impl Sync for Frame {}

impl Frame {
    /// The port whose UMEM this frame lives in.
    #[must_use]
    #[inline]
    pub fn port(&self) -> PortId {
        self.shared().port
    }

    /// The UMEM this frame lives in: whoever takes a frame's descriptor for its own asks this first.
    #[must_use]
    #[inline]
    pub fn umem(&self) -> UmemId {
        self.shared().id
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
        self.shared().chunk as usize - usize::from(self.start)
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
        let chunk = self.shared().chunk as usize;
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
        // After this line the chunk is not ours.
        this.shared().park(this.chunk)
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
    fn shared(&self) -> &Shared {
        // SAFETY: `Umem::drop` keeps `Shared` while a frame is OUT, and this one is (type invariant).
        unsafe { self.shared.as_ref() }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.shared().orphan(self.chunk);
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

#[cfg(test)]
mod tests;
