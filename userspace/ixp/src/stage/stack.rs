//! The stage of applications' stacks: a packet for a session is copied into its ring, or dropped in its books.
use std::os::fd::BorrowedFd;

use abi::steer::kind;
use nix::errno::Errno;

use crate::{
    frame::Frame,
    program::{Env, Stage, Verdict},
    stacks::Stacks,
    stage::steer::Steered,
};

/// The stage, with the channels of its engine.
pub struct Stack {
    stacks: Stacks,
}

impl Stack {
    /// A stage without channels.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { stacks: Stacks::new()? })
    }
}

impl Stage<Steered> for Stack {
    /// What a packet is written over is fetched when the one before it is written.
    const FETCHES: bool = false;

    #[inline(always)]
    fn step(&mut self, frame: &mut Frame, context: &mut Steered, _: &Env<'_>) -> Verdict {
        if context.meta.kind != kind::STACK {
            return Verdict::Next;
        }
        if let Some(loss) = context.spoilt {
            self.stacks.refuse(context.owned(), loss);
            return Verdict::Drop(loss);
        }
        match self.stacks.deliver(context.owned(), &context.meta, context.class, frame.bytes()) {
            Ok(()) => Verdict::Deliver,
            Err(loss) => Verdict::Drop(loss),
        }
    }

    fn stacks(&mut self) -> Option<&mut Stacks> {
        Some(&mut self.stacks)
    }

    fn bells(&self) -> Option<BorrowedFd<'_>> {
        Some(self.stacks.bells())
    }
}
