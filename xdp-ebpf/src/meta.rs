//! The metadata before the packet: made by `ingress`, filled by `steer`, removed before every PASS.
//!
//! Removed, because GRO keeps packets with different metadata apart: legacy traffic would be slower for ours.
use abi::rxmeta::{CLASS_NONE, RxMeta};
use aya_ebpf::{helpers::generated::bpf_xdp_adjust_meta, programs::XdpContext};

const SIZE: i32 = RxMeta::SIZE as i32;

/// Reserves the metadata and marks it as not filled. A driver may refuse; then there is none, and `steer` says so.
#[inline(always)]
pub fn reserve(ctx: &XdpContext) {
    // SAFETY: `ctx.ctx` is the context the kernel handed to this program.
    if unsafe { bpf_xdp_adjust_meta(ctx.ctx, -SIZE) } == 0
        && let Some(slot) = Slot::of(ctx)
    {
        slot.write(RxMeta { class: CLASS_NONE, ..EMPTY });
    }
}

/// Gives the reserved bytes back, if there are any. Every `Frame` and [`Slot`] made before is invalid after it.
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
    /// The slot of `ctx`, if exactly our metadata is there: a driver's own would stand between it and the packet.
    ///
    /// Metadata comes in units of four bytes. An equality would be cheaper to write; the verifier learns only from
    /// inequalities.
    #[inline(always)]
    pub fn of(ctx: &XdpContext) -> Option<Self> {
        let (meta, data) = (ctx.metadata(), ctx.data());
        let (ends, next) = (meta + RxMeta::SIZE, meta + RxMeta::SIZE + 4);
        if ends > data || next <= data { None } else { Some(Self(meta as *mut RxMeta)) }
    }

    /// What a header program left: its class and generation, or [`CLASS_NONE`] and 0.
    #[inline(always)]
    pub fn class(self) -> (u16, u8) {
        // SAFETY: `Slot::of` checked that 16 bytes lie before `data`; metadata is a multiple of 4 bytes long.
        let meta = unsafe { &*self.0 };
        (meta.class, meta.class_gen)
    }

    /// Writes all 16 bytes, as two words: field by field they would be nine stores and a call of `memset`.
    #[inline(always)]
    pub fn write(self, meta: RxMeta) {
        // SAFETY: as in `class`; nobody else looks at this packet while the program runs.
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

const EMPTY: RxMeta = RxMeta {
    magic: 0,
    kind: 0,
    flags: 0,
    id: 0,
    generation: 0,
    class: 0,
    class_gen: 0,
    l3_off: 0,
    l4_off: 0,
    frame_len: 0,
};

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
