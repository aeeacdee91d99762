//! A mapped region: loads, stores and copies at offsets, each checked against the mapping's size.
//!
//! It refuses an access that is not inside and aligned: that reads zeros and stores nothing, and debug builds stop
//! there.
#![allow(
    unsafe_code,
    reason = "memory that another process writes can only be reached by pointers; every access is checked against \
              the mapping's size"
)]

use std::{
    fmt,
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::OwnedFd,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence},
    },
};

use abi::shm::memory::{Memory, Writable};
use nix::{
    libc::off_t,
    sys::{
        mman::{MapFlags, ProtFlags, mmap, munmap},
        stat::fstat,
    },
    unistd::ftruncate,
};

use crate::{Direction, MAX_SIZE, RegionError, kernel, prefetch};

/// Bytes that are copied at once: what a vector register has everywhere.
const PIECE: usize = 16;

/// Can only be read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOnly;
/// Can be read and written.
#[derive(Clone, Copy, Debug)]
pub struct ReadWrite;

/// A mapped region. Clones are the same memory, which goes when the last of them does.
///
/// # Invariants
/// `base..base + size` stays mapped as long as `mapping` lives: readable, and writable if `A` is [`ReadWrite`].
/// Nothing here makes a reference to a byte of it; whoever makes one from [`Region::inside`] answers for it.
///
/// What an access needs comes first, so that it may end a cache line of which the rest is in the next.
#[repr(C)]
pub struct Region<A = ReadWrite> {
    base: NonNull<u8>,
    size: usize,
    mapping: Arc<Mapping>,
    access: PhantomData<A>,
}

// SAFETY: the memory is reached by atomics and copies only, from whatever thread, and `Arc` unmaps it once.
unsafe impl<A> Send for Region<A> {}
// SAFETY: as for `Send`: a shared `Region` gives no reference to the memory.
unsafe impl<A> Sync for Region<A> {}

struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: two numbers, used once, in `drop`.
unsafe impl Send for Mapping {}
// SAFETY: nothing is reached through a shared `Mapping`.
unsafe impl Sync for Mapping {}

impl Region<ReadWrite> {
    /// Makes a region of zeros, and the descriptor that the application is sent. Ours is not needed after that.
    ///
    /// # Errors
    /// [`RegionError`]; nothing is left behind.
    pub fn create(direction: Direction, size: usize) -> Result<(Self, OwnedFd), RegionError> {
        let length = length(size)?;
        let end = off_t::try_from(size).map_err(|_| RegionError::Size { given: size, limit: MAX_SIZE })?;
        let fd = direction.file()?;
        ftruncate(&fd, end).map_err(kernel("ftruncate"))?;
        let region = Self::mapped(&fd, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        // After the mapping: FUTURE_WRITE leaves ours as the only writable one there will ever be.
        direction.seal(&fd)?;
        Ok((region, fd))
    }

    /// Maps the up region that came with this descriptor.
    ///
    /// # Errors
    /// [`RegionError`].
    pub fn up(fd: &OwnedFd) -> Result<Self, RegionError> {
        Direction::Up.check(fd)?;
        Self::mapped(fd, length(size_of_file(fd)?)?, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }
}

impl Region<ReadOnly> {
    /// Maps the down region that came with this descriptor.
    ///
    /// # Errors
    /// [`RegionError`].
    pub fn down(fd: &OwnedFd) -> Result<Self, RegionError> {
        Direction::Down.check(fd)?;
        Self::mapped(fd, length(size_of_file(fd)?)?, ProtFlags::PROT_READ)
    }
}

fn size_of_file(fd: &OwnedFd) -> Result<usize, RegionError> {
    let size = fstat(fd).map_err(kernel("fstat"))?.st_size;
    Ok(usize::try_from(size).unwrap_or(0))
}

fn length(size: usize) -> Result<NonZeroUsize, RegionError> {
    let length = NonZeroUsize::new(size).filter(|_| size <= MAX_SIZE);
    length.ok_or(RegionError::Size { given: size, limit: MAX_SIZE })
}

impl<A> Region<A> {
    fn mapped(fd: &OwnedFd, length: NonZeroUsize, protection: ProtFlags) -> Result<Self, RegionError> {
        // SAFETY: no address is asked for, so nothing that is mapped is replaced.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) };
        let (base, size) = (base.map_err(kernel("mmap"))?.cast(), length.get());
        Ok(Self { base, size, mapping: Arc::new(Mapping { base, size }), access: PhantomData })
    }

    /// The address of `len` bytes at `at`, if they lie inside and are aligned to `align`.
    ///
    /// Whoever makes a reference of it must know that neither process writes those bytes meanwhile, and that nobody
    /// copies in or out of them.
    #[inline(always)]
    pub fn inside(&self, at: usize, len: usize, align: usize) -> Option<NonNull<u8>> {
        let inside = at <= self.size && len <= self.size - at && at.is_multiple_of(align);
        debug_assert!(inside, "{len} bytes at {at} of {}", self.size);
        // SAFETY: `at <= self.size`, so the address is in the mapping or one past its end (type invariant).
        inside.then(|| unsafe { self.base.add(at) })
    }

    #[inline(always)]
    fn word(&self, at: usize) -> Option<&AtomicU32> {
        let word = self.inside(at, 4, 4)?.cast::<AtomicU32>();
        // SAFETY: four bytes inside the mapping, aligned to four as the mapping is to a page, and borrowed no longer
        // than it lives. A load from read-only memory is a plain load on every target of ours; stores are for
        // `ReadWrite` alone.
        Some(unsafe { word.as_ref() })
    }

    #[inline(always)]
    fn pair(&self, at: usize) -> Option<&AtomicU64> {
        let pair = self.inside(at, 8, 8)?.cast::<AtomicU64>();
        // SAFETY: as in `word`, with eight bytes.
        Some(unsafe { pair.as_ref() })
    }
}

impl<A> Memory for Region<A> {
    #[inline(always)]
    fn size(&self) -> usize {
        self.size
    }

    #[inline(always)]
    fn load_u32(&self, at: usize, order: Ordering) -> u32 {
        self.word(at).map_or(0, |word| word.load(order))
    }

    #[inline(always)]
    fn load_u64(&self, at: usize) -> u64 {
        self.pair(at).map_or(0, |pair| pair.load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn load_pair(&self, at: usize) -> [u64; 2] {
        let Some(pair) = self.inside(at, 16, 8) else { return [0; 2] };
        let pair = pair.cast::<[AtomicU64; 2]>();
        // SAFETY: as in `pair`, with twice eight bytes.
        unsafe { pair.as_ref() }.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    #[inline(always)]
    fn copy_out(&self, at: usize, into: &mut [u8]) {
        let Some(from) = self.inside(at, into.len(), 1) else {
            into.fill(0);
            return;
        };
        // SAFETY: `into.len()` bytes inside the mapping. `into` is no part of it: who lends slots out keeps copies away
        // from them (`Region::inside`). The other process may write them meanwhile: any mixture will do.
        unsafe { copy(from.as_ptr(), into.as_mut_ptr(), into.len()) };
        // The compiler must not read a byte again at its source when the copy is looked at: after this line the source
        // may be another.
        compiler_fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn prefetch(&self, at: usize) {
        prefetch::read(self.base.as_ptr().wrapping_add(at));
    }
}

impl Writable for Region<ReadWrite> {
    #[inline(always)]
    fn store_u32(&self, at: usize, value: u32, order: Ordering) {
        if let Some(word) = self.word(at) {
            word.store(value, order);
        }
    }

    #[inline(always)]
    fn store_u64(&self, at: usize, value: u64) {
        if let Some(pair) = self.pair(at) {
            pair.store(value, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn store_pair(&self, at: usize, [first, second]: [u64; 2]) {
        let Some(pair) = self.inside(at, 16, 8) else { return };
        let pair = pair.cast::<[AtomicU64; 2]>();
        // SAFETY: as in `pair`, with twice eight bytes.
        let [low, high] = unsafe { pair.as_ref() };
        low.store(first, Ordering::Relaxed);
        high.store(second, Ordering::Relaxed);
    }

    #[inline(always)]
    fn copy_in(&self, at: usize, from: &[u8]) {
        let Some(to) = self.inside(at, from.len(), 1) else { return };
        // SAFETY: `from.len()` bytes inside the mapping, which is writable (`ReadWrite`), and of which `from` is no part, as
        // in `copy_out`. Of the threads of this process only the one that has the ring's end writes there, and the
        // other process reads it only after the Release of the index.
        unsafe { copy(from.as_ptr(), to.as_ptr(), from.len()) };
    }
}

/// Copies `len` bytes: those sizes that come most without a call, in whole pieces and a last one that ends where they do.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`].
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    match len {
        // SAFETY: both pieces lie within `len` bytes.
        16..=32 => unsafe { pieces(from, to, [0, len - PIECE]) },
        // SAFETY: all four do.
        33..=64 => unsafe { pieces(from, to, [0, PIECE, len - 2 * PIECE, len - PIECE]) },
        65..=128 => {
            // SAFETY: all of these do.
            unsafe { pieces(from, to, [0, PIECE, 2 * PIECE, 3 * PIECE]) };
            // SAFETY: and these.
            unsafe { pieces(from, to, [len - 4 * PIECE, len - 3 * PIECE, len - 2 * PIECE, len - PIECE]) };
        }
        // SAFETY: what the caller vouches for.
        _ => unsafe { std::ptr::copy_nonoverlapping(from, to, len) },
    }
}

/// Copies a piece at each of these places.
///
/// # Safety
/// As for [`std::ptr::copy_nonoverlapping`], of each piece.
#[inline(always)]
unsafe fn pieces<const N: usize>(from: *const u8, to: *mut u8, places: [usize; N]) {
    for at in places {
        let (from, to) = (from.wrapping_add(at), to.wrapping_add(at));
        // SAFETY: the caller vouches for both ends of this piece.
        unsafe { std::ptr::copy_nonoverlapping(from, to, PIECE) };
    }
}

impl<A> Clone for Region<A> {
    fn clone(&self) -> Self {
        Self { mapping: Arc::clone(&self.mapping), ..*self }
    }
}

impl<A> fmt::Debug for Region<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("size", &self.size).finish()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `Region::mapped` with this size; the last `Region` is gone, and with it every access.
        let gone = unsafe { munmap(self.base.cast(), self.size) };
        debug_assert_eq!(gone, Ok(()));
    }
}
