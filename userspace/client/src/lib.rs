//! The library that programs link to talk to `octroid`: its control protocol, and network stacks of their own.
//!
//! It refuses to decide anything: policy, limits and ownership are the daemon's. Of Octroi it knows `abi` and `region` alone.
//!
//! | module | what it is |
//! |---|---|
//! | [`stack`] | a session: register tuples, take channels, hear what happens |
//! | [`shm`] | channels: receive and send bursts over shared memory |
//! | `phy` | a channel as a smoltcp device (feature `smoltcp`) |
//! | `capi` | both as functions that C calls (feature `capi`; crate `octroi-c` is the library) |
//! | [`capture`] | packets of the engines, for whoever looks at them |
//! | [`control`] | the control protocol, which the daemon and the command line speak too |
//! | [`document`] | what does not fit a datagram of it |
#![deny(unsafe_code)]

#[cfg(feature = "capi")]
pub mod capi;
pub mod capture;
pub mod control;
pub mod document;
#[cfg(feature = "smoltcp")]
pub mod phy;
pub mod shm;
pub mod stack;
