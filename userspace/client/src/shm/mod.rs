//! The application's end of the shared memory: mapped regions, channels, bursts.
//!
//! The down region is mapped read-only, as nothing else is possible, and the up region is ours to write. It refuses to
//! hand out a slot's bytes for longer than the slot is ours: a frame borrows from its burst, and the burst gives its
//! slots back when it is dropped.
//!
//! | file | idea |
//! |---|---|
//! | [`passing`] | descriptors that come with a message |
//! | [`region`] | mapping what came, once its seals were checked |
//! | [`channel`] | one ring pair: falling asleep, waking |
//! | [`rx`], [`tx`] | bursts: what was received, what is to be sent |
#![allow(
    unsafe_code,
    reason = "memory shared with another process and descriptors from a message can only be had from raw values"
)]

pub mod channel;
pub mod passing;
pub mod region;
pub mod rx;
pub mod tx;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
