//! Rewriting: from a rule's output to a plan, and from a plan and a packet to the new packet in the same frame.
//!
//! Nothing here matches: where labels lie is told. Nothing here decides where a packet goes; steering is not repeated.
//!
//! ```text
//!   resolved::Rule ──Plan::of──► Plan ──apply──► new packet, in the frame of the old one
//!                                       ▲  ▲
//!                  where the labels lie ┘  └ Scratch: bounds, key, memory of one engine
//! ```

pub mod anonymise;
mod apply;
mod checksum;
mod dump;
mod field;
pub mod key;
mod outline;
mod plan;
mod text;

pub use apply::{Bounds, KeyMissing, Refusal, Rewritten, Scratch, apply};
pub use plan::{Kind, Plan};
