//! The engine: microengines of eight contexts, modelled on Intel's IXP2xxx, that move frames between ports.
//!
//! This crate knows threads, rings and memory; it refuses to know sockets, BPF or configuration files. A frame
//! enters by the [`port::Receive`] half of a port, is carried through the stages of a program, and leaves by a
//! [`port::Transmit`] half, by being freed, or not at all: [`frame::Frame`] is a move-only value that cannot be
//! lost, used twice or freed twice in safe code.
//!
//! | the IXP2xxx's | here |
//! |---|---|
//! | microengine | [`engine`] and, with threads, [`engines`]; what to start is in [`spec`] |
//! | contexts | [`program`]: lanes advanced in lockstep; [`stage`] has the stages of this crate |
//! | scratch rings | [`ring`] |
//! | CAM | [`cam`] |
//! | SRAM | [`tables`], exchanged whole; [`ledger`] and [`counter`]; capped by [`account`] |
//! | DRAM | [`frame`]; capped by [`account`] |
//! | XScale's packets: what the host sends and gets | [`stacks`] over [`region`] |
//! | media interface | [`port`]: AF_XDP elsewhere; memory, captures, templates and faults here |
//!
//! [`books`] close over all of it, [`capture`] looks into it, [`panel`] and [`watchdog`] show how the engines are, and
//! [`clock`] is the only time.
#![deny(unsafe_code)]

pub mod account;
pub mod books;
pub mod cam;
pub mod capture;
pub mod clock;
pub mod counter;
pub mod doorbell;
pub mod engine;
pub mod engines;
pub mod filter;
#[cfg(test)]
mod fixture;
pub mod frame;
pub mod ledger;
mod outbox;
pub mod panel;
mod pipeline;
pub mod port;
pub mod program;
pub mod ring;
mod role;
pub mod spec;
pub mod stacks;
pub mod stage;
mod sync;
pub mod tables;
mod wakeup;
pub mod watchdog;
mod worker;

/// The memory that [`stacks`] takes.
pub use ::region;
