//! A PROBE as instructions: bytes are read, what does not count is masked out, and a switch tree asks for the value.
//!
//! Where only equality and bits are asked for, the constants are brought into the order in which bytes are loaded;
//! where order is asked for, the loaded number is swapped once, as order does not survive swapped constants.

use super::{
    assembler::Label,
    emit::Emitter,
    insn::{Alu, Class, Endian, If, Insn, Reg, Width},
};
use crate::dag::{
    NodeId,
    condition::{Place, Reading},
    switch::{Through, Tree},
};

impl Emitter<'_> {
    /// Reads a place, and asks what it holds. What follows in the program is `next`.
    pub(super) fn probe(&mut self, place: Place, tree: &Tree, next: Option<NodeId>) {
        let order = match Width::of(place.bytes) {
            Some(width) if !tree.asks_for_order() => {
                self.code.push(Insn::load(width, Reg::R1, Reg::R9, offset(place.offset)));
                ByteOrder::Memory
            }
            _ => {
                self.number(place);
                ByteOrder::Number
            }
        };
        let mask = order.constant(place.mask, place);
        self.mask(mask, place.bytes, place.ones());
        self.tree(tree, &Compare { place, order }, next);
    }

    /// Reads a place into r1, as a number in this machine's order.
    pub(super) fn number(&mut self, place: Place) {
        let endian = match place.reading {
            Reading::Big => Endian::Big,
            Reading::Little => Endian::Little,
        };
        let (mut at, mut read) = (place.offset, 0);
        for width in [Width::B8, Width::B4, Width::B2, Width::B1] {
            while width.bytes() <= place.bytes - read {
                let into = if read == 0 { Reg::R1 } else { Reg::R2 };
                self.code.push(Insn::load(width, into, Reg::R9, offset(at)));
                if width != Width::B1 {
                    self.code.push(Insn::swap(endian, width, into));
                }
                if read != 0 {
                    let (moved, bytes) = match place.reading {
                        Reading::Big => (Reg::R1, width.bytes()),
                        Reading::Little => (Reg::R2, read),
                    };
                    self.code.push(Insn::alu(Class::Long, Alu::Shl, moved, i32::from(bytes) * 8));
                    self.code.push(Insn::alu_reg(Class::Long, Alu::Or, Reg::R1, Reg::R2));
                }
                at += u16::from(width.bytes());
                read += width.bytes();
            }
        }
    }

    /// Leaves only these bits of r1, which has so many bytes.
    pub(super) fn mask(&mut self, mask: u64, bytes: u8, ones: u64) {
        if mask == ones {
            return;
        }
        match constant(mask, bytes) {
            Constant::Short(class, imm) => self.code.push(Insn::alu(class, Alu::And, Reg::R1, imm)),
            Constant::Wide(value) => {
                self.code.extend(Insn::constant(Reg::R2, value));
                self.code.push(Insn::alu_reg(Class::Long, Alu::And, Reg::R1, Reg::R2));
            }
        }
    }

    /// The tests of a tree. What follows them in the program is `next`.
    fn tree(&mut self, tree: &Tree, compare: &Compare, next: Option<NodeId>) {
        match tree {
            Tree::Done(to) => self.go(*to, next),
            Tree::Equal { value, yes, no } => {
                self.jump_if(If::Equal, *value, compare, self.label(*yes));
                self.tree(no, compare, next);
            }
            Tree::AtLeast { value, yes, no } => {
                let (label, behind) = self.target(yes);
                self.jump_if(If::AtLeast, *value, compare, label);
                self.both(no, yes, behind, compare, next);
            }
            Tree::Bit { bit, set, clear, through: Through::Clear } => {
                let (label, behind) = self.target(set);
                self.jump_if(If::Bits, *bit, compare, label);
                self.both(clear, set, behind, compare, next);
            }
            Tree::Bit { bit, set, clear, through: Through::Set } => {
                let here = self.code.label();
                self.jump_if(If::Bits, *bit, compare, here);
                let (label, behind) = self.target(clear);
                self.code.jump(Insn::jump(), label);
                self.code.bind(here);
                self.both(set, clear, behind, compare, next);
            }
        }
    }

    /// Where a jump to a tree leads: to its node, or to a label that must be bound where its tests are.
    fn target(&mut self, tree: &Tree) -> (Label, Option<Label>) {
        match tree {
            Tree::Done(to) => (self.label(*to), None),
            _ => {
                let label = self.code.label();
                (label, Some(label))
            }
        }
    }

    /// The tree that a test falls through to, and then the other one, if it has tests.
    fn both(
        &mut self,
        here: &Tree,
        other: &Tree,
        label: Option<Label>,
        compare: &Compare,
        next: Option<NodeId>,
    ) {
        match label {
            None => self.tree(here, compare, next),
            Some(label) => {
                self.tree(here, compare, None);
                self.code.bind(label);
                self.tree(other, compare, next);
            }
        }
    }

    fn jump_if(&mut self, cond: If, value: u64, compare: &Compare, to: Label) {
        match constant(compare.order.constant(value, compare.place), compare.place.bytes) {
            Constant::Short(class, imm) => self.code.jump(Insn::jump_if(class, cond, Reg::R1, imm), to),
            Constant::Wide(value) => {
                self.code.extend(Insn::constant(Reg::R2, value));
                self.code.jump(Insn::jump_if_reg(Class::Long, cond, Reg::R1, Reg::R2), to);
            }
        }
    }
}

/// How r1 has the bytes of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteOrder {
    /// As they were loaded: constants are brought into the same order.
    Memory,
    /// As the number that the DAG means.
    Number,
}

struct Compare {
    place: Place,
    order: ByteOrder,
}

impl ByteOrder {
    /// A number of a place, as r1 has it.
    fn constant(self, number: u64, place: Place) -> u64 {
        if self == Self::Number {
            return number;
        }
        // The number's bytes as they lie in a packet, loaded as this machine loads so many.
        let unused = 64 - 8 * u32::from(place.bytes);
        let in_packet = match place.reading {
            Reading::Big => (number << unused).to_be_bytes(),
            Reading::Little => number.to_le_bytes(),
        };
        let loaded = u64::from_ne_bytes(in_packet);
        if cfg!(target_endian = "little") { loaded } else { loaded >> unused }
    }
}

/// How an instruction gets a number.
enum Constant {
    Short(Class, i32),
    Wide(u64),
}

/// A constant for a number of so many bytes.
fn constant(value: u64, bytes: u8) -> Constant {
    match u32::try_from(value) {
        Ok(low) if bytes <= 4 => Constant::Short(Class::Word, low.cast_signed()),
        Ok(low) => match i32::try_from(low) {
            Ok(imm) => Constant::Short(Class::Long, imm),
            Err(_) => Constant::Wide(value),
        },
        Err(_) => Constant::Wide(value),
    }
}

/// Segments are short enough for every offset in them.
fn offset(bytes: u16) -> i16 {
    i16::try_from(bytes).unwrap_or_else(|_| unreachable!("a segment has at most 2,048 bytes"))
}
