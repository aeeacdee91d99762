//! The metadata before the packet: made by whoever first has something to say, and removed before every PASS.
//!
//! Made late, because most frames of a host are the OS stack's: they never pay for it. Removed, because GRO keeps packets
//! with different metadata apart: legacy traffic would be slower for ours. A driver's own metadata is left alone.
use abi::rxmeta::{MAGIC, MAGIC_CLASS, RxMeta};
use aya_ebpf::{helpers::generated::bpf_xdp_adjust_meta, programs::XdpContext};

const SIZE: i32 = RxMeta::SIZE as i32;

/// The 16 bytes before the packet: a header program's, or new ones. There are none if the driver has metadata of its
/// own or refuses it. Every `Frame` made before is invalid after it.
#[inline(always)]
pub fn reserve(ctx: &XdpContext) -> Option<Slot> {
    if ctx.metadata() < ctx.data() {
        return Slot::of(ctx);
    }
    // SAFETY: `ctx.ctx` is the context the kernel handed to this program.
    if unsafe { bpf_xdp_adjust_meta(ctx.ctx, -SIZE) } == 0 { Slot::there(ctx) } else { None }
}

/// Gives our bytes back, if there are any. Every `Frame` and [`Slot`] made before is invalid after it.
#[inline(always)]
pub fn remove(ctx: &XdpContext) -> Result<(), Stuck> {
    if Slot::of(ctx).is_none() {
        return Ok(());
    }
    // SAFETY: `ctx.ctx` is the context the kernel handed to this program.
    if unsafe { bpf_xdp_adjust_meta(ctx.ctx, SIZE) } == 0 { Ok(()) } else { Err(Stuck) }
}

/// Metadata that could not be removed.
pub struct Stuck;

/// The 16 reserved bytes.
#[derive(Clone, Copy)]
pub struct Slot(*mut RxMeta);

impl Slot {
    /// The slot that one of our programs made: its magic tells it from a driver's.
    #[inline(always)]
    pub fn of(ctx: &XdpContext) -> Option<Self> {
        let slot = Self::there(ctx)?;
        // SAFETY: `Slot::there` checked that 16 bytes lie before `data`; metadata is a multiple of 4 bytes long.
        let magic = unsafe { (*slot.0).magic };
        if magic == MAGIC_CLASS || magic == MAGIC { Some(slot) } else { None }
    }

    /// Exactly 16 bytes of metadata, whoever made them.
    ///
    /// Metadata comes in units of four bytes. An equality would be cheaper to write; the verifier learns only from
    /// inequalities.
    #[inline(always)]
    fn there(ctx: &XdpContext) -> Option<Self> {
        let (meta, data) = (ctx.metadata(), ctx.data());
        let (ends, next) = (meta + RxMeta::SIZE, meta + RxMeta::SIZE + 4);
        if ends > data || next <= data { None } else { Some(Self(meta as *mut RxMeta)) }
    }

    /// What a header program left: its class and generation.
    #[inline(always)]
    pub fn class(self) -> (u16, u8) {
        // SAFETY: as in `of`.
        let meta = unsafe { &*self.0 };
        (meta.class, meta.class_gen)
    }

    /// Writes all 16 bytes, as two words: field by field they would be nine stores and a call of `memset`.
    #[inline(always)]
    pub fn write(self, meta: RxMeta) {
        // SAFETY: as in `of`; nobody else looks at this packet while the program runs.
        unsafe { self.0.cast::<[u64; 2]>().write_unaligned(words(meta)) };
    }
}

/// The bytes of `meta` as words in this machine's order.
#[inline(always)]
const fn words(meta: RxMeta) -> [u64; 2] {
    let RxMeta { magic, kind, flags, id, generation, class, class_gen, l3_off, l4_off, frame_len } = meta;
    [
        magic as u64
            | (kind as u64) << 16
            | (flags as u64) << 24
            | (id as u64) << 32
            | (generation as u64) << 48,
        class as u64
            | (class_gen as u64) << 16
            | (l3_off as u64) << 24
            | (l4_off as u64) << 32
            | (frame_len as u64) << 48,
    ]
}

/// Every field has its place in the words: each of the bytes 1 to 16 comes out where `repr(C)` puts it.
const _: () = {
    let meta = RxMeta {
        magic: 0x0201,
        kind: 3,
        flags: 4,
        id: 0x0605,
        generation: 0x0807,
        class: 0x0A09,
        class_gen: 0x0B,
        l3_off: 0x0C,
        l4_off: 0x0E0D,
        frame_len: 0x100F,
    };
    let bytes: [u8; RxMeta::SIZE] = zerocopy::transmute!(words(meta));
    let mut i = 0;
    while i < bytes.len() {
        assert!(bytes[i] as usize == i + 1);
        i += 1;
    }
};
