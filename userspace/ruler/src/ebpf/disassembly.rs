//! Header programs as text: instructions as disassemblers write them, under headings that say what they are for.
//!
//! It is for people and for goldens: the same program gives the same text, and nothing reads it back.

use std::fmt;

use super::{
    Block, Program,
    insn::{Insn, MAP_INDEX},
};

/// As disassemblers write it, with the parts as headings; stable for the same program.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blocks = self.blocks.iter().peekable();
        for (number, insn) in self.instructions.iter().enumerate() {
            while let Some((_, block)) = blocks.next_if(|(at, _)| *at == number) {
                writeln!(f, "{block}:")?;
            }
            writeln!(f, "{number:>6}: {insn}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry => f.write_str("entry"),
            Self::Test(node) => write!(f, "node {}", node.0),
            Self::Stop(node) => write!(f, "stop {}", node.0),
            Self::HandOver => f.write_str("hand over"),
            Self::Jump => f.write_str("jump"),
            Self::End => f.write_str("end"),
            Self::Books => f.write_str("books"),
        }
    }
}

/// As disassemblers write it: `w1 &= 0xf`, `if r1 == 0x8 goto +3`.
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, dst, src, off, imm } = *self;
        let width = match code & 0x18 {
            0x00 => "u32",
            0x08 => "u16",
            0x10 => "u8",
            _ => "u64",
        };
        let (long, word) = (format!("r{dst}"), format!("w{dst}"));
        match (code & 0x07, code) {
            (_, 0x85) => write!(f, "call {imm}"),
            (_, 0x95) => f.write_str("exit"),
            (_, 0x05) => write!(f, "goto {off:+}"),
            (_, 0x18) if src == MAP_INDEX => write!(f, "{long} = map {imm}"),
            (_, 0x18) => write!(f, "{long} = {:#x} ll", imm.cast_unsigned()),
            (0x00, _) => write!(f, "     {:#x}", imm.cast_unsigned()),
            (0x01, _) => write!(f, "{long} = *({width} *)(r{src} {off:+})"),
            (0x02, _) => write!(f, "*({width} *)({long} {off:+}) = {imm:#x}"),
            (0x03, _) => write!(f, "*({width} *)({long} {off:+}) = r{src}"),
            (_, 0xd4) => write!(f, "{long} = le{imm} {long}"),
            (_, 0xdc) => write!(f, "{long} = be{imm} {long}"),
            (class, _) => {
                let dst = if matches!(class, 0x04 | 0x06) { word } else { long };
                let letter = if matches!(class, 0x04 | 0x06) { 'w' } else { 'r' };
                let operand = match code & 0x08 {
                    0 if imm < 0 && letter == 'r' => format!("{imm}"),
                    0 => format!("{:#x}", imm.cast_unsigned()),
                    _ => format!("{letter}{src}"),
                };
                match class {
                    0x04 | 0x07 => write!(f, "{dst} {} {operand}", arithmetic(code & 0xf0)),
                    _ => write!(f, "if {dst} {} {operand} goto {off:+}", comparison(code & 0xf0)),
                }
            }
        }
    }
}

fn arithmetic(op: u8) -> &'static str {
    match op {
        0x00 => "+=",
        0x20 => "*=",
        0x40 => "|=",
        0x50 => "&=",
        0x60 => "<<=",
        0x70 => ">>=",
        _ => "=",
    }
}

fn comparison(op: u8) -> &'static str {
    match op {
        0x10 => "==",
        0x20 => ">",
        0x30 => ">=",
        0x40 => "&",
        _ => "!=",
    }
}
