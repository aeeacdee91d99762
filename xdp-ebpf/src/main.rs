//! Octroi's XDP programs: `ingress` and `steer`, in one object.
//!
//! ```text
//! wire ─► ingress ──tail call──► slot 0: the interface's header program, or nothing
//!            │                         │
//!            └────────────────────► slot 1: steer ─► redirect to the queue's AF_XDP socket, or PASS
//! ```
//!
//! They refuse to know what a target does: they find whose a frame is and leave that before it. Whatever nobody
//! claimed is the OS stack's, byte for byte. Each frame moves `rx` and exactly one counter that is its outcome.
//!
//! | module | what it is |
//! |---|---|
//! | [`ingress`] | the attached program: counts, starts the chain |
//! | [`steer`] | the end of the chain: whose is it, and where does it go |
//! | [`parse`] | the headers, one protocol a file |
//! | [`datagram`] | whose a datagram is, from its first fragment to its last |
//! | [`meta`] | the 16 bytes before the packet |
//! | [`frame`] | bounds-checked reads |
//! | [`maps`] | the maps, named as `abi::pins` names them |
//! | [`counters`] | one count per outcome |
#![no_std]
#![no_main]

mod counters;
mod datagram;
mod frame;
mod ingress;
mod maps;
mod meta;
mod parse;
mod steer;

/// The licence under which the kernel runs the programs: several helpers are only for GPL-compatible ones.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here can panic: the linker would keep this loop, and the verifier would refuse it.
    loop {}
}
