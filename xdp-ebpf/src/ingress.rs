//! The attached program: counts the frame, makes room for metadata, and starts the chain.
//!
//! It refuses to look into the packet. It is small so that it never needs to change: the pinned link keeps its
//! attach type for ever, and what does change sits behind the tail calls.
use abi::{
    counter::XdpCounter,
    pins::{SLOT_HEADER, SLOT_STEER},
};
use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};

use crate::{counters::count, maps::JUMP, meta};

/// Slot 0 is the interface's header program and usually empty; slot 1 is `steer`, set before this is attached.
#[xdp]
pub fn ingress(ctx: XdpContext) -> u32 {
    count(XdpCounter::Rx);
    meta::reserve(&ctx);
    // SAFETY: a tail call does not return on success, and nothing here waits to be dropped.
    unsafe { JUMP.tail_call(&ctx, SLOT_HEADER) };
    // SAFETY: as above.
    unsafe { JUMP.tail_call(&ctx, SLOT_STEER) };
    broken_chain(&ctx)
}

/// Nobody judged the frame: it is the OS stack's, as it came.
#[inline(always)]
fn broken_chain(ctx: &XdpContext) -> u32 {
    if meta::remove(ctx).is_err() {
        count(XdpCounter::DropMetaStuck);
        return XDP_DROP;
    }
    count(XdpCounter::JumpMissed);
    XDP_PASS
}
