//! Memory that the daemon and an application share: made and sealed by the one, mapped by both, reached at offsets.
//!
//! It refuses to interpret a byte, and to give out a reference to any: the other process may write at every moment, so
//! words go through atomics and bytes are copied. Nobody can take the memory away: both kinds are sealed against
//! shrinking, so that a load never meets a page that is not there, and against growing. A hole that somebody punches
//! reads as zeros.
//!
//! | kind | seals, set after the daemon's own mapping was made | the application can |
//! |---|---|---|
//! | down | SHRINK, GROW, FUTURE_WRITE, SEAL | read |
//! | up | SHRINK, GROW, SEAL | read and write |
//!
//! It is a crate of its own because both ends need it and an application links nothing of the daemon's.
#![deny(unsafe_code)]

mod mapped;
pub mod prefetch;
mod seals;

pub use self::{
    mapped::{ReadOnly, ReadWrite, Region},
    seals::Direction,
};

use nix::errno::Errno;
use thiserror::Error;

/// Largest region: 64 channels of the largest rings.
pub const MAX_SIZE: usize = 2 << 30;

/// Why there is no region.
#[derive(Debug, Error)]
pub enum RegionError {
    /// Zero bytes, or more than [`MAX_SIZE`].
    #[error("a region of {given} bytes, 1 to {limit} are possible")]
    Size {
        /// What was asked for, or came.
        given: usize,
        /// [`MAX_SIZE`].
        limit: usize,
    },
    /// The kernel has no memory for it, or the process no descriptor.
    #[error("{call}: {source}")]
    Kernel {
        /// The system call.
        call: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// It is not sealed as its kind must be: without SHRINK a page could vanish under a load, and a down region that
    /// somebody else may write is not the daemon's word.
    #[error("the region has seals {given:#x}, {wanted:#x} must be there")]
    Seals {
        /// The seals it has.
        given: i32,
        /// Those it must have.
        wanted: i32,
    },
}

/// Puts a system call's name to what it said.
fn kernel(call: &'static str) -> impl Fn(Errno) -> RegionError {
    move |source| RegionError::Kernel { call, source }
}

#[cfg(test)]
mod tests;
