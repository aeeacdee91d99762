//! A finished header program: its instructions, and what each part of them is for.

use super::insn::Insn;
use crate::dag::NodeId;

/// A header program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its instructions; a 64-bit constant counts as two.
    pub instructions: Vec<Insn>,
    /// Where each part begins, in order.
    pub blocks: Vec<(usize, Block)>,
    /// Nodes of the DAG that lie so many tests from the root were not made into tests.
    pub depth: u32,
}

/// The program is longer than its jumps can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} instructions, of which jumps do not reach all")]
pub struct TooLong {
    /// How many instructions there were.
    pub given: usize,
}

/// A part of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Registers get their meaning.
    Entry,
    /// A test of the DAG.
    Test(NodeId),
    /// What is done where the program stops testing: the class that it hands over.
    Stop(NodeId),
    /// Counts the decision and writes the class before the packet.
    HandOver,
    /// On to `steer`, or what is done if it is not there.
    Jump,
    /// Counts the decision of a packet that ends here.
    End,
    /// Counts how it ends, and ends.
    Books,
}

impl Program {
    /// The instructions as the kernel reads them.
    #[must_use]
    pub fn words(&self) -> Vec<u64> {
        self.instructions.iter().map(|insn| insn.to_word()).collect()
    }
}
