//! Every struct that XDP programs, workers and applications share: one definition, one layout.
//!
//! This crate refuses to know an operating system: no `std`, no allocation, no dependency but the derive
//! macros that prove each layout free of padding. It builds for `bpfel-unknown-none` and `wasm32-unknown-unknown`.
//!
//! | module | what is shared |
//! |---|---|
//! | [`steer`] | the steering table: [`steer::SteerKey`] → [`steer::Target`] |
//! | [`fragment`] | the fragment map: what later fragments of an owned datagram follow |
//! | [`rxmeta`] | the 16 bytes XDP leaves before a packet |
//! | [`port`] | what `steer` must know of the interface it runs on |
//! | [`counter`] | the outcome of every packet that XDP saw, one counter each |
//! | [`header`] | the maps that a generated header program names |
//! | [`pins`] | names of programs, maps and pins |
//! | `shm` | the rings that an application shares with the daemon (not for XDP, which has no fences) |
//! | `capture` | the rings that a program which captures shares with the workers (not for XDP either) |
//! | [`pktgen`] | the traffic generator's plan, shared with its XDP program |
#![no_std]
#![deny(unsafe_code)]

#[cfg(not(target_arch = "bpf"))]
pub mod capture;
pub mod counter;
pub mod fragment;
pub mod header;
pub mod pins;
pub mod pktgen;
pub mod port;
pub mod rxmeta;
#[cfg(not(target_arch = "bpf"))]
pub mod shm;
pub mod steer;

/// Version of every layout in this crate, pinned as one `u32` beside the maps.
///
/// A daemon that finds another number in bpffs refuses to adopt what it finds there. Raise it when a struct,
/// a map's shape or the meaning of a field changes.
pub const LAYOUT: u32 = 2;
