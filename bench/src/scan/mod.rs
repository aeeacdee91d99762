//! Scanners compared: Ruler's engines and other people's, on the same packets in memory, in turns.
//!
//! Whatever scans is a [`contest::Scanner`]: it is told how often to go over its packets and says how long that took. Ours and
//! regex-automata do so in this process, the others in processes of their own, which wait while we run. Nothing here knows
//! what a row is or how good it must be.
//!
//! | module | what it is |
//! |---|---|
//! | [`packets`] | the packets, and the file that peers read them from |
//! | [`contest`] | two scanners in turns |
//! | [`frames`] | Ethernet frames to fill packets with |
//! | [`here`] | a scanner in this process |
//! | [`engines`] | ours |
//! | [`automata`] | regex-automata |
//! | [`program`] | a peer's program: built, started, asked |
//! | [`literals`] | random literals, as a filter and as the peers want them |

pub mod automata;
pub mod contest;
pub mod engines;
pub mod frames;
pub mod here;
pub mod literals;
pub mod packets;
pub mod program;
