//! Redirects every frame out of the one interface in `OUT`: with live frames, a generator inside the kernel.
//!
//! A frame that cannot leave is aborted, never passed: the generator must not feed its own host's stack.
use abi::pins::LAB_OUT_ENTRIES;
use aya_ebpf::{
    bindings::xdp_action::XDP_ABORTED,
    macros::{map, xdp},
    maps::DevMap,
    programs::XdpContext,
};

/// Entry 0: the interface to leave by.
#[map]
pub static OUT: DevMap = DevMap::with_max_entries(LAB_OUT_ENTRIES, 0);

/// See the module.
#[xdp]
pub fn transmit(_ctx: XdpContext) -> u32 {
    OUT.redirect(0, u64::from(XDP_ABORTED)).unwrap_or(XDP_ABORTED)
}
