//! Header programs: the header DAG as instructions for the kernel, run in XDP before `steer`.
//!
//! It makes instructions and loads nothing: maps are numbers to it ([`abi::header::HeaderMap`]), so the same filter gives
//! the same program, and whether the kernel takes it is the loader's to say ([`limits::fit`] asks).
//!
//! ```text
//!  emit ─── which nodes become tests, and in which order
//!   ├─ compare ── a PROBE: read bytes, ask for bits, equality, order
//!   └─ outcome ── where tests end: count, make the metadata, go on to `steer`, or end here
//!  assembler ─ instructions in a row, jumps by label      insn ─ how one is encoded
//! ```

mod assembler;
mod compare;
mod disassembly;
mod emit;
pub mod insn;
pub mod limits;
mod outcome;
mod program;
mod structure;

pub use emit::{CASES_MAX, CLASS_MAX, emit};
pub use program::{Block, Program, TooLong};

/// What a header program must know beside the DAG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings<'a> {
    /// Which packets a final reject concerns.
    pub scope: Scope,
    /// Accepted with one of these codes, a packet is the OS stack's at once.
    pub pass: &'a [u16],
    /// The filter's generation modulo 256.
    pub class_gen: u8,
}

/// Which packets a filter of a port judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that steering claims: a reject acts after the hit.
    Steered,
    /// All: a final reject drops at once, the OS stack's packets too.
    Interface,
}

/// What a header program decided: it counts every packet once, in a per-CPU array of its own.
///
/// It counts before anybody knows whether the packet is claimed: in [`Scope::Steered`] a rejected packet that nobody
/// claims is counted here, and passes. How packets ended is in the books of XDP ([`abi::counter::XdpCounter`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// No rule matches.
    NoRule,
    /// This rule matches, by its number.
    Rule(u16),
    /// A worker decides.
    Open,
}

impl Counter {
    /// Its index in the array of a filter with so many rules: 0 for no rule, a rule's number and one, and open as the last.
    #[must_use]
    pub fn index(self, rules: u16) -> u32 {
        match self {
            Self::NoRule => 0,
            Self::Rule(rule) => u32::from(rule) + 1,
            Self::Open => u32::from(rules) + 1,
        }
    }

    /// How many entries the array needs.
    #[must_use]
    pub fn entries(rules: u16) -> u32 {
        Self::Open.index(rules) + 1
    }
}
