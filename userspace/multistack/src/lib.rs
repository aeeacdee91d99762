//! MultiStack: whose packet is it, and who may own which tuple.
//!
//! Pure code: state and input give output. This crate opens nothing, maps nothing, sends nothing and knows no
//! clock; it also builds for `wasm32-unknown-unknown`.
//!
//! | module | what it decides |
//! |---|---|
//! | [`steer`] | frame → target or the reason it is the OS stack's: the twin of the XDP program |
//! | [`fragment`] | which datagram a fragment belongs to: the twin of the fragment map |
//! | [`mod@tuple`] | what can be owned |
//! | [`policy`] | who may register what |
//! | [`registry`] | who owns it; every change as ordered [`step`]s, done whole or undone |
//! | [`mirror`] | what workers know of the registry: an immutable picture |
//! | [`slots`] | numbers that lead a packet to its owner, never to the owner's successor |
//! | [`channel`] | the daemon's end of an application's rings |
//! | [`refusal`] | why not |
//! | [`egress`] | whether an application may send this packet, and where it goes |
//! | [`neighbour`] | next hops: an immutable picture of routes and neighbours |
//! | [`drr`] | which channel sends next, and how much |
//! | [`books`] | what became of each packet of a session and of a tuple |
//! | [`prefix`] | addresses with the same first bits |
//! | [`hash`] | a fast hash of fixed-size keys, seeded |
#![deny(unsafe_code)]

pub mod books;
pub mod channel;
pub mod drr;
pub mod egress;
pub mod fragment;
pub mod hash;
pub mod mirror;
pub mod neighbour;
pub mod policy;
pub mod prefix;
pub mod refusal;
pub mod registry;
pub mod slots;
pub mod steer;
pub mod step;
pub mod tuple;
