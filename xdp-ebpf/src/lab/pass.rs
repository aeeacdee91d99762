//! Passes every frame and counts nothing: the emptiest XDP program there is.
use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};

/// See the module.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    XDP_PASS
}
