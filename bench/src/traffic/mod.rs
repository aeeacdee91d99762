//! Generated traffic: what each frame holds, when it is due, and what became of it.
//!
//! Pure: no clock, no socket, no thread. Time comes in as nanoseconds of one monotonic clock, randomness as a seed,
//! and the same profile gives the same bytes. The edges that move frames are in [`crate::engine`].
//!
//! | module | what it is |
//! |---|---|
//! | [`size`] | frame sizes as RFC 2544 counts them, and IMIX |
//! | [`span`] | ranges of addresses and ports |
//! | [`profile`] | what the user asked for, checked |
//! | [`plan`] | the tables made of it, and the frames made of the tables |
//! | [`pace`] | when each frame is due |
//! | [`reader`] | a received frame: ours, damaged, or foreign |
//! | [`sequence`] | loss, duplication and reordering of one flow |
//! | [`book`] | everything a receiver knows at the end |
//! | [`seeded`] | the random numbers |
pub mod book;
pub mod pace;
pub mod plan;
pub mod profile;
pub mod reader;
pub mod seeded;
pub mod sequence;
pub mod size;
pub mod span;
