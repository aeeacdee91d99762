//! The UMEM of one queue: one region of locked memory that xsk-rs registers and `ixp` cuts into frames.
//!
//! ```text
//!  base                                        base + frames x chunk
//!  | receiving half's chunks ................. | sending half's chunks, for copies |
//!    one chunk:  | headroom | 256: XDP, RxMeta | packet .... |
//! ```
//!
//! Two [`Umem`]s stand over the region, one for each half, because each half lives on a thread of its own and only
//! the owner of a `Umem` can make frames. Nothing else reads or writes the region but the kernel.
#![allow(unsafe_code, reason = "finds out where xsk-rs mapped the region, and vouches for it to `ixp`")]

use std::{error::Error, io, num::NonZeroU32, ptr::NonNull};

use ixp::frame::{Backing, Geometry, Umem};
use nix::errno::Errno;
use xsk_rs::{
    FrameDesc,
    config::{FrameSize, QueueSize, UmemConfig},
};

use super::{
    OpenError,
    call::{Call, CallError},
    config::QueueConfig,
    fault,
    syscall::Reservation,
};

/// A registered region, cut for the two halves of a port.
pub(crate) struct Cut {
    /// The receiving half's frames.
    pub(crate) receiving: Umem,
    /// The sending half's frames for copies, if there are any.
    pub(crate) copies: Option<Umem>,
    /// One for each chunk of the whole region, its address that of a packet in it: xsk-rs has no other way to name
    /// a chunk.
    pub(crate) descs: Box<[FrameDesc]>,
    /// Address of the region's first byte, to compare with.
    pub(crate) start: usize,
    /// Handle on the region, for binding a socket to it and for keeping it mapped.
    pub(crate) memory: xsk_rs::Umem,
}

/// A part of the region, for one `Umem`.
struct Part {
    /// Keeps the region mapped.
    _memory: xsk_rs::Umem,
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: `Part`s are made by `register` alone, which gives no chunk to two of them (`frames` go to the
// receiving half, the `copies` behind them to the sending half) and keeps the mapping alive through `_memory`.
// xsk-rs touches the region only in `data_mut` for a frame that was just given up (`tx.rs`). mmap aligns to pages,
// and chunks are multiples of 2048 bytes.
unsafe impl Backing for Part {
    fn base(&self) -> NonNull<u8> {
        self.base
    }
    fn size(&self) -> usize {
        self.size
    }
}

// SAFETY: an address, a length and a handle that is itself `Send`; the memory behind it belongs to whoever owns
// the one `Umem` over this part.
unsafe impl Send for Part {}
// SAFETY: nothing is reached through a shared reference but two numbers.
unsafe impl Sync for Part {}

/// Maps, registers and cuts the memory that `config` asks for.
pub(crate) fn register(config: &QueueConfig) -> Result<Cut, OpenError> {
    see_that_mappings_fit(config)?;
    let (memory, descs) = create(config)?;
    let base = base(&memory, &descs).ok_or_else(|| CallError::new(Call::CreateUmem, Errno::EINVAL))?;
    let part = |from: u32, frames: u32| {
        let geometry = Geometry { chunk: config.chunk, frames };
        // SAFETY: the region has a chunk for each of `frames + copies`, and `from` is 0 or `frames`.
        let base = unsafe { base.add(from as usize * config.chunk as usize) };
        let part = Part { _memory: memory.clone(), base, size: frames as usize * config.chunk as usize };
        Umem::new(Box::new(part), geometry, config.port)
    };
    let receiving = part(0, config.frames)?;
    let copies = match config.copies {
        0 => None,
        copies => Some(part(config.frames, copies)?),
    };
    Ok(Cut { receiving, copies, descs, start: base.addr().get(), memory })
}

/// Maps what libxdp is going to map, and lets go of it.
///
/// libxdp 1.6 forgets a mapping, and with it an open socket, if the memory for the next one is refused. With this
/// that refusal comes here, where nothing is open yet.
fn see_that_mappings_fit(config: &QueueConfig) -> Result<(), CallError> {
    const PAGE: usize = 4096;
    let ring = config.ring as usize;
    // Each ring has its indices on a page at most, then 8-byte addresses or 16-byte descriptors.
    let rings = [8, 8, 16, 16].map(|slot| PAGE + (ring * slot).next_multiple_of(PAGE));
    let umem = usize::try_from(config.umem_bytes()).unwrap_or(usize::MAX);
    let all = rings.into_iter().chain([umem]).map(Reservation::new);
    all.collect::<Result<Vec<_>, _>>().map(drop)
}

fn create(config: &QueueConfig) -> Result<(xsk_rs::Umem, Box<[FrameDesc]>), CallError> {
    let failed =
        |error: &dyn Error| CallError::locking(Call::CreateUmem, kernel_error(error), config.umem_bytes());
    let ring = QueueSize::new(config.ring).map_err(|error| failed(&error))?;
    let settings = UmemConfig::builder()
        .frame_size(FrameSize::new(config.chunk).map_err(|error| failed(&error))?)
        .frame_headroom(config.headroom)
        .fill_queue_size(ring)
        .comp_queue_size(ring)
        .build()
        .map_err(|error| failed(&error))?;
    let chunks = NonZeroU32::new(config.frames + config.copies)
        .ok_or_else(|| CallError::new(Call::CreateUmem, Errno::EINVAL))?;
    fault::enter(Call::CreateUmem)
        .map_err(|errno| CallError::locking(Call::CreateUmem, errno, config.umem_bytes()))?;
    let (memory, descs) = xsk_rs::Umem::new(settings, chunks, false).map_err(|error| failed(&error))?;
    Ok((memory, descs.into_boxed_slice()))
}

/// Where the region begins.
fn base(memory: &xsk_rs::Umem, descs: &[FrameDesc]) -> Option<NonNull<u8>> {
    let first = descs.first()?;
    // SAFETY: `first` was made together with this UMEM, and nothing was told of any chunk yet.
    let packet = unsafe { memory.data(first) }.contents().as_ptr();
    // The region's address went to the kernel through C: its provenance is exposed.
    NonNull::new(std::ptr::with_exposed_provenance_mut(packet.addr() - first.addr()))
}

/// The kernel's number behind an error of xsk-rs, which gives it as the source; else xsk-rs's own words.
pub(crate) fn kernel_error(error: &dyn Error) -> io::Error {
    let number = error.source().and_then(|source| source.downcast_ref::<io::Error>()?.raw_os_error());
    number.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}
