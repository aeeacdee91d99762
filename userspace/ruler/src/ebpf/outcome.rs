//! Where tests end: the decision is counted, and the packet ends here or goes on to `steer` with its class.
//!
//! Metadata are made only here, when there is something to say, and never where a driver has its own. Before a pass
//! they are removed again: a packet that passes is what came.

use abi::{
    counter::XdpCounter,
    header::HeaderMap,
    pins::SLOT_STEER,
    rxmeta::{CLASS_REJECT, MAGIC_CLASS, RxMeta},
};

use super::{
    Counter, Scope,
    assembler::{Assembler, Label},
    emit::Emitter,
    insn::{Alu, Class, If, Insn, Reg, Width},
    program::Block,
};
use crate::{
    dag::{Decision, Node, NodeId},
    resolved::{Action, RuleId},
};

/// Where `struct xdp_md` has the packet's first byte.
pub(super) const DATA: i16 = 0;
/// Where it has the byte behind the last.
pub(super) const DATA_END: i16 = 4;
/// Where it has the metadata's first byte.
const DATA_META: i16 = 8;

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const MAP_LOOKUP: i32 = 1;
const TAIL_CALL: i32 = 12;
const ADJUST_META: i32 = 54;
/// Where the one key on the stack is.
const KEY: i16 = -4;

const META: i32 = {
    assert!(RxMeta::SIZE == 16);
    16
};

/// Where the ways of all packets meet again.
pub(super) struct Ends {
    /// r7 is what the rules' counter is, r8 the class and the generation as they are stored.
    hand_over: Label,
    /// r7 is what the rules' counter is, r8 the verdict, r9 what the books count.
    end: Label,
    /// As `end`, with the rules' counter moved already.
    counted: Label,
}

/// What becomes of a packet.
enum Outcome {
    /// Accepted with a code that is the OS stack's.
    Pass,
    /// Rejected, whoever it is for.
    Drop,
    /// The class goes to `steer`.
    Class(u16),
}

impl Ends {
    pub(super) fn new(code: &mut Assembler) -> Self {
        Self { hand_over: code.label(), end: code.label(), counted: code.label() }
    }
}

impl Emitter<'_> {
    /// A node that is not tested: what was decided, or that nothing was.
    pub(super) fn stop(&mut self, id: NodeId) {
        self.code.block(Block::Stop(id));
        let (counter, outcome) = self.outcome(id);
        let rules = u16::try_from(self.dag.rules()).unwrap_or(u16::MAX);
        self.set(Reg::R7, counter.index(rules).cast_signed());
        match outcome {
            Outcome::Class(class) => {
                let [c0, c1] = class.to_ne_bytes();
                let stored = i32::from_ne_bytes([c0, c1, self.settings.class_gen, 0]);
                self.set(Reg::R8, stored);
                self.code.jump(Insn::jump(), self.ends.hand_over);
            }
            Outcome::Pass => self.end_with(XDP_PASS, XdpCounter::RulerPass, self.ends.end),
            Outcome::Drop => self.end_with(XDP_DROP, XdpCounter::RulerReject, self.ends.end),
        }
    }

    fn outcome(&self, id: NodeId) -> (Counter, Outcome) {
        let open = (Counter::Open, Outcome::Class(id.0));
        let Node::Leaf(leaf) = self.dag.node(id) else { return open };
        let rejected = match self.settings.scope {
            Scope::Steered => Outcome::Class(id.0 | CLASS_REJECT),
            Scope::Interface => Outcome::Drop,
        };
        match self.dag.decision(leaf) {
            Decision::Open => open,
            Decision::NoRule => (Counter::NoRule, rejected),
            Decision::Rule(RuleId(rule), _) => {
                let outcome = match &self.filter.rules[usize::from(rule)].action {
                    Action::Accept(code) if self.settings.pass.contains(code) => Outcome::Pass,
                    Action::Accept(_) | Action::Rewrite(..) => Outcome::Class(id.0),
                    Action::Reject(_) => rejected,
                };
                (Counter::Rule(rule), outcome)
            }
        }
    }

    /// What stands once at the end of a program; the kernel refuses instructions that nothing leads to.
    pub(super) fn ends(&mut self) {
        if self.code.is_wanted(self.ends.hand_over) {
            let jump = self.code.label();
            self.hand_over(jump);
            self.jump_to_steer(jump);
        }
        if self.code.is_wanted(self.ends.end) {
            self.code.bind(self.ends.end);
            self.code.block(Block::End);
            self.count(HeaderMap::Rules, Reg::R7);
        }
        self.code.bind(self.ends.counted);
        self.code.block(Block::Books);
        self.count(HeaderMap::Counters, Reg::R9);
        self.code.push(Insn::alu_reg(Class::Long, Alu::Mov, Reg::R0, Reg::R8));
        self.code.push(Insn::exit());
    }

    /// Counts the decision, and writes the class if it may.
    fn hand_over(&mut self, jump: Label) {
        self.code.bind(self.ends.hand_over);
        self.code.block(Block::HandOver);
        self.count(HeaderMap::Rules, Reg::R7);
        self.set(Reg::R9, 0);
        // Metadata that are there are the driver's, and stay. One that has no room for any says so by a first byte
        // behind the packet's, so that it is not even asked.
        self.meta_and_data();
        self.code.jump(Insn::jump_if_reg(Class::Long, If::Other, Reg::R1, Reg::R2), jump);
        self.adjust_meta(-META);
        self.code.jump(Insn::jump_if(Class::Long, If::Other, Reg::R0, 0), jump);
        self.set(Reg::R9, 1);
        self.meta_and_data();
        self.code.extend([
            Insn::alu_reg(Class::Long, Alu::Mov, Reg::R3, Reg::R1),
            Insn::alu(Class::Long, Alu::Add, Reg::R3, META),
        ]);
        self.code.jump(Insn::jump_if_reg(Class::Long, If::Above, Reg::R3, Reg::R2), jump);
        let [m0, m1] = MAGIC_CLASS.to_ne_bytes();
        self.code.extend([
            Insn::store_imm(Width::B4, Reg::R1, 0, i32::from_ne_bytes([m0, m1, 0, 0])),
            Insn::store_imm(Width::B4, Reg::R1, 4, 0),
            Insn::store(Width::B4, Reg::R1, CLASS, Reg::R8),
            Insn::store_imm(Width::B4, Reg::R1, CLASS + 4, 0),
        ]);
    }

    /// On to `steer`; if it is not there, the packet is passed as it came.
    fn jump_to_steer(&mut self, jump: Label) {
        self.code.bind(jump);
        self.code.block(Block::Jump);
        self.code.push(Insn::alu_reg(Class::Long, Alu::Mov, Reg::R1, Reg::R6));
        self.code.extend(Insn::map(Reg::R2, HeaderMap::Jump));
        self.set(Reg::R3, SLOT_STEER.cast_signed());
        self.code.push(Insn::call(TAIL_CALL));
        let pass = self.code.label();
        self.code.jump(Insn::jump_if(Class::Long, If::Equal, Reg::R9, 0), pass);
        self.adjust_meta(META);
        self.code.jump(Insn::jump_if(Class::Long, If::Equal, Reg::R0, 0), pass);
        self.end_with(XDP_DROP, XdpCounter::DropMetaStuck, self.ends.counted);
        self.code.bind(pass);
        self.end_with(XDP_PASS, XdpCounter::JumpMissed, self.ends.counted);
    }

    fn end_with(&mut self, verdict: i32, books: XdpCounter, end: Label) {
        self.set(Reg::R8, verdict);
        self.set(Reg::R9, (books as u32).cast_signed());
        self.code.jump(Insn::jump(), end);
    }

    fn set(&mut self, register: Reg, number: i32) {
        self.code.push(Insn::alu(Class::Word, Alu::Mov, register, number));
    }

    /// r1 is the metadata's first byte, r2 the packet's.
    fn meta_and_data(&mut self) {
        self.code.extend([
            Insn::load(Width::B4, Reg::R1, Reg::R6, DATA_META),
            Insn::load(Width::B4, Reg::R2, Reg::R6, DATA),
        ]);
    }

    fn adjust_meta(&mut self, by: i32) {
        self.code.extend([
            Insn::alu_reg(Class::Long, Alu::Mov, Reg::R1, Reg::R6),
            Insn::alu(Class::Long, Alu::Mov, Reg::R2, by),
            Insn::call(ADJUST_META),
        ]);
    }

    /// Adds one to the entry of a per-CPU array whose index is in a register.
    fn count(&mut self, map: HeaderMap, index: Reg) {
        let done = self.code.label();
        self.code.push(Insn::store(Width::B4, Reg::R10, KEY, index));
        self.code.extend(Insn::map(Reg::R1, map));
        self.code.extend([
            Insn::alu_reg(Class::Long, Alu::Mov, Reg::R2, Reg::R10),
            Insn::alu(Class::Long, Alu::Add, Reg::R2, i32::from(KEY)),
            Insn::call(MAP_LOOKUP),
        ]);
        self.code.jump(Insn::jump_if(Class::Long, If::Equal, Reg::R0, 0), done);
        self.code.extend([
            Insn::load(Width::B8, Reg::R1, Reg::R0, 0),
            Insn::alu(Class::Long, Alu::Add, Reg::R1, 1),
            Insn::store(Width::B8, Reg::R0, 0, Reg::R1),
        ]);
        self.code.bind(done);
    }
}

/// Where the class is in the metadata, and the generation behind it.
const CLASS: i16 = {
    assert!(core::mem::offset_of!(RxMeta, magic) == 0);
    assert!(core::mem::offset_of!(RxMeta, class) == 8 && core::mem::offset_of!(RxMeta, class_gen) == 10);
    8
};
