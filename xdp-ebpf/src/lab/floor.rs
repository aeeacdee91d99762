//! Redirects every frame to the AF_XDP socket of its queue, unread: what no steering program can be cheaper than.
use abi::pins::MAX_QUEUES;
use aya_ebpf::{
    bindings::xdp_action::XDP_DROP,
    macros::{map, xdp},
    maps::XskMap,
    programs::XdpContext,
};

/// Receive queue → AF_XDP socket.
#[map]
pub static FLOOR_XSKS: XskMap = XskMap::with_max_entries(MAX_QUEUES, 0);

/// See the module.
#[xdp]
pub fn floor(ctx: XdpContext) -> u32 {
    FLOOR_XSKS.redirect(ctx.rx_queue_index(), u64::from(XDP_DROP)).unwrap_or(XDP_DROP)
}
