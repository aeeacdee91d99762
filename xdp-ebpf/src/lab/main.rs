//! Programs for benches and tests, in an object of their own that no daemon loads.
//!
//! | program | what it does |
//! |---|---|
//! | [`pass`] | passes every frame: what a veth needs at the end that frames are redirected to |
//! | [`transmit`] | redirects every frame out of one interface: the live-frame generator |
//! | [`floor`] | redirects every frame to the socket of its queue unread: the floor under `steer` |
//! | [`by_hand`] | header programs as a person writes them, for generated ones to be measured against |
//! | [`pktgen`] | makes, collects and swallows octroi-pktgen's frames |
#![no_std]
#![no_main]

mod by_hand;
mod floor;
#[path = "../frame.rs"]
#[allow(dead_code, reason = "shared with the programs that steer, which read more of a frame")]
mod frame;
#[path = "../meta.rs"]
#[allow(dead_code, reason = "shared with the programs that steer, which also read what was left to them")]
mod meta;
mod pass;
mod pktgen;
mod transmit;

/// The licence under which the kernel runs the programs.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here can panic.
    loop {}
}
