//! The daemon: reads a configuration, serves interfaces with XDP and AF_XDP, and answers on its control socket.
//!
//! Everything that touches a kernel object lives in `xsk`, everything that touches a packet in `ixp`; this crate decides
//! when. It is the only one that reads configuration files, and it refuses to guess: what was asked for and is not
//! there stops the start and is named.
#![deny(unsafe_code)]

pub mod config;
pub mod netlink;
