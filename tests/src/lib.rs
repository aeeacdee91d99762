//! Tests that need a kernel: the lab they run in, and what they share.
//!
//! | place | what |
//! |---|---|
//! | `tests/*.rs` | tests of one layer: XDP programs by test runs, sockets, ports |
//! | `tests/daemon/` | tests of the whole, `octroid` on one end of a veth pair; one program, so that two run at a time |
//! | [`lab`] | namespaces, wires, traffic, the daemon, the books |
//!
//! # How to write a test
//!
//! Its name begins with the row of SPECIFICATION.md that it proves (`f16_…`), or with `road_` or `lab_` where there is
//! none. It asks first whether it may run, says every counter that moves, and ends with `finish`:
//!
//! ```no_run
//! use octroi_tests::lab::{self, Config, Need, PairOptions, Served, Tap, config::ECHO};
//!
//! fn road_an_echo_answers() -> anyhow::Result<()> {
//!     let needs = [Need::Netns, Need::RawSockets, Need::Bpf, Need::AfXdp];
//!     let Some(_lab) = lab::require("road_an_echo_answers", &needs)? else { return Ok(()) };
//!     let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
//!     let tap = Tap::open(&served.pair.peer)?;
//!     let load = served.load(ECHO, 4, 100);
//!     // All come back, once and in order; the counters of an echo move by so much, and no other counter moves.
//!     served.echoes(&load, &tap, 0, 1000)?;
//!     // Books balanced, daemon down, no pin, program, map, link, feature or sysctl left behind.
//!     served.finish()
//! }
//! ```
//!
//! It reads no clock: [`lab::guard`] ends what hangs. Where it must wait it waits for a state, by [`lab::until`]. It
//! keeps at most [`lab::WINDOW`] frames under way, so that a pause of the machine loses nothing. Every name it uses is
//! unique, so it runs beside any other. And it was seen to fail once, without the code that it guards.
#![deny(unsafe_code)]

pub mod corpus;
pub mod fixture;
pub mod judge;
pub mod lab;
pub mod oracle;
pub mod scale;
pub mod syscalls;
