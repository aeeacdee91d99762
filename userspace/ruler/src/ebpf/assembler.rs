//! Puts instructions in a row and fills in how far jumps lead.
//!
//! A program that is too long is noticed at the end: distances that do not fit are an error, never another jump.

use super::{
    insn::Insn,
    program::{Block, Program, TooLong},
};

/// A place in a program, bound once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<Insn>,
    blocks: Vec<(usize, Block)>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
    /// Where the last label was bound.
    named: usize,
}

impl Assembler {
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// What comes next is where `label` leads. A jump there that stands right before it is left out.
    pub(super) fn bind(&mut self, label: Label) {
        let here = self.instructions.len();
        let before = self.jumps.last().copied().filter(|(at, to)| *to == label && at + 1 == here);
        if before.is_some() && self.instructions.last() == Some(&Insn::jump()) && !self.is_named(here) {
            self.jumps.pop();
            self.instructions.pop();
        }
        self.labels[label.0] = Some(self.instructions.len());
        self.named = self.instructions.len();
    }

    /// Whether something leads to what comes next already, or a part begins with it.
    fn is_named(&self, at: usize) -> bool {
        self.named == at || self.blocks.last().is_some_and(|(begins, _)| *begins == at)
    }

    /// Whether a jump leads there.
    pub(super) fn is_wanted(&self, label: Label) -> bool {
        self.jumps.iter().any(|(_, to)| *to == label)
    }

    pub(super) fn block(&mut self, block: Block) {
        self.blocks.push((self.instructions.len(), block));
    }

    pub(super) fn push(&mut self, insn: Insn) {
        self.instructions.push(insn);
    }

    pub(super) fn extend(&mut self, insns: impl IntoIterator<Item = Insn>) {
        self.instructions.extend(insns);
    }

    /// A jump, whose distance is not known yet.
    pub(super) fn jump(&mut self, insn: Insn, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.instructions.push(insn);
    }

    /// The program, with tests for nodes less than `depth` tests from the root.
    pub(super) fn finish(mut self, depth: u32) -> Result<Program, TooLong> {
        let given = self.instructions.len();
        for (at, Label(label)) in self.jumps {
            let Some(to) = self.labels[label] else { unreachable!("every label that is jumped to is bound") };
            let distance = i64::try_from(to).ok().zip(i64::try_from(at).ok()).map(|(to, at)| to - at - 1);
            let off = distance.and_then(|distance| i16::try_from(distance).ok());
            self.instructions[at].off = off.ok_or(TooLong { given })?;
        }
        Ok(Program { instructions: self.instructions, blocks: self.blocks, depth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_where_their_labels_are_bound() {
        let mut code = Assembler::default();
        let (back, ahead) = (code.label(), code.label());
        code.bind(back);
        code.jump(Insn::jump(), ahead);
        code.push(Insn::exit());
        code.jump(Insn::jump(), back);
        code.bind(ahead);
        code.push(Insn::exit());
        let program = code.finish(0).unwrap();
        assert_eq!(program.instructions.iter().map(|insn| insn.off).collect::<Vec<_>>(), [2, 0, -3, 0]);
    }

    #[test]
    fn a_jump_to_what_comes_next_is_left_out_unless_something_else_leads_behind_it() {
        for (named, length) in [(false, 1), (true, 2)] {
            let mut code = Assembler::default();
            let (next, other) = (code.label(), code.label());
            code.jump(Insn::jump(), next);
            if named {
                code.bind(other);
            }
            code.bind(next);
            code.push(Insn::exit());
            assert_eq!(code.finish(0).unwrap().instructions.len(), length);
        }
    }

    #[test]
    fn a_jump_that_does_not_reach_is_an_error() {
        for (between, fits) in [(32_767, true), (32_768, false)] {
            let mut code = Assembler::default();
            let ahead = code.label();
            code.jump(Insn::jump(), ahead);
            code.extend(std::iter::repeat_n(Insn::exit(), between));
            code.bind(ahead);
            code.push(Insn::exit());
            let wanted = if fits { Ok(32_767) } else { Err(TooLong { given: between + 2 }) };
            assert_eq!(code.finish(0).map(|program| program.instructions[0].off), wanted);
        }
    }
}
