//! Regions shared with an application: memfds made, sealed and mapped by the daemon, read and written at offsets.
//!
//! It refuses to interpret a byte, and to give out a reference to any: the application may write `up` at every moment,
//! so words go through atomics and bytes are copied. Nobody else can take the memory away: both kinds are sealed
//! against shrinking, so that a load never meets a page that is not there, and against growing. A hole that the
//! application punches into `up` reads as zeros.
//!
//! | kind | seals | the application can |
//! |---|---|---|
//! | down | SHRINK, GROW, FUTURE_WRITE, SEAL, set after our own mapping was made | read |
//! | up | SHRINK, GROW, SEAL | read and write |
#![allow(
    unsafe_code,
    reason = "memory that another process writes can only be reached by pointers; every access is checked against \
              the mapping's size"
)]

use std::{
    fmt,
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
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    libc::off_t,
    sys::{
        memfd::{MFdFlags, memfd_create},
        mman::{MapFlags, ProtFlags, mmap, munmap},
    },
    unistd::ftruncate,
};
use thiserror::Error;

use crate::prefetch;

/// Largest region: 64 channels of the largest rings.
pub const MAX_SIZE: usize = 2 << 30;

/// Which way a region goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Written by the daemon, read by the application.
    Down,
    /// Written by the application.
    Up,
}

/// Why there is no region.
#[derive(Debug, Error)]
pub enum RegionError {
    /// Zero bytes, or more than [`MAX_SIZE`].
    #[error("a region of {given} bytes, 1 to {limit} are possible")]
    Size {
        /// What was asked for.
        given: usize,
        /// [`MAX_SIZE`].
        limit: usize,
    },
    /// The kernel has no memory for it, or the process no descriptor.
    #[error("{call}: {source}")]
    Kernel {
        /// The system call.
        call: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// The kernel took the seals and shows others: never seen, and not to be trusted.
    #[error("the kernel shows seals {given:#x}, {wanted:#x} were set")]
    Seals {
        /// What it shows.
        given: u32,
        /// What was set.
        wanted: u32,
    },
}

/// A mapped region. Clones are the same memory, which goes when the last of them does.
///
/// # Invariants
/// `base..base + size` stays mapped, readable and writable, as long as `mapping` lives; no reference to it exists
/// anywhere in this process.
#[derive(Clone)]
pub struct Region {
    base: NonNull<u8>,
    size: usize,
    /// Held for its drop only.
    _mapping: Arc<Mapping>,
}

// SAFETY: the memory is reached by atomics and copies only, from whatever thread, and `Arc` unmaps it once.
unsafe impl Send for Region {}
// SAFETY: as for `Send`: a shared `Region` gives no reference to the memory.
unsafe impl Sync for Region {}

struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: two numbers, used once, in `drop`.
unsafe impl Send for Mapping {}
// SAFETY: nothing is reached through a shared `Mapping`.
unsafe impl Sync for Mapping {}

impl Direction {
    fn seals(self) -> SealFlag {
        let both = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        match self {
            Self::Down => both | SealFlag::F_SEAL_FUTURE_WRITE,
            Self::Up => both,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Down => "octroi-down",
            Self::Up => "octroi-up",
        }
    }
}

impl Region {
    /// Makes a region of zeros, and the descriptor that the application is sent. Ours is not needed after that.
    ///
    /// # Errors
    /// [`RegionError`]; nothing is left behind.
    pub fn create(direction: Direction, size: usize) -> Result<(Self, OwnedFd), RegionError> {
        let refused = RegionError::Size { given: size, limit: MAX_SIZE };
        let (Some(length), Ok(end)) = (NonZeroUsize::new(size), off_t::try_from(size)) else {
            return Err(refused);
        };
        if MAX_SIZE < size {
            return Err(refused);
        }
        let kernel = |call| move |source| RegionError::Kernel { call, source };
        // Never huge pages: a hole in them would be a fault where the host has no more, and not a page of zeros.
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(direction.name(), flags).map_err(kernel("memfd_create"))?;
        ftruncate(&fd, end).map_err(kernel("ftruncate"))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: no address is asked for, so nothing that is mapped is replaced.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &fd, 0) };
        let base = base.map_err(kernel("mmap"))?.cast();
        let region = Self { base, size, _mapping: Arc::new(Mapping { base, size }) };
        // After the mapping: FUTURE_WRITE leaves ours as the only writable one there will ever be.
        seal(&fd, direction.seals())?;
        Ok((region, fd))
    }

    /// The address of `len` bytes at `at`, if they lie inside and are aligned to `align`.
    #[inline(always)]
    fn inside(&self, at: usize, len: usize, align: usize) -> Option<NonNull<u8>> {
        let inside = at <= self.size && len <= self.size - at && at.is_multiple_of(align);
        debug_assert!(inside, "{len} bytes at {at} of {}", self.size);
        // SAFETY: `at <= self.size`, so the address is in the mapping or one past its end (type invariant).
        inside.then(|| unsafe { self.base.add(at) })
    }

    #[inline(always)]
    fn word(&self, at: usize) -> Option<&AtomicU32> {
        let word = self.inside(at, 4, 4)?.cast::<AtomicU32>();
        // SAFETY: four bytes inside the mapping, aligned to four as the mapping is to a page, reached as atomics by
        // every thread of this process and borrowed no longer than the mapping lives.
        Some(unsafe { word.as_ref() })
    }

    #[inline(always)]
    fn pair(&self, at: usize) -> Option<&AtomicU64> {
        let pair = self.inside(at, 8, 8)?.cast::<AtomicU64>();
        // SAFETY: as in `word`, with eight bytes.
        Some(unsafe { pair.as_ref() })
    }
}

fn seal(fd: &OwnedFd, wanted: SealFlag) -> Result<(), RegionError> {
    let kernel = |call| move |source| RegionError::Kernel { call, source };
    fcntl(fd, FcntlArg::F_ADD_SEALS(wanted)).map_err(kernel("F_ADD_SEALS"))?;
    let given = fcntl(fd, FcntlArg::F_GET_SEALS).map_err(kernel("F_GET_SEALS"))?;
    if given == wanted.bits() {
        return Ok(());
    }
    Err(RegionError::Seals { given: given.cast_unsigned(), wanted: wanted.bits().cast_unsigned() })
}

impl Memory for Region {
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
    fn copy_out(&self, at: usize, into: &mut [u8]) {
        let Some(from) = self.inside(at, into.len(), 1) else {
            into.fill(0);
            return;
        };
        // SAFETY: `into.len()` bytes inside the mapping; `into` is not part of it, as nobody has a reference to any of
        // it (type invariant). The application may write them meanwhile, from another process: any mixture will do.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) };
        // The compiler must not read a byte again at its source when the copy is looked at: after this line the source
        // may be another.
        compiler_fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn prefetch(&self, at: usize) {
        prefetch::read(self.base.as_ptr().wrapping_add(at));
    }
}

impl Writable for Region {
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
    fn copy_in(&self, at: usize, from: &[u8]) {
        let Some(to) = self.inside(at, from.len(), 1) else { return };
        // SAFETY: `from.len()` bytes inside the mapping, of which `from` is no part (type invariant); of the threads of
        // this process only the channel's worker writes there, and only the application reads it, after the Release
        // of the index.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) };
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("size", &self.size).finish()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `Region::create` with this size; the last `Region` is gone, and with it every access.
        let gone = unsafe { munmap(self.base.cast(), self.size) };
        debug_assert_eq!(gone, Ok(()));
    }
}

#[cfg(test)]
mod tests;
