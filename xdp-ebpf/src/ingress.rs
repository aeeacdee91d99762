//! The attached program: counts the frame and starts the chain.
//!
//! It refuses to look into the packet. It is small so that it never needs to change: the pinned link keeps its
//! attach type for ever, and what does change sits behind the tail calls.
use abi::{
    counter::XdpCounter,
    pins::{SLOT_HEADER, SLOT_STEER},
};
use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};

use aya_log_ebpf::debug;

use crate::{
    counters::{count, is_unmoved},
    maps::JUMP,
};

/// Slot 0 is the interface's header program and usually empty; slot 1 is `steer`, set before this is attached.
#[xdp]
pub fn ingress(ctx: XdpContext) -> u32 {
    count(XdpCounter::Rx);
    // SAFETY: a tail call does not return on success, and nothing here waits to be dropped.
    unsafe { JUMP.tail_call(&ctx, SLOT_HEADER) };
    // SAFETY: as above.
    unsafe { JUMP.tail_call(&ctx, SLOT_STEER) };
    broken_chain(&ctx)
}

/// Nobody judged the frame: it is the OS stack's, as it came.
///
/// This is the one place that logs, at debug level and once a CPU: the loader sets slot 1 before it attaches, so
/// whoever reads this has lost the chain's map. (A log line for each packet costs more than all else together.)
#[inline(always)]
fn broken_chain(ctx: &XdpContext) -> u32 {
    if is_unmoved(XdpCounter::JumpMissed) {
        debug!(ctx, "broken chain: no program judged a frame of interface {}", ctx.ingress_ifindex());
    }
    count(XdpCounter::JumpMissed);
    XDP_PASS
}
