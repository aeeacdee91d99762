//! The C interface: a session and its channels as functions of `octroi.h`.
//!
//! It adds nothing to [`crate::stack`] and [`crate::shm`] but what C lacks: where Rust's lifetimes forbid a mistake, a
//! check answers with an errno. It refuses callbacks, and lets no panic out.
//!
//! What a C program must do itself, as in every C library: give pointers that are null or good, use a session no more
//! once it is closed, and touch what was lent (a packet, a slot) no longer than the function that lent it says.
//!
//! | file | idea |
//! |---|---|
//! | `functions` | what C calls: pointers in, numbers out |
//! | `types` | structs and numbers that cross the border |
//! | `said` | those in the words of the Rust interface |
//! | `session` | the handle: control connection, channels, reconnection |
//! | `end` | one channel: what is lent and what is not |
//! | `errno` | which failure has which number |
//!
//! `octroi.h` is made from `functions`, `types` and `session` (crate `octroi-c`, which is also what is linked).
#![allow(unsafe_code, reason = "C hands over pointers and finds functions by their names")]

mod end;
mod errno;
mod functions;
mod said;
mod session;
mod types;

#[cfg(test)]
mod tests;

pub use self::{functions::*, session::octroi_stack, types::*};
