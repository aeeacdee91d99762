//! The memory by which workers show packets to a program that captures: where everything lies, and what a record says.
//!
//! Two regions per capture, sealed like those of applications: **down** is written by the workers and can only be read by
//! the program; of **up** a worker reads one index, which can make it keep packets from the program and nothing else.
//!
//! ```text
//!            down (workers write)                     up (the program writes)
//!  page 0    header, state                            one line of 128 bytes for each ring: cons
//!  ring 0    page: prod, what was taken and lost
//!            bytes: records, one behind the other
//!  ring 1 …
//! ```
//!
//! **A record** is 32 bytes and the packet's, up to a multiple of 8. It never goes over the ring's end: what is left there
//! is skipped by a record without a point. **Indices** are bytes, run freely in `u32`, and are published once a round.
//! **Nobody waits, and nobody is woken**: a record that does not fit is counted as lost, and the program looks when it
//! likes.
//!
//! | module | idea |
//! |---|---|
//! | [`ring`] | the two ends of a ring |
pub mod ring;

use core::sync::atomic::Ordering;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::shm::memory::{Memory, Writable};

/// First four bytes of a down region: "OCCP".
pub const MAGIC: u32 = u32::from_ne_bytes(*b"OCCP");
/// Version of this layout.
pub const LAYOUT: u16 = 1;
/// The unit that everything but records is aligned to.
pub const PAGE: usize = 4096;
/// Most rings: one per worker.
pub const MAX_RINGS: u16 = 64;
/// Fewest bytes of a ring.
pub const MIN_RING: u32 = 1 << 18;
/// Most bytes of a ring.
pub const MAX_RING: u32 = 1 << 24;
/// Interfaces that are counted one by one.
pub const MAX_LINKS: u16 = 64;
/// Most bytes of a packet that can be shown.
pub const MAX_SNAPLEN: u16 = u16::MAX;
/// Bytes of a record before the packet's.
pub const RECORD: usize = size_of::<Record>();

/// Offset of the [`State`] in the down region.
const STATE: usize = 128;
/// Offset of the counters in a ring's page.
const COUNTS: usize = 512;
/// Bytes of one ring's line in the up region.
const UP_LINE: usize = 128;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Point {
    /// A worker received it.
    Rx = 1,
    /// It left.
    Tx = 2,
    /// It ended here.
    Drop = 3,
}

/// Bits of [`Record::flags`].
pub mod flag {
    /// From a stack of this host to another, without a wire.
    pub const HAIRPIN: u8 = 1 << 0;
    /// The bytes begin with the IP header: it never got an Ethernet header.
    pub const BARE: u8 = 1 << 1;
    /// It was on its way out.
    pub const OUTBOUND: u8 = 1 << 2;
    /// Nobody's: it matched no tuple.
    pub const UNCLAIMED: u8 = 1 << 3;
}

/// What is known of a packet that is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// Bytes of the record in the ring, a multiple of 8. The ring's own end writes it.
    pub size: u32,
    /// A [`Point`]; 0 skips to the ring's beginning.
    pub point: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// At [`Point::Drop`]: the number of the reason.
    pub reason: u16,
    /// When the worker's round began, on its own clock.
    pub time_ns: u64,
    /// Bytes of the packet.
    pub len: u16,
    /// How many of them follow.
    pub captured: u16,
    /// The port: of what it came in by, or leaves by.
    pub port: u16,
    /// The interface of that port.
    pub link: u16,
    /// Whose it is: the target's kind.
    pub kind: u8,
    /// 0.
    pub zero: u8,
    /// The target's slot.
    pub id: u16,
    /// The slot's generation.
    pub generation: u16,
    /// Ruler's class, `rxmeta::CLASS_NONE` if none.
    pub class: u16,
}

/// What decides where everything lies.
///
/// # Invariants
/// 1 to [`MAX_RINGS`] rings, of a power of two from [`MIN_RING`] to [`MAX_RING`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    rings: u16,
    ring_bytes: u32,
}

/// Why regions cannot have this shape, or are not what was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeError {
    /// None, or more than [`MAX_RINGS`].
    Rings {
        /// What was asked for.
        given: u16,
    },
    /// Not a power of two from [`MIN_RING`] to [`MAX_RING`].
    RingBytes {
        /// What was asked for.
        given: u32,
    },
    /// Not a down region of this version.
    Header {
        /// The magic that stands there.
        magic: u32,
        /// The version that stands there.
        layout: u16,
    },
}

/// The first bytes of a down region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`LAYOUT`].
    pub layout: u16,
    /// Rings.
    pub rings: u16,
    /// Bytes of each.
    pub ring_bytes: u32,
    /// Most bytes of a packet that are shown.
    pub snaplen: u32,
    /// When the workers' clock was 0: nanoseconds since 1970.
    pub epoch_ns: u64,
}

/// Whether packets are still shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// They are.
    Live = 0,
    /// Its program said that it is enough.
    Stopped = 1,
    /// A tuple that it was allowed for has another owner now, or none.
    Released = 2,
    /// The daemon ended.
    Down = 3,
}

/// Where one ring lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingAt {
    page: usize,
    cons: usize,
    bytes: u32,
}

/// One of the counters of a ring: packets of one interface at one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line(u16);

/// What became of packets that were to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Put into the ring.
    pub taken: u64,
    /// Not: the program was too slow for the ring.
    pub lost: u64,
}

impl Point {
    /// Every point.
    pub const ALL: [Self; 3] = [Self::Rx, Self::Tx, Self::Drop];

    /// The point with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Rx),
            2 => Some(Self::Tx),
            3 => Some(Self::Drop),
            _ => None,
        }
    }
}

impl State {
    /// What the region says; a number that means nothing is the end.
    #[must_use]
    pub fn read(down: &(impl Memory + ?Sized)) -> Self {
        match down.load_u32(STATE, Ordering::Acquire) {
            0 => Self::Live,
            1 => Self::Stopped,
            2 => Self::Released,
            _ => Self::Down,
        }
    }

    /// Says it, after everything that was shown before.
    pub fn write(self, down: &(impl Writable + ?Sized)) {
        down.store_u32(STATE, self as u32, Ordering::Release);
    }
}

impl Shape {
    /// So many rings of so many bytes.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub const fn new(rings: u16, ring_bytes: u32) -> Result<Self, ShapeError> {
        if rings == 0 || MAX_RINGS < rings {
            return Err(ShapeError::Rings { given: rings });
        }
        if !ring_bytes.is_power_of_two() || ring_bytes < MIN_RING || MAX_RING < ring_bytes {
            return Err(ShapeError::RingBytes { given: ring_bytes });
        }
        Ok(Self { rings, ring_bytes })
    }

    /// The shape that a down region says it has.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn read(down: &(impl Memory + ?Sized)) -> Result<(Self, Header), ShapeError> {
        let mut bytes = [0; size_of::<Header>()];
        down.copy_out(0, &mut bytes);
        let header: Header = zerocopy::transmute!(bytes);
        let Header { magic, layout, rings, ring_bytes, .. } = header;
        if (magic, layout) != (MAGIC, LAYOUT) {
            return Err(ShapeError::Header { magic, layout });
        }
        Ok((Self::new(rings, ring_bytes)?, header))
    }

    /// Writes the header of a fresh down region.
    pub fn lay_out(&self, down: &(impl Writable + ?Sized), snaplen: u16, epoch_ns: u64) {
        let Self { rings, ring_bytes } = *self;
        let header =
            Header { magic: MAGIC, layout: LAYOUT, rings, ring_bytes, snaplen: snaplen.into(), epoch_ns };
        down.copy_in(0, header.as_bytes());
    }

    /// Rings.
    #[must_use]
    pub const fn rings(&self) -> u16 {
        self.rings
    }

    /// Bytes of the down region.
    #[must_use]
    pub const fn down_size(&self) -> usize {
        PAGE + self.rings as usize * (PAGE + self.ring_bytes as usize)
    }

    /// Bytes of the up region.
    #[must_use]
    pub const fn up_size(&self) -> usize {
        (self.rings as usize * UP_LINE).next_multiple_of(PAGE)
    }

    /// Where a ring lies, if there is one with this number.
    #[must_use]
    pub const fn ring(&self, number: u16) -> Option<RingAt> {
        if self.rings <= number {
            return None;
        }
        let page = PAGE + number as usize * (PAGE + self.ring_bytes as usize);
        Some(RingAt { page, cons: number as usize * UP_LINE, bytes: self.ring_bytes })
    }
}

impl Line {
    /// Lines of a ring.
    pub const COUNT: usize = Point::ALL.len() * MAX_LINKS as usize;

    /// The line of a point and an interface; interfaces beyond [`MAX_LINKS`] share the last.
    #[must_use]
    #[inline(always)]
    pub const fn of(point: Point, link: u16) -> Self {
        let link = if link < MAX_LINKS { link } else { MAX_LINKS - 1 };
        Self((point as u16 - 1) * MAX_LINKS + link)
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

impl RingAt {
    const fn prod(&self) -> usize {
        self.page
    }

    const fn counts(&self, line: Line) -> usize {
        self.page + COUNTS + line.index() * size_of::<[u64; 2]>()
    }

    const fn byte(&self, index: u32) -> usize {
        self.page + PAGE + (index & (self.bytes - 1)) as usize
    }

    /// What became of the packets of one line.
    #[must_use]
    pub fn read_counts(&self, down: &(impl Memory + ?Sized), line: Line) -> Counts {
        let at = self.counts(line);
        Counts { taken: down.load_u64(at), lost: down.load_u64(at + 8) }
    }
}

const _: () = {
    assert!(size_of::<Record>() == 32 && align_of::<Record>() == 8);
    assert!(size_of::<Header>() == 24);
    assert!(core::mem::offset_of!(Record, point) == 4 && core::mem::offset_of!(Record, time_ns) == 8);
    assert!(core::mem::offset_of!(Record, len) == 16 && core::mem::offset_of!(Record, kind) == 24);
    assert!(core::mem::offset_of!(Record, class) == 30);
    assert!(COUNTS + Line::COUNT * size_of::<[u64; 2]>() <= PAGE, "the counters fit their page");
    // Twice: what is skipped at the end may be nearly as long as the record that did not fit there.
    assert!(2 * (RECORD + MAX_SNAPLEN as usize).next_multiple_of(8) <= MIN_RING as usize);
};
