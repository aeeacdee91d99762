//! The daemon: reads a configuration, serves interfaces with XDP and AF_XDP, and answers on its control socket.
//!
//! Everything that touches a kernel object lives in `xsk`, everything that touches a packet in `ixp`; this crate decides
//! when. It is the only one that reads configuration files, and it refuses to guess: what was asked for and is not
//! there stops the start and is named.
//!
//! | module | idea |
//! |---|---|
//! | [`cli`] | its command line |
//! | [`build`] | which build this is |
//! | [`config`] | the configuration file, and how a mistake in it is shown |
//! | [`place`] | run directory, lock, network namespace: where this instance lives |
//! | [`netlink`] | what the kernel says about network devices |
//! | [`supervise`] | what becomes of an interface while the world changes, as a pure machine |
//! | [`road`] | the dataplane itself: programs, sockets, engines, targets |
//! | [`filters`] | Ruler's filters, made ready to be attached |
//! | [`metrics`] | one registry of every counter, for all who show them |
//! | [`doctor`] | what is right and wrong with this machine |
//! | [`control`] | the control socket |
//! | [`confine`] | what a worker gives up before its first packet |
//! | [`log`] | where the log goes, and what of it is lost |
//! | [`clean`] | what is done after a crash, without a daemon |
//! | [`daemon`] | the loop that holds them together |
#![deny(unsafe_code)]

pub mod build;
mod causes;
pub mod clean;
pub mod cli;
pub mod config;
pub mod confine;
pub mod control;
pub mod daemon;
pub mod doctor;
pub mod filters;
pub mod log;
pub mod metrics;
pub mod netlink;
pub mod place;
pub mod road;
pub mod supervise;

pub use causes::Causes;
