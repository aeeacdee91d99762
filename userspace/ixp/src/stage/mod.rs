//! Stages of the programs that this crate brings along: steering and the builtin targets.
pub mod builtin;
pub mod echo;
pub mod steer;

use crate::program::{LANES, Lockstep, Program};

/// The program of an engine that serves the builtin targets and nothing else.
#[must_use]
pub fn builtin_program() -> Box<dyn Program> {
    Box::new(Lockstep::<LANES, _, _>::new((steer::Steer::default(), (builtin::Builtin::default(), ()))))
}
