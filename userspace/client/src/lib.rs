//! The library that programs link to talk to `octroid`: its control protocol, and a connection that speaks it.
//!
//! It refuses to decide anything: policy, limits and ownership are the daemon's. Of Octroi it knows `abi` alone.
#![deny(unsafe_code)]

pub mod control;
