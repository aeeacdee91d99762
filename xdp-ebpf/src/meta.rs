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

    /// Writes all 16 bytes.
    #[inline(always)]
    pub fn write(self, meta: RxMeta) {
        // SAFETY: as in `class`; nobody else looks at this packet while the program runs.
        unsafe { self.0.write(meta) };
    }
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
