//! Makes the instructions of a header program from a header DAG.
//!
//! | register | what it holds |
//! |---|---|
//! | r6 | the context |
//! | r7 | the packet's first byte; after the last test what is counted |
//! | r8 | the byte behind its last; after the last test the class, or the verdict |
//! | r9 | the base that tests read behind; after the last test whether metadata were made, or what the books count |
//! | r1, r2, r3 | numbers, and what helpers are given |
//!
//! Every test is a test of the DAG, in its order: what the verifier must know of lengths was tested there too. There are
//! no loops and no functions, and on the stack only the key of a counter.

use super::{
    Program, Settings, TooLong,
    assembler::{Assembler, Label},
    insn::{Alu, Class, If, Insn, Reg, Width},
    outcome,
    program::Block,
};
use crate::{
    dag::{
        Dag, Node, NodeId,
        paths::Advance,
        switch::{self, Profile, Tree},
    },
    resolved::Filter,
};

/// The greatest node that can be handed over: fifteen bits, and all of them set is "none" with
/// [`abi::rxmeta::CLASS_REJECT`].
pub const CLASS_MAX: u16 = 0x7ffe;
/// A probe with more cases is left to the worker.
pub const CASES_MAX: usize = 256;

/// The header program of a filter's DAG, with tests for nodes that are less than `depth` tests from the root.
///
/// # Errors
/// Jumps do not reach far enough.
pub fn emit(filter: &Filter, dag: &Dag, settings: &Settings<'_>, depth: u32) -> Result<Program, TooLong> {
    let plan = plan(dag, depth);
    let mut code = Assembler::default();
    let nodes = dag.nodes().map(|_| code.label()).collect();
    let ends = outcome::Ends::new(&mut code);
    let mut emitter = Emitter { filter, dag, settings, code, nodes, ends };
    emitter.entry();
    for (at, (node, role)) in plan.iter().enumerate() {
        let next = plan.get(at + 1).map(|(next, _)| *next);
        emitter.code.bind(emitter.label(*node));
        match role {
            Role::Test(tree) => emitter.test(*node, tree.as_ref(), next),
            Role::Stop => emitter.stop(*node),
        }
    }
    emitter.ends();
    emitter.code.finish(depth)
}

/// What a node becomes.
enum Role {
    /// A test; that of a PROBE is a tree of them.
    Test(Option<Tree>),
    Stop,
}

/// The nodes that the program has, each before those it leads to.
fn plan(dag: &Dag, depth: u32) -> Vec<(NodeId, Role)> {
    let depths = dag.depths();
    let mut reached = vec![false; depths.len()];
    reached[NodeId::ROOT.index()] = true;
    let mut plan = Vec::new();
    for id in dag.forward() {
        if !reached[id.index()] {
            continue;
        }
        let node = dag.node(id);
        let mut tests = depths[id.index()] < depth;
        match node {
            Node::Leaf(_) => tests = false,
            Node::Probe(probe) => tests &= probe.cases.len() <= CASES_MAX,
            Node::Len { .. } | Node::Base { .. } => {}
        }
        // What lies behind could not be handed over by its number.
        node.each_next(|to| tests &= to.0 <= CLASS_MAX);
        let role = match node {
            _ if !tests => Role::Stop,
            Node::Probe(probe) => {
                let tree = switch::cheapest(probe, &Profile::EQUAL);
                // Not every case's values exist under the mask; the kernel refuses what nothing leads to.
                each_end(&tree, &mut |to| reached[to.index()] = true);
                Role::Test(Some(tree))
            }
            node => {
                node.each_next(|to| reached[to.index()] = true);
                Role::Test(None)
            }
        };
        plan.push((id, role));
    }
    plan
}

/// Every node that a tree leads to.
fn each_end(tree: &Tree, each: &mut impl FnMut(NodeId)) {
    match tree {
        Tree::Done(to) => each(*to),
        Tree::Bit { set, clear, .. } => [set, clear].into_iter().for_each(|tree| each_end(tree, each)),
        Tree::Equal { yes, no, .. } => {
            each(*yes);
            each_end(no, each);
        }
        Tree::AtLeast { yes, no, .. } => [yes, no].into_iter().for_each(|tree| each_end(tree, each)),
    }
}

/// What the parts of a program are made with.
pub(super) struct Emitter<'a> {
    pub(super) filter: &'a Filter,
    pub(super) dag: &'a Dag,
    pub(super) settings: &'a Settings<'a>,
    pub(super) code: Assembler,
    pub(super) ends: outcome::Ends,
    nodes: Vec<Label>,
}

impl Emitter<'_> {
    /// Where a node stands.
    pub(super) fn label(&self, node: NodeId) -> Label {
        self.nodes[node.index()]
    }

    /// To a node, if it does not stand here anyway.
    pub(super) fn go(&mut self, to: NodeId, next: Option<NodeId>) {
        if Some(to) != next {
            self.code.jump(Insn::jump(), self.label(to));
        }
    }

    fn entry(&mut self) {
        self.code.block(Block::Entry);
        self.code.extend([
            Insn::alu_reg(Class::Long, Alu::Mov, Reg::R6, Reg::R1),
            Insn::load(Width::B4, Reg::R7, Reg::R6, outcome::DATA),
            Insn::load(Width::B4, Reg::R8, Reg::R6, outcome::DATA_END),
            Insn::alu_reg(Class::Long, Alu::Mov, Reg::R9, Reg::R7),
        ]);
    }

    fn test(&mut self, id: NodeId, tree: Option<&Tree>, next: Option<NodeId>) {
        self.code.block(Block::Test(id));
        match (self.dag.node(id), tree) {
            (Node::Len { bytes, yes, no }, _) => {
                self.code.push(Insn::alu_reg(Class::Long, Alu::Mov, Reg::R1, Reg::R9));
                if *bytes != 0 {
                    self.code.push(Insn::alu(Class::Long, Alu::Add, Reg::R1, bytes.cast_signed()));
                }
                let short = Insn::jump_if_reg(Class::Long, If::Above, Reg::R1, Reg::R8);
                self.code.jump(short, self.label(*no));
                self.go(*yes, next);
            }
            (Node::Probe(probe), Some(tree)) => self.probe(probe.place, tree, next),
            (Node::Base { advance, to }, _) => {
                self.advance(*advance);
                self.go(*to, next);
            }
            (Node::Probe(_) | Node::Leaf(_), _) => unreachable!("a probe has a tree, and a leaf is no test"),
        }
    }

    fn advance(&mut self, advance: Advance) {
        let Advance { field, times, plus } = advance;
        if times != 0 {
            self.number(field);
            self.mask(field.mask, field.bytes, field.ones());
            // The counting field has at most eight bits, and what it counts was bounded with the path.
            let shift = i32::try_from(field.shift()).unwrap_or(0);
            if shift != 0 {
                self.code.push(Insn::alu(Class::Long, Alu::Shr, Reg::R1, shift));
            }
            if times != 1 {
                self.code.push(Insn::alu(Class::Long, Alu::Mul, Reg::R1, times.cast_signed()));
            }
            self.code.push(Insn::alu_reg(Class::Long, Alu::Add, Reg::R9, Reg::R1));
        }
        self.code.push(Insn::alu(Class::Long, Alu::Add, Reg::R9, plus.cast_signed()));
    }
}
