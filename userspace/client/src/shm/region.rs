//! Mapping the two regions of a session.
//!
//! It refuses a region that the daemon has not sealed as it promised: without SHRINK a page could vanish under a load,
//! and a down region that somebody else may write is not the daemon's word.
use std::{
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::OwnedFd,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence},
    },
};

use abi::shm::{
    layout::{DownHeader, HeaderError, PAGE, Session, Shape},
    memory::{Memory, Writable},
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        mman::{MapFlags, ProtFlags, mmap, munmap},
        stat::fstat,
    },
};
use thiserror::Error;

/// Largest region that is mapped.
const MAX_SIZE: usize = 2 << 30;

/// The way from the daemon: can only be read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOnly;
/// The way to the daemon.
#[derive(Clone, Copy, Debug)]
pub struct ReadWrite;

/// A mapped region. Clones are the same memory.
///
/// # Invariants
/// `base..base + size` stays mapped as long as `mapping` lives: readable, and writable if `A` is [`ReadWrite`].
#[derive(Debug)]
pub struct Region<A> {
    base: NonNull<u8>,
    size: usize,
    mapping: Arc<Mapping>,
    access: PhantomData<A>,
}

/// The region that the daemon writes.
pub type Down = Region<ReadOnly>;
/// The region that this program writes.
pub type Up = Region<ReadWrite>;

/// Both regions of a session and what the daemon says of it.
#[derive(Clone, Debug)]
pub struct Regions {
    /// From the daemon.
    pub down: Down,
    /// To the daemon.
    pub up: Up,
    /// Where everything lies.
    pub shape: Shape,
    /// What the session is.
    pub session: Session,
}

/// Why the regions cannot be used.
#[derive(Debug, Error)]
pub enum RegionError {
    /// The kernel says no.
    #[error("{call}: {source}")]
    Kernel {
        /// The system call.
        call: &'static str,
        /// What it said.
        source: Errno,
    },
    /// A region is not sealed as promised.
    #[error("the region has seals {given:#x}, {wanted:#x} were promised")]
    Seals {
        /// The seals it has.
        given: i32,
        /// Those it must have.
        wanted: i32,
    },
    /// A region is smaller than what lies in it, or larger than any.
    #[error("the region has {given} bytes, {need} are needed")]
    Size {
        /// Its bytes.
        given: usize,
        /// What is needed.
        need: usize,
    },
    /// The down region's header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: two numbers, used once, in `drop`.
unsafe impl Send for Mapping {}
// SAFETY: nothing is reached through a shared `Mapping`.
unsafe impl Sync for Mapping {}
// SAFETY: the memory is reached by atomics, copies, and slots whose ownership the ring hands over.
unsafe impl<A> Send for Region<A> {}
// SAFETY: as for `Send`.
unsafe impl<A> Sync for Region<A> {}

impl<A> Clone for Region<A> {
    fn clone(&self) -> Self {
        Self { mapping: Arc::clone(&self.mapping), ..*self }
    }
}

impl Regions {
    /// Maps what came with the answer to `stack.open`.
    ///
    /// # Errors
    /// [`RegionError`].
    pub fn map(down: &OwnedFd, up: &OwnedFd) -> Result<Self, RegionError> {
        let both = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        let down = Down::map(down, both | SealFlag::F_SEAL_FUTURE_WRITE, ProtFlags::PROT_READ)?;
        let up = Up::map(up, both, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        let mut bytes = [0; size_of::<DownHeader>()];
        down.copy_out(0, &mut bytes);
        let header: DownHeader = zerocopy::transmute!(bytes);
        let shape = header.shape()?;
        for (given, need) in [(down.size, shape.down_size()), (up.size, shape.up_size())] {
            if given < need {
                return Err(RegionError::Size { given, need });
            }
        }
        Ok(Self { down, up, shape, session: header.session() })
    }
}

impl<A> Region<A> {
    pub(super) fn map(fd: &OwnedFd, wanted: SealFlag, protection: ProtFlags) -> Result<Self, RegionError> {
        let kernel = |call| move |source| RegionError::Kernel { call, source };
        let given = fcntl(fd, FcntlArg::F_GET_SEALS).map_err(kernel("F_GET_SEALS"))?;
        if given & wanted.bits() != wanted.bits() {
            return Err(RegionError::Seals { given, wanted: wanted.bits() });
        }
        let size = usize::try_from(fstat(fd).map_err(kernel("fstat"))?.st_size).unwrap_or(0);
        let length = NonZeroUsize::new(size).filter(|_| (PAGE..=MAX_SIZE).contains(&size));
        let length = length.ok_or(RegionError::Size { given: size, need: PAGE })?;
        // SAFETY: no address is asked for, so nothing that is mapped is replaced.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) };
        let base = base.map_err(kernel("mmap"))?.cast();
        Ok(Self { base, size, mapping: Arc::new(Mapping { base, size }), access: PhantomData })
    }

    /// The address of `len` bytes at `at`, if they lie inside and are aligned to `align`.
    #[inline(always)]
    pub(super) fn inside(&self, at: usize, len: usize, align: usize) -> Option<NonNull<u8>> {
        let inside = at <= self.size && len <= self.size - at && at.is_multiple_of(align);
        debug_assert!(inside, "{len} bytes at {at} of {}", self.size);
        // SAFETY: `at <= self.size`, so the address is in the mapping or one past its end (type invariant).
        inside.then(|| unsafe { self.base.add(at) })
    }

    #[inline(always)]
    fn word(&self, at: usize) -> Option<&AtomicU32> {
        let word = self.inside(at, 4, 4)?.cast::<AtomicU32>();
        // SAFETY: four bytes inside the mapping, aligned to four as the mapping is to a page; a load from read-only
        // memory is a plain load on every target of ours, and stores are for `ReadWrite` alone.
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
    fn copy_out(&self, at: usize, into: &mut [u8]) {
        let Some(from) = self.inside(at, into.len(), 1) else {
            into.fill(0);
            return;
        };
        // SAFETY: `into.len()` bytes inside the mapping. `into` is memory of this process's own: slots that are lent
        // out belong to a burst, and whoever copies has the channel.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) };
        // The copy is what counts from here on, whatever happens to its source.
        compiler_fence(Ordering::SeqCst);
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
    fn copy_in(&self, at: usize, from: &[u8]) {
        let Some(to) = self.inside(at, from.len(), 1) else { return };
        // SAFETY: `from.len()` bytes inside the mapping, which is writable (`ReadWrite`); no slot among them is lent out
        // while somebody copies, as in `copy_out`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `Region::map` with this size; the last `Region` is gone, and with it every access.
        let gone = unsafe { munmap(self.base.cast(), self.size) };
        debug_assert_eq!(gone, Ok(()));
    }
}
