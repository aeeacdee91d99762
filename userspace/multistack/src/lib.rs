//! MultiStack: whose packet is it, and who may own which tuple.
//!
//! Pure code: state and input give output. This crate opens nothing, maps nothing, sends nothing and knows no
//! clock; it also builds for `wasm32-unknown-unknown`.
//!
//! | module | what it decides |
//! |---|---|
//! | [`steer`] | frame → target or the reason it is the OS stack's: the twin of the XDP program |
#![deny(unsafe_code)]

pub mod steer;
