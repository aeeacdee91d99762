//! An authoritative DNS responder for one small zone, over UDP.
//!
//! | module | what it is |
//! |---|---|
//! | [`zone`] | names and their records |
//! | [`answer`] | one query in, one reply out: it knows no socket |
//! | [`responder`] | both on a smoltcp UDP socket, for [`crate::user_stack`] |
//!
//! Messages are read and written by NLnet Labs' `domain`, whose names are bounded and whose iterators do not allocate for
//! what a header merely claims.

pub mod answer;
pub mod responder;
pub mod zone;
