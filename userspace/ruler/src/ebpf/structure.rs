//! Header programs as structures for programs: every instruction with its fields and its text.
//!
//! They have what the text has, and nothing reads them back: the kernel gets [`Program::words`].

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::Program;

/// An instruction of eight bytes; a 64-bit constant takes two, the second of which has the upper half.
#[derive(Serialize)]
struct Shown {
    at: usize,
    code: u8,
    dst: u8,
    src: u8,
    off: i16,
    imm: i32,
    text: String,
}

/// Where a part begins.
#[derive(Serialize)]
struct Part {
    at: usize,
    part: String,
}

/// How deep it tests, where its parts begin, and every instruction.
impl Serialize for Program {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parts = self.blocks.iter().map(|(at, block)| Part { at: *at, part: block.to_string() });
        let instructions = self.instructions.iter().enumerate().map(|(at, insn)| Shown {
            at,
            code: insn.code,
            dst: insn.dst,
            src: insn.src,
            off: insn.off,
            imm: insn.imm,
            text: insn.to_string().trim_start().to_owned(),
        });
        let mut program = serializer.serialize_struct("Program", 3)?;
        program.serialize_field("depth", &self.depth)?;
        program.serialize_field("parts", &parts.collect::<Vec<_>>())?;
        program.serialize_field("instructions", &instructions.collect::<Vec<_>>())?;
        program.end()
    }
}
