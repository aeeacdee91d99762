//! Instructions of the kernel's virtual machine: the few that header programs consist of, eight bytes each.
//!
//! It knows how they are encoded and written down, and nothing of what a program does.

use abi::header::HeaderMap;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    /// What a helper returns, and the program.
    R0,
    /// A helper's first argument; lost in a call, as all up to `R5`.
    R1,
    /// A helper's second argument.
    R2,
    /// A helper's third argument.
    R3,
    /// Kept in a call.
    R6 = 6,
    /// Kept in a call.
    R7,
    /// Kept in a call.
    R8,
    /// Kept in a call.
    R9,
    /// The stack's end; never written.
    R10,
}

/// How many bytes a load or a store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One.
    B1,
    /// Two.
    B2,
    /// Four.
    B4,
    /// Eight.
    B8,
}

/// Whether an operation works on all 64 bits or on the low 32, whose result has no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All.
    Long,
    /// The low half.
    Word,
}

/// Arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    /// `+=`
    Add = 0x00,
    /// `*=`
    Mul = 0x20,
    /// `|=`
    Or = 0x40,
    /// `&=`
    And = 0x50,
    /// `<<=`
    Shl = 0x60,
    /// `>>=`
    Shr = 0x70,
    /// `=`
    Mov = 0xb0,
}

/// A condition, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum If {
    /// `==`
    Equal = 0x10,
    /// `>`
    Above = 0x20,
    /// `>=`
    AtLeast = 0x30,
    /// `&`: a common bit.
    Bits = 0x40,
    /// `!=`
    Other = 0x50,
}

/// Which order of bytes a number is brought into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Endian {
    /// The least significant first.
    Little = 0xd4,
    /// The most significant first.
    Big = 0xdc,
}

/// One instruction of eight bytes; a 64-bit constant takes two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// The operation.
    pub code: u8,
    /// The register that is written or compared.
    pub dst: u8,
    /// The other one.
    pub src: u8,
    /// Where memory is read or written, or how many instructions are jumped over.
    pub off: i16,
    /// A constant.
    pub imm: i32,
}

/// In a 64-bit constant: it stands for a map.
pub(super) const MAP_INDEX: u8 = 5;

const NONE: Insn = Insn { code: 0, dst: 0, src: 0, off: 0, imm: 0 };

impl Width {
    const fn code(self) -> u8 {
        match self {
            Self::B4 => 0x00,
            Self::B2 => 0x08,
            Self::B1 => 0x10,
            Self::B8 => 0x18,
        }
    }

    /// The width of so many bytes, if there is one.
    #[must_use]
    pub const fn of(bytes: u8) -> Option<Self> {
        match bytes {
            1 => Some(Self::B1),
            2 => Some(Self::B2),
            4 => Some(Self::B4),
            8 => Some(Self::B8),
            _ => None,
        }
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes(self) -> u8 {
        match self {
            Self::B1 => 1,
            Self::B2 => 2,
            Self::B4 => 4,
            Self::B8 => 8,
        }
    }
}

impl Insn {
    /// `dst = *(width *)(src + off)`
    #[must_use]
    pub const fn load(width: Width, dst: Reg, src: Reg, off: i16) -> Self {
        Self { code: 0x61 | width.code(), dst: dst as u8, src: src as u8, off, ..NONE }
    }

    /// `*(width *)(dst + off) = src`
    #[must_use]
    pub const fn store(width: Width, dst: Reg, off: i16, src: Reg) -> Self {
        Self { code: 0x63 | width.code(), dst: dst as u8, src: src as u8, off, ..NONE }
    }

    /// `*(width *)(dst + off) = imm`
    #[must_use]
    pub const fn store_imm(width: Width, dst: Reg, off: i16, imm: i32) -> Self {
        Self { code: 0x62 | width.code(), dst: dst as u8, off, imm, ..NONE }
    }

    /// `dst op= imm`; the constant's sign fills 64 bits.
    #[must_use]
    pub const fn alu(class: Class, op: Alu, dst: Reg, imm: i32) -> Self {
        Self { code: class.alu() | op as u8, dst: dst as u8, imm, ..NONE }
    }

    /// `dst op= src`
    #[must_use]
    pub const fn alu_reg(class: Class, op: Alu, dst: Reg, src: Reg) -> Self {
        Self { code: class.alu() | op as u8 | 0x08, dst: dst as u8, src: src as u8, ..NONE }
    }

    /// The low bytes of `dst`, from this machine's order into another or back; the others become 0.
    #[must_use]
    pub const fn swap(endian: Endian, width: Width, dst: Reg) -> Self {
        Self { code: endian as u8, dst: dst as u8, imm: width.bytes() as i32 * 8, ..NONE }
    }

    /// `if dst cond imm goto`; the distance is put in later.
    #[must_use]
    pub const fn jump_if(class: Class, cond: If, dst: Reg, imm: i32) -> Self {
        Self { code: class.jump() | cond as u8, dst: dst as u8, imm, ..NONE }
    }

    /// `if dst cond src goto`
    #[must_use]
    pub const fn jump_if_reg(class: Class, cond: If, dst: Reg, src: Reg) -> Self {
        Self { code: class.jump() | cond as u8 | 0x08, dst: dst as u8, src: src as u8, ..NONE }
    }

    /// `goto`
    #[must_use]
    pub const fn jump() -> Self {
        Self { code: 0x05, ..NONE }
    }

    /// `call helper`
    #[must_use]
    pub const fn call(helper: i32) -> Self {
        Self { code: 0x85, imm: helper, ..NONE }
    }

    /// `exit`
    #[must_use]
    pub const fn exit() -> Self {
        Self { code: 0x95, ..NONE }
    }

    /// `dst = value`, 64 bits.
    #[must_use]
    pub const fn constant(dst: Reg, value: u64) -> [Self; 2] {
        let (low, high) = (value as u32, (value >> 32) as u32);
        [
            Self { code: 0x18, dst: dst as u8, imm: low.cast_signed(), ..NONE },
            Self { imm: high.cast_signed(), ..NONE },
        ]
    }

    /// `dst = map`, by its place among the maps that the loader hands over (`BPF_PSEUDO_MAP_IDX`).
    #[must_use]
    pub const fn map(dst: Reg, map: HeaderMap) -> [Self; 2] {
        [Self { code: 0x18, dst: dst as u8, src: MAP_INDEX, imm: (map as u32).cast_signed(), ..NONE }, NONE]
    }

    /// As the kernel reads it, in this machine's order of bytes.
    #[must_use]
    pub fn to_word(self) -> u64 {
        let registers =
            if cfg!(target_endian = "little") { self.src << 4 | self.dst } else { self.dst << 4 | self.src };
        let ([o0, o1], [i0, i1, i2, i3]) = (self.off.to_ne_bytes(), self.imm.to_ne_bytes());
        u64::from_ne_bytes([self.code, registers, o0, o1, i0, i1, i2, i3])
    }

    /// Whether it is the first half of a 64-bit constant.
    #[must_use]
    pub const fn is_wide(self) -> bool {
        self.code == 0x18
    }
}

impl Class {
    const fn alu(self) -> u8 {
        match self {
            Self::Long => 0x07,
            Self::Word => 0x04,
        }
    }

    const fn jump(self) -> u8 {
        match self {
            Self::Long => 0x05,
            Self::Word => 0x06,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel's documentation and `llvm-mc` write them, on a little-endian machine.
    #[track_caller]
    fn check(insn: Insn, bytes: [u8; 8], text: &str) {
        let word = insn.to_word();
        if cfg!(target_endian = "little") {
            assert_eq!(word.to_ne_bytes(), bytes, "{text}");
        }
        assert_eq!(insn.to_string(), text);
    }

    #[test]
    fn instructions_are_encoded_as_the_kernel_reads_them() {
        check(
            Insn::alu_reg(Class::Long, Alu::Mov, Reg::R6, Reg::R1),
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            "r6 = r1",
        );
        check(Insn::alu(Class::Word, Alu::And, Reg::R1, 0xf), [0x54, 0x01, 0, 0, 0xf, 0, 0, 0], "w1 &= 0xf");
        check(
            Insn::alu(Class::Long, Alu::Add, Reg::R2, -4),
            [0x07, 0x02, 0, 0, 0xfc, 0xff, 0xff, 0xff],
            "r2 += -4",
        );
        check(
            Insn::load(Width::B2, Reg::R1, Reg::R9, 12),
            [0x69, 0x91, 12, 0, 0, 0, 0, 0],
            "r1 = *(u16 *)(r9 +12)",
        );
        check(
            Insn::store(Width::B4, Reg::R10, -4, Reg::R7),
            [0x63, 0x7a, 0xfc, 0xff, 0, 0, 0, 0],
            "*(u32 *)(r10 -4) = r7",
        );
        check(
            Insn::store_imm(Width::B1, Reg::R1, 10, 7),
            [0x72, 0x01, 10, 0, 7, 0, 0, 0],
            "*(u8 *)(r1 +10) = 0x7",
        );
        check(Insn::swap(Endian::Big, Width::B2, Reg::R1), [0xdc, 0x01, 0, 0, 16, 0, 0, 0], "r1 = be16 r1");
        check(Insn::call(12), [0x85, 0, 0, 0, 12, 0, 0, 0], "call 12");
        check(Insn::exit(), [0x95, 0, 0, 0, 0, 0, 0, 0], "exit");
    }

    #[test]
    fn jumps_compare_words_or_all_bits_and_say_how_far() {
        let far = |insn: Insn, off| Insn { off, ..insn };
        check(far(Insn::jump(), -2), [0x05, 0, 0xfe, 0xff, 0, 0, 0, 0], "goto -2");
        let equal = Insn::jump_if(Class::Word, If::Equal, Reg::R1, 8);
        check(far(equal, 3), [0x16, 0x01, 3, 0, 8, 0, 0, 0], "if w1 == 0x8 goto +3");
        let bits = Insn::jump_if(Class::Long, If::Bits, Reg::R1, 0x20);
        check(far(bits, 1), [0x45, 0x01, 1, 0, 0x20, 0, 0, 0], "if r1 & 0x20 goto +1");
        let above = Insn::jump_if_reg(Class::Long, If::Above, Reg::R1, Reg::R8);
        check(far(above, 5), [0x2d, 0x81, 5, 0, 0, 0, 0, 0], "if r1 > r8 goto +5");
    }

    #[test]
    fn wide_constants_take_two_and_maps_are_named_by_their_place() {
        let [low, high] = Insn::constant(Reg::R2, 0x0102_0304_f5f6_f7f8);
        check(low, [0x18, 0x02, 0, 0, 0xf8, 0xf7, 0xf6, 0xf5], "r2 = 0xf5f6f7f8 ll");
        check(high, [0, 0, 0, 0, 4, 3, 2, 1], "     0x1020304");
        let [map, none] = Insn::map(Reg::R1, HeaderMap::Counters);
        check(map, [0x18, 0x51, 0, 0, 2, 0, 0, 0], "r1 = map 2");
        assert_eq!(none.to_word(), 0);
    }
}
