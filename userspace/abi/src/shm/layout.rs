//! Where everything lies in the two regions: sizes, strides and offsets, all computed from one checked [`Shape`].
//!
//! It refuses shapes that the limits below do not allow, so that no later sum can overflow or leave its region.
use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{counter::SPACE, desc::DESC_SIZE};

/// First four bytes of a down region: "OCDN".
pub const DOWN_MAGIC: u32 = u32::from_ne_bytes(*b"OCDN");
/// First four bytes of an up region: "OCUP". The daemon never reads them.
pub const UP_MAGIC: u32 = u32::from_ne_bytes(*b"OCUP");
/// Version of this layout.
pub const LAYOUT: u16 = 2;

/// The unit that headers and buffer areas are aligned to.
pub const PAGE: usize = 4096;
/// Fewest slots of a ring.
pub const MIN_SLOTS: u32 = 64;
/// Most slots of a ring.
pub const MAX_SLOTS: u32 = 4096;
/// Slots of a ring unless somebody says otherwise.
pub const DEFAULT_SLOTS: u32 = 256;
/// Most channels of a session: one per worker.
pub const MAX_CHANNELS: u16 = 64;

/// Bytes by which the channels of one colour lie further back than those of the colour before: a cache line.
pub const COLOUR: usize = 64;
/// Colours: the lines of a page.
pub const COLOURS: u16 = (PAGE / COLOUR) as u16;

/// Offset of a channel's descriptors from its start: behind indices, flags and counters.
const DESCRIPTORS: usize = 512 + 8 * SPACE;

/// Offset of the session's [`State`] in the down region.
pub const STATE: usize = 128;

/// Bits of [`DownHeader::features`].
pub mod feature {
    /// TCP and UDP checksums of received packets may be incomplete: their sender was on this host.
    pub const RX_CSUM_PARTIAL: u32 = 1 << 0;
    /// The session may send frames with an Ethernet header of its own.
    pub const L2: u32 = 1 << 1;
    /// Workers sleep: look at `tx_flags` after sending. Without this bit they never do.
    pub const WORKERS_SLEEP: u32 = 1 << 2;
}

/// The number of slots of one ring.
///
/// # Invariants
/// A power of two from [`MIN_SLOTS`] to [`MAX_SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots(u32);

/// Bytes of one buffer: the UMEM's chunk, so that whatever fits a frame fits a slot.
///
/// # Invariants
/// 2048 or 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSize(u32);

/// What decides where everything lies.
///
/// # Invariants
/// 1 to [`MAX_CHANNELS`] channels, and a colour below [`COLOURS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    channels: u16,
    rx: Slots,
    tx: Slots,
    slot: SlotSize,
    colour: u16,
}

/// Why regions cannot have this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeError {
    /// Not a power of two from [`MIN_SLOTS`] to [`MAX_SLOTS`].
    Slots {
        /// What was asked for.
        given: u32,
    },
    /// Neither 2048 nor 4096.
    SlotSize {
        /// What was asked for.
        given: u32,
    },
    /// None, or more than [`MAX_CHANNELS`].
    Channels {
        /// What was asked for.
        given: u16,
    },
}

/// The first bytes of a down region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DownHeader {
    /// [`DOWN_MAGIC`].
    pub magic: u32,
    /// [`LAYOUT`].
    pub layout: u16,
    /// Channels.
    pub channels: u16,
    /// Rx slots of each.
    pub rx_slots: u32,
    /// Tx slots of each.
    pub tx_slots: u32,
    /// Bytes of a slot.
    pub slot_size: u32,
    /// The session's slot.
    pub slot: u16,
    /// The slot's generation.
    pub generation: u16,
    /// Longest IP packet.
    pub mtu: u32,
    /// Bits of [`feature`].
    pub features: u32,
    /// Bytes from one channel of the down region to the next.
    pub stride_down: u64,
    /// Bytes from one channel of the up region to the next.
    pub stride_up: u64,
    /// The shape's colour.
    pub colour: u32,
    /// 0.
    pub zero: u32,
}

/// What a session is, beside the shape of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its slot.
    pub slot: u16,
    /// The slot's generation.
    pub generation: u16,
    /// Longest IP packet.
    pub mtu: u32,
    /// Bits of [`feature`].
    pub features: u32,
}

/// Why a down region cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Not a down region.
    Magic {
        /// What stands there.
        given: u32,
    },
    /// Another version of the layout.
    Layout {
        /// The region's.
        given: u16,
    },
    /// Values that no daemon writes.
    Shape(ShapeError),
    /// Strides that do not follow from the shape.
    Stride,
    /// Not below [`COLOURS`].
    Colour {
        /// What stands there.
        given: u32,
    },
}

/// What the daemon says of the session as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// Packets flow.
    Live = 0,
    /// Over: nothing will ever be read or written again. 1 is left free, for a daemon that serves what lies in the rings
    /// and nothing new.
    Revoked = 2,
}

/// Where one channel lies in the down region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownChannel {
    base: u32,
    buffers: u32,
    slot_size: u32,
}

/// Where one channel lies in the up region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpChannel {
    base: u32,
    buffers: u32,
    slot_size: u32,
}

impl Slots {
    /// Checks a number of slots.
    ///
    /// # Errors
    /// [`ShapeError::Slots`].
    pub const fn new(given: u32) -> Result<Self, ShapeError> {
        if given.is_power_of_two() && MIN_SLOTS <= given && given <= MAX_SLOTS {
            Ok(Self(given))
        } else {
            Err(ShapeError::Slots { given })
        }
    }

    /// The number.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The slot of a free-running index. The mask keeps it inside whatever the index is.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self, index: u32) -> u32 {
        index & (self.0 - 1)
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self(DEFAULT_SLOTS)
    }
}

impl SlotSize {
    /// Checks a buffer's size.
    ///
    /// # Errors
    /// [`ShapeError::SlotSize`].
    pub const fn new(given: u32) -> Result<Self, ShapeError> {
        match given {
            2048 | 4096 => Ok(Self(given)),
            _ => Err(ShapeError::SlotSize { given }),
        }
    }

    /// The number of bytes.
    #[must_use]
    #[inline(always)]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Shape {
    /// Checks a shape.
    ///
    /// # Errors
    /// [`ShapeError::Channels`].
    pub const fn new(channels: u16, rx: Slots, tx: Slots, slot: SlotSize) -> Result<Self, ShapeError> {
        if channels == 0 || MAX_CHANNELS < channels {
            return Err(ShapeError::Channels { given: channels });
        }
        Ok(Self { channels, rx, tx, slot, colour: 0 })
    }

    /// The same in another colour: any number will do, and neighbours should have different ones.
    ///
    /// Everything in a region lies at powers of two, and regions begin on pages. So the same slot of every session would
    /// be in the same few sets of a cache, which hold a dozen lines and not the lines of 64 sessions; a worker that
    /// serves them in turns would find none of them there. A colour moves a session's channels by some lines.
    #[must_use]
    pub const fn coloured(self, number: u16) -> Self {
        Self { colour: number % COLOURS, ..self }
    }

    /// Channels.
    #[must_use]
    pub const fn channels(&self) -> u16 {
        self.channels
    }

    /// Rx slots of each channel.
    #[must_use]
    pub const fn rx_slots(&self) -> Slots {
        self.rx
    }

    /// Tx slots of each channel.
    #[must_use]
    pub const fn tx_slots(&self) -> Slots {
        self.tx
    }

    /// Bytes of each buffer.
    #[must_use]
    pub const fn slot_size(&self) -> SlotSize {
        self.slot
    }

    /// Bytes from one channel to the next in the down region.
    #[must_use]
    pub const fn stride_down(&self) -> usize {
        stride(self.rx, self.slot)
    }

    /// Bytes from one channel to the next in the up region.
    #[must_use]
    pub const fn stride_up(&self) -> usize {
        stride(self.tx, self.slot)
    }

    /// Bytes of the whole down region.
    #[must_use]
    pub const fn down_size(&self) -> usize {
        self.first() + self.channels as usize * self.stride_down()
    }

    /// Bytes of the whole up region.
    #[must_use]
    pub const fn up_size(&self) -> usize {
        self.first() + self.channels as usize * self.stride_up()
    }

    /// Offset of the first channel: behind the header's page.
    const fn first(&self) -> usize {
        PAGE + self.colour as usize * COLOUR
    }

    /// Where channel `number` lies in the down region; `None` if there is no such channel.
    #[must_use]
    pub const fn down(&self, number: u16) -> Option<DownChannel> {
        if self.channels <= number {
            return None;
        }
        let base = self.first() + number as usize * self.stride_down();
        let buffers = base + buffers(self.rx);
        Some(DownChannel { base: base as u32, buffers: buffers as u32, slot_size: self.slot.0 })
    }

    /// Where channel `number` lies in the up region; `None` if there is no such channel.
    #[must_use]
    pub const fn up(&self, number: u16) -> Option<UpChannel> {
        if self.channels <= number {
            return None;
        }
        let base = self.first() + number as usize * self.stride_up();
        let buffers = base + buffers(self.tx);
        Some(UpChannel { base: base as u32, buffers: buffers as u32, slot_size: self.slot.0 })
    }
}

/// Offset of the first buffer from a channel's start.
const fn buffers(slots: Slots) -> usize {
    (DESCRIPTORS + slots.0 as usize * DESC_SIZE).next_multiple_of(PAGE)
}

const fn stride(slots: Slots, size: SlotSize) -> usize {
    buffers(slots) + slots.0 as usize * size.0 as usize
}

impl DownHeader {
    /// The header of a session's down region.
    #[must_use]
    pub const fn new(shape: &Shape, session: Session) -> Self {
        Self {
            magic: DOWN_MAGIC,
            layout: LAYOUT,
            channels: shape.channels,
            rx_slots: shape.rx.0,
            tx_slots: shape.tx.0,
            slot_size: shape.slot.0,
            colour: shape.colour as u32,
            zero: 0,
            slot: session.slot,
            generation: session.generation,
            mtu: session.mtu,
            features: session.features,
            stride_down: shape.stride_down() as u64,
            stride_up: shape.stride_up() as u64,
        }
    }

    /// The shape that this header describes.
    ///
    /// # Errors
    /// [`HeaderError`] if it is not a header of this layout.
    pub const fn shape(&self) -> Result<Shape, HeaderError> {
        if self.magic != DOWN_MAGIC {
            return Err(HeaderError::Magic { given: self.magic });
        }
        if self.layout != LAYOUT {
            return Err(HeaderError::Layout { given: self.layout });
        }
        let (rx, tx, slot) =
            match (Slots::new(self.rx_slots), Slots::new(self.tx_slots), SlotSize::new(self.slot_size)) {
                (Ok(rx), Ok(tx), Ok(slot)) => (rx, tx, slot),
                (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
                    return Err(HeaderError::Shape(error));
                }
            };
        match Shape::new(self.channels, rx, tx, slot) {
            Err(error) => Err(HeaderError::Shape(error)),
            Ok(shape)
                if self.stride_down != shape.stride_down() as u64
                    || self.stride_up != shape.stride_up() as u64 =>
            {
                Err(HeaderError::Stride)
            }
            Ok(_) if COLOURS as u32 <= self.colour => Err(HeaderError::Colour { given: self.colour }),
            Ok(shape) => Ok(shape.coloured(self.colour as u16)),
        }
    }

    /// What this header says of the session itself.
    #[must_use]
    pub const fn session(&self) -> Session {
        Session { slot: self.slot, generation: self.generation, mtu: self.mtu, features: self.features }
    }
}

impl State {
    /// The state that a word stands for; whatever is unknown counts as over.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Live,
            _ => Self::Revoked,
        }
    }
}

impl DownChannel {
    /// Offset of `rx_prod`.
    #[must_use]
    #[inline(always)]
    pub const fn rx_prod(&self) -> usize {
        self.base as usize
    }

    /// Offset of `tx_cons`.
    #[must_use]
    #[inline(always)]
    pub const fn tx_cons(&self) -> usize {
        self.base as usize + 128
    }

    /// Offset of `tx_flags`.
    #[must_use]
    #[inline(always)]
    pub const fn tx_flags(&self) -> usize {
        self.base as usize + 256
    }

    /// Offset of a counter; `index` is taken modulo the space there is.
    #[must_use]
    #[inline(always)]
    pub const fn counter(&self, index: usize) -> usize {
        self.base as usize + 512 + 8 * (index % SPACE)
    }

    /// Offset of an Rx descriptor; `slot` comes from [`Slots::slot`].
    #[must_use]
    #[inline(always)]
    pub const fn descriptor(&self, slot: u32) -> usize {
        self.base as usize + DESCRIPTORS + slot as usize * DESC_SIZE
    }

    /// Bytes of an Rx buffer.
    #[must_use]
    #[inline(always)]
    pub const fn slot_size(&self) -> usize {
        self.slot_size as usize
    }

    /// Offset of an Rx buffer; `slot` comes from [`Slots::slot`].
    #[must_use]
    #[inline(always)]
    pub const fn buffer(&self, slot: u32) -> usize {
        self.buffers as usize + slot as usize * self.slot_size as usize
    }
}

impl UpChannel {
    /// Offset of `tx_prod`.
    #[must_use]
    #[inline(always)]
    pub const fn tx_prod(&self) -> usize {
        self.base as usize
    }

    /// Offset of `rx_cons`.
    #[must_use]
    #[inline(always)]
    pub const fn rx_cons(&self) -> usize {
        self.base as usize + 128
    }

    /// Offset of `rx_flags`.
    #[must_use]
    #[inline(always)]
    pub const fn rx_flags(&self) -> usize {
        self.base as usize + 256
    }

    /// Offset of a Tx descriptor; `slot` comes from [`Slots::slot`].
    #[must_use]
    #[inline(always)]
    pub const fn descriptor(&self, slot: u32) -> usize {
        self.base as usize + DESCRIPTORS + slot as usize * DESC_SIZE
    }

    /// Bytes of a Tx buffer.
    #[must_use]
    #[inline(always)]
    pub const fn slot_size(&self) -> usize {
        self.slot_size as usize
    }

    /// Offset of a Tx buffer; `slot` comes from [`Slots::slot`].
    #[must_use]
    #[inline(always)]
    pub const fn buffer(&self, slot: u32) -> usize {
        self.buffers as usize + slot as usize * self.slot_size as usize
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots { given } => {
                write!(f, "{given} slots are not a power of two from {MIN_SLOTS} to {MAX_SLOTS}")
            }
            Self::SlotSize { given } => write!(f, "a slot has 2048 or 4096 bytes, not {given}"),
            Self::Channels { given } => write!(f, "{given} channels, 1 to {MAX_CHANNELS} are possible"),
        }
    }
}

impl core::error::Error for ShapeError {}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic { given } => write!(f, "{given:#x} is not the magic of a down region"),
            Self::Layout { given } => write!(f, "the region has layout {given}, this program knows {LAYOUT}"),
            Self::Shape(error) => error.fmt(f),
            Self::Stride => f.write_str("the region's strides do not follow from its shape"),
            Self::Colour { given } => write!(f, "colour {given}, there are {COLOURS}"),
        }
    }
}

impl core::error::Error for HeaderError {}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<DownHeader>() == 56 && size_of::<DownHeader>() <= STATE && STATE + 4 <= PAGE);
    assert!(offset_of!(DownHeader, layout) == 4 && offset_of!(DownHeader, channels) == 6);
    assert!(offset_of!(DownHeader, rx_slots) == 8 && offset_of!(DownHeader, tx_slots) == 12);
    assert!(offset_of!(DownHeader, slot_size) == 16 && offset_of!(DownHeader, slot) == 20);
    assert!(offset_of!(DownHeader, generation) == 22 && offset_of!(DownHeader, mtu) == 24);
    assert!(offset_of!(DownHeader, features) == 28 && offset_of!(DownHeader, stride_down) == 32);
    assert!(offset_of!(DownHeader, stride_up) == 40 && offset_of!(DownHeader, colour) == 48);
    // Nothing that a line should have to itself shares it with its neighbour, whatever the colour.
    assert!(COLOUR == 64 && PAGE.is_multiple_of(COLOUR) && DESCRIPTORS.is_multiple_of(COLOUR));
    // `DownChannel` and `UpChannel` lose nothing: every offset of the largest shape fits a `u32`.
    let most = Slots(MAX_SLOTS);
    let shape =
        Shape { channels: MAX_CHANNELS, rx: most, tx: most, slot: SlotSize(4096), colour: COLOURS - 1 };
    assert!(shape.down_size() <= u32::MAX as usize && shape.up_size() <= u32::MAX as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(channels: u16, rx: u32, tx: u32, slot: u32) -> Result<Shape, ShapeError> {
        Shape::new(channels, Slots::new(rx)?, Slots::new(tx)?, SlotSize::new(slot)?)
    }

    const SESSION: Session = Session { slot: 7, generation: 3, mtu: 1500, features: feature::L2 };

    #[test]
    fn the_offsets_are_those_of_the_specification() {
        let shape = shape(2, 256, 512, 2048).unwrap();
        // Behind the first kilobyte 256 descriptors need two pages, 512 three.
        assert_eq!(shape.stride_down(), 8192 + 256 * 2048);
        assert_eq!(shape.stride_up(), 12_288 + 512 * 2048);
        let (down, up) = (shape.down(1).unwrap(), shape.up(1).unwrap());
        let base = 4096 + shape.stride_down();
        assert_eq!((down.rx_prod(), down.tx_cons(), down.tx_flags()), (base, base + 128, base + 256));
        assert_eq!((down.counter(0), down.counter(63)), (base + 512, base + 512 + 63 * 8));
        assert_eq!((down.descriptor(0), down.descriptor(255)), (base + 1024, base + 1024 + 255 * 16));
        assert_eq!((down.buffer(0), down.buffer(1)), (base + 8192, base + 8192 + 2048));
        assert_eq!(down.buffer(255) + 2048, shape.down_size(), "the last byte is used, and no more");
        let base = 4096 + shape.stride_up();
        assert_eq!((up.tx_prod(), up.rx_cons(), up.rx_flags()), (base, base + 128, base + 256));
        assert_eq!((up.descriptor(1), up.buffer(0)), (base + 1024 + 16, base + 12_288));
        assert_eq!(up.buffer(511) + 2048, shape.up_size());
        assert_eq!((shape.down(2), shape.up(2)), (None, None));
    }

    #[test]
    fn few_slots_still_begin_their_buffers_on_a_page() {
        let shape = shape(1, 64, 64, 4096).unwrap();
        assert_eq!(shape.down(0).unwrap().buffer(0) % PAGE, 0);
        assert_eq!(shape.stride_down(), 4096 + 64 * 4096);
    }

    #[test]
    fn a_colour_moves_all_of_a_channel_by_as_many_lines() {
        let plain = shape(2, 64, 128, 2048).unwrap();
        for number in [0, 1, 63, 64, 4095] {
            let (shape, lines) = (plain.coloured(number), usize::from(number) % 64 * 64);
            for channel in 0..2 {
                let (down, up) = (shape.down(channel).unwrap(), shape.up(channel).unwrap());
                let (plain_down, plain_up) = (plain.down(channel).unwrap(), plain.up(channel).unwrap());
                assert_eq!(down.rx_prod(), plain_down.rx_prod() + lines);
                assert_eq!(down.descriptor(5), plain_down.descriptor(5) + lines);
                assert_eq!(down.buffer(63), plain_down.buffer(63) + lines);
                assert_eq!(
                    (up.tx_prod(), up.buffer(9)),
                    (plain_up.tx_prod() + lines, plain_up.buffer(9) + lines)
                );
            }
            assert_eq!(shape.down(1).unwrap().buffer(63) + 2048, shape.down_size(), "and no more");
            assert_eq!(shape.up(1).unwrap().buffer(127) + 2048, shape.up_size());
        }
    }

    #[test]
    fn shapes_beyond_the_limits_are_refused() {
        for given in [0, 1, 32, 63, 65, 100, 8192, u32::MAX] {
            assert_eq!(shape(1, given, 64, 2048), Err(ShapeError::Slots { given }));
        }
        for given in [0, 1024, 2047, 8192] {
            assert_eq!(shape(1, 64, 64, given), Err(ShapeError::SlotSize { given }));
        }
        for given in [0, 65] {
            assert_eq!(shape(given, 64, 64, 2048), Err(ShapeError::Channels { given }));
        }
    }

    #[test]
    fn a_header_describes_its_shape_and_nothing_else_does() {
        let shape = shape(3, 128, 64, 2048).unwrap().coloured(63);
        let header = DownHeader::new(&shape, SESSION);
        assert_eq!((header.shape(), header.session()), (Ok(shape), SESSION));
        let with = |edit: fn(&mut DownHeader)| {
            let mut header = header;
            edit(&mut header);
            header.shape()
        };
        assert_eq!(with(|h| h.magic = UP_MAGIC), Err(HeaderError::Magic { given: UP_MAGIC }));
        assert_eq!(with(|h| h.layout = 1), Err(HeaderError::Layout { given: 1 }));
        assert_eq!(with(|h| h.rx_slots = 100), Err(HeaderError::Shape(ShapeError::Slots { given: 100 })));
        assert_eq!(with(|h| h.channels = 0), Err(HeaderError::Shape(ShapeError::Channels { given: 0 })));
        assert_eq!(with(|h| h.stride_up += 4096), Err(HeaderError::Stride));
        assert_eq!(with(|h| h.colour = 64), Err(HeaderError::Colour { given: 64 }));
        assert_eq!(&header.as_bytes()[..4], b"OCDN");
    }

    #[test]
    fn an_unknown_state_is_the_end() {
        let states = [State::Live, State::Revoked];
        assert_eq!(states.map(|state| State::from_word(state as u32)), states);
        assert_eq!([1, 77].map(State::from_word), [State::Revoked; 2]);
    }
}
