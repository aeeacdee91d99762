//! Stages of the programs that this crate brings along: steering, the builtin targets, applications' stacks.
pub mod builtin;
pub mod echo;
pub mod stack;
pub mod steer;

use nix::errno::Errno;

use crate::{
    filter::Gate,
    program::{LANES, Program},
};

/// The program of an engine that serves the builtin targets and nothing else.
#[must_use]
pub fn builtin_program() -> Box<dyn Program> {
    Box::new(Gate::<LANES, _, _>::new(steer::Steer::default(), (builtin::Builtin::default(), ())))
}

/// The program of an engine that serves applications' stacks beside the builtin targets.
///
/// # Errors
/// Out of descriptors.
pub fn stack_program() -> Result<Box<dyn Program>, Errno> {
    let targets = (builtin::Builtin::default(), (stack::Stack::new()?, ()));
    Ok(Box::new(Gate::<LANES, _, _>::new(steer::Steer::default(), targets)))
}
