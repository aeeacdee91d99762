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
/// The same, at least, where packets do not all begin at the same place of their chunks.
const LEAST_HEADROOM: u64 = 128 + 16;
/// Bytes that a packet may have there wherever it begins, if its chunk has them: a full Ethernet frame with two tags.
const FRAME: u64 = 1522;
/// Bytes from one place to the next: a cache line.
const LINE: u64 = 64;
/// Most places.
const PLACES: u64 = 8;
/// Chunks on one page begin at the same place: they are in other sets of the cache already.
const PAGE: u32 = 4096;
/// Pages after which places come again in the same order.
const PAGES: usize = 64;

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
///
/// # Invariants
/// The frames in `free` are empty and begin where `starts` says. They are dropped before their UMEM is.
pub(super) struct Pool {
    free: Vec<Frame>,
    starts: Starts,
    umem: Umem,
    back: Consumer<Frame>,
    under_way: UnderWay,
    /// Room for the addresses of all frames, and empty.
    orphans: Vec<u64>,
}

/// Where packets begin in their chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Starts {
    /// Chunks of a page, as a power of two.
    shift: u32,
    places: [u16; PAGES],
}

impl Starts {
    /// Behind [`HEADROOM`], as with AF_XDP.
    pub(super) const SAME: Self = Self { shift: 0, places: [HEADROOM as u16; PAGES] };

    /// On each page a line further back than on the page before, as far as there is room.
    ///
    /// Chunks are powers of two. If all packets begin at the same place of theirs, the first lines of a burst share a few
    /// sets of the cache, which do not hold them: what was just written is fetched again by whoever looks at it.
    pub(super) fn staggered(chunk: u32) -> Self {
        let spare = u64::from(chunk).saturating_sub(LEAST_HEADROOM + FRAME);
        let places = (spare / LINE + 1).min(PLACES);
        let place = |page: usize| (LEAST_HEADROOM + page as u64 % places * LINE) as u16;
        Self { shift: (PAGE / chunk).max(1).ilog2(), places: std::array::from_fn(place) }
    }

    /// Offset of the packet in this chunk.
    #[inline(always)]
    const fn start(&self, number: u32) -> u16 {
        self.places[(number >> self.shift) as usize % PAGES]
    }

    /// The greatest of these offsets.
    fn last(&self) -> u16 {
        self.places.into_iter().max().unwrap_or(0)
    }
}

/// Counts a pool's frames on their way out and back: held by whoever sends them.
#[derive(Clone, Debug)]
pub(super) struct UnderWay {
    umem: UmemId,
    counts: Arc<Counts>,
}

/// Frames of a pool that went out, and what became of them. They run over; the difference is right all the same.
#[derive(Debug, Default)]
struct Counts {
    /// Written by the sending half alone: without a locked instruction for each packet.
    left: AtomicU32,
    /// Written by the receiving half alone.
    returned: AtomicU32,
    /// Those that come back some other way. Few.
    astray: AtomicU32,
}

impl UnderWay {
    /// Whether the frame is one of this pool's.
    pub(super) fn owns(&self, frame: &Frame) -> bool {
        frame.umem() == self.umem
    }

    /// A frame of the pool goes out. To be called by the sending half, before the frame can come back.
    #[inline]
    pub(super) fn leaves(&self, frame: &Frame) {
        if self.owns(frame) {
            self.leave_all(1);
        }
    }

    /// So many frames of the pool go out, as [`UnderWay::leaves`] has it.
    #[inline]
    pub(super) fn leave_all(&self, frames: u32) {
        let left = self.counts.left.load(Ordering::Relaxed);
        self.counts.left.store(left.wrapping_add(frames), Ordering::Relaxed);
    }

    /// A frame of the pool did not go out after all, or will not come back this way.
    pub(super) fn stays(&self) {
        self.counts.astray.fetch_add(1, Ordering::Relaxed);
    }

    /// So many came back. To be called by the receiving half.
    fn return_all(&self, frames: u32) {
        let returned = self.counts.returned.load(Ordering::Relaxed);
        self.counts.returned.store(returned.wrapping_add(frames), Ordering::Relaxed);
    }

    /// Frames on their way.
    fn count(&self) -> u32 {
        let Counts { left, returned, astray } = &*self.counts;
        let [left, returned, astray] = [left, returned, astray].map(|count| count.load(Ordering::Relaxed));
        left.wrapping_sub(returned).wrapping_sub(astray)
    }
}

impl Pool {
    /// A full pool, and the way back for frames that were sent.
    pub(super) fn new(
        id: PortId,
        geometry: Geometry,
        slots: usize,
        starts: Starts,
    ) -> Result<(Self, Producer<Frame>), PoolError> {
        let Geometry { chunk, frames } = geometry;
        if u64::from(chunk) <= HEADROOM {
            return Err(PoolError::Chunk { given: chunk, limit: HEADROOM });
        }
        let bytes = u64::from(chunk) * u64::from(frames);
        let backing = HeapBacking::new(geometry).ok_or(PoolError::NoMemory { bytes })?;
        let mut umem = Umem::new(Box::new(backing), geometry, id)?;
        let (way, back) = ring(slots)?;
        // The lowest chunk is used first.
        let free = (0..frames).rev().map_while(|number| claimed(&mut umem, &starts, number)).collect();
        let under_way = UnderWay { umem: umem.id(), counts: Arc::default() };
        let orphans = Vec::with_capacity(frames as usize);
        Ok((Self { free, starts, umem, back, under_way, orphans }, way))
    }

    pub(super) fn under_way(&self) -> UnderWay {
        self.under_way.clone()
    }

    /// Most bytes that a packet can have.
    pub(super) fn capacity(&self) -> usize {
        self.umem.geometry().chunk as usize - usize::from(self.starts.last())
    }

    /// An empty frame.
    #[inline]
    pub(super) fn alloc(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    /// Appends at most `max` empty frames, and returns how many there were. What was used last comes first: its lines are
    /// still in the cache.
    #[inline]
    pub(super) fn alloc_burst(&mut self, into: &mut Vec<Frame>, max: usize) -> usize {
        let count = self.free.len().min(max);
        into.extend(self.free.drain(self.free.len() - count..).rev());
        count
    }

    /// Takes a whole burst back, as [`Pool::recycle`] does.
    #[inline]
    pub(super) fn recycle_all(&mut self, frames: &mut Vec<Frame>) {
        if frames.iter().all(|frame| self.under_way.owns(frame)) {
            frames.iter_mut().for_each(|frame| empty(frame, &self.starts));
            self.free.append(frames);
        } else {
            frames.drain(..).for_each(|frame| self.recycle(frame));
        }
    }

    /// Takes a frame back; one of another pool is dropped, which gives it back to its own.
    #[inline]
    pub(super) fn recycle(&mut self, frame: Frame) {
        if self.under_way.owns(&frame) {
            self.park(frame);
        }
    }

    #[inline]
    fn park(&mut self, mut frame: Frame) {
        empty(&mut frame, &self.starts);
        self.free.push(frame);
    }

    /// Takes in what came back from the wire, and what was dropped somewhere.
    pub(super) fn take_back(&mut self) {
        let Self { free, starts, umem, back, under_way, orphans } = self;
        let before = free.len();
        let returned = back.pop_burst(free, usize::MAX);
        if returned != 0 {
            free.iter_mut().skip(before).for_each(|frame| empty(frame, starts));
            under_way.return_all(returned as u32);
        }
        // An engine that is held up drops what others hand back to it: then there are many.
        umem.reclaim_orphans(|addr| orphans.push(addr));
        for addr in orphans.drain(..) {
            let number = addr / u64::from(umem.geometry().chunk);
            free.extend(claimed(umem, starts, number as u32));
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let Geometry { chunk, frames } = self.umem.geometry();
        u64::from(chunk) * u64::from(frames)
    }

    /// Where the chunks are, `fill` of them waiting for packets outside and `spare` set aside by the port.
    pub(super) fn census(&self, fill: u32, spare: u32) -> Census {
        let tx = self.under_way.count();
        Census {
            frames: self.umem.geometry().frames,
            free: self.free.len() as u32 + spare,
            fill,
            out: self.umem.out().saturating_sub(self.free.len() as u32 + fill + spare + tx),
            tx,
        }
    }
}

/// Makes a frame empty.
#[inline(always)]
fn empty(frame: &mut Frame, starts: &Starts) {
    // A chunk has more room than that: whoever made the pool saw to it.
    let _ = frame.clear(starts.start(frame.chunk()));
}

/// The empty frame of a chunk; `None` if the chunk is in use.
fn claimed(umem: &mut Umem, starts: &Starts, number: u32) -> Option<Frame> {
    let addr = u64::from(number) * u64::from(umem.geometry().chunk);
    umem.claim(Desc { addr: addr + u64::from(starts.start(number)), len: 0 }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(chunk: u32, starts: Starts) -> (Pool, Producer<Frame>) {
        Pool::new(PortId::new(0), Geometry { chunk, frames: 64 }, 64, starts).expect("small")
    }

    #[test]
    fn packets_begin_on_many_lines_and_have_room_for_an_ethernet_frame_wherever_they_begin() {
        for (chunk, capacity, places) in [(2048, 1584, 6), (4096, 4096 - 592, 8), (512, 512 - 144, 1)] {
            let (mut pool, _way) = pool(chunk, Starts::staggered(chunk));
            assert_eq!(pool.capacity(), capacity, "of chunks of {chunk}");
            let mut frames = Vec::new();
            assert_eq!(pool.alloc_burst(&mut frames, 100), 64);
            let mut lines: Vec<_> = frames.iter().map(|frame| chunk as usize - frame.capacity()).collect();
            lines.sort_unstable();
            lines.dedup();
            assert_eq!((lines.len(), lines[0]), (places, LEAST_HEADROOM as usize));
            assert!(frames.iter().all(|frame| capacity <= frame.capacity()));
        }
    }

    #[test]
    fn frames_come_back_empty_and_to_where_they_began_however_they_come() {
        let starts = Starts::staggered(2048);
        let (mut pool, mut way) = pool(2048, starts);
        let begins = |frames: &[Frame]| -> Vec<_> {
            frames.iter().map(|frame| (frame.chunk(), frame.capacity(), frame.len())).collect()
        };
        let mut frames = Vec::new();
        pool.alloc_burst(&mut frames, 64);
        let mut fresh = begins(&frames);
        fresh.sort_unstable();
        for frame in &mut frames {
            frame.set_len(100).expect("room");
            frame.set_range(20..90).expect("room");
        }
        // One by one, by the wire, orphaned, and the rest at once.
        pool.recycle(frames.remove(0));
        let under_way = pool.under_way();
        let sent = frames.remove(0);
        under_way.leaves(&sent);
        assert!(way.push(sent).is_ok());
        drop(frames.remove(0));
        pool.recycle_all(&mut frames);
        assert_eq!((frames.len(), pool.census(0, 0).free), (0, 62));
        pool.take_back();
        assert_eq!(pool.census(0, 0), Census { frames: 64, free: 64, fill: 0, out: 0, tx: 0 });
        pool.alloc_burst(&mut frames, 64);
        let mut again = begins(&frames);
        again.sort_unstable();
        assert_eq!(again, fresh);
    }

    #[test]
    fn among_many_a_stranger_goes_home() {
        let (mut one, _way) = pool(2048, Starts::SAME);
        let (mut other, _other_way) = pool(2048, Starts::SAME);
        let mut frames: Vec<_> = one.alloc().into_iter().chain(other.alloc()).collect();
        one.recycle_all(&mut frames);
        assert!(frames.is_empty());
        assert_eq!((one.census(0, 0).free, other.census(0, 0).free), (64, 63));
        other.take_back();
        assert_eq!(other.census(0, 0).free, 64);
    }
}
