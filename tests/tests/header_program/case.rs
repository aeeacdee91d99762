//! A filter, its DAG and its program in the kernel: one run of a frame, held against the DAG in everything that it moves.
use std::os::fd::{AsFd as _, AsRawFd as _};

use abi::{
    counter::XdpCounter,
    header::HeaderMap,
    pins::{JUMP_SLOTS, SLOT_HEADER, SLOT_STEER},
    rxmeta::{CLASS_REJECT, MAGIC_CLASS, RxMeta},
};
use anyhow::{Context as _, Result, ensure};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, MapType, libbpf_sys};
use ruler::{
    dag::{Dag, Decision, Node, NodeId},
    ebpf::{
        CASES_MAX, Counter, Program, Scope, Settings,
        insn::{Alu, Class, Insn, Reg},
        limits::{self, Loaded},
    },
    resolved::{Action, Filter},
};
use xsk::bpf::{
    Counters, HeaderCounters, HeaderMaps, HeaderProgram, HeaderRefused, Input, Instance, Verdict,
};
use zerocopy::FromBytes as _;

/// Any number.
pub(crate) const GENERATION: u8 = 0xa7;

const XDP_TX: i32 = 3;
const TAIL_CALL: i32 = 12;
const ADJUST_HEAD: i32 = 44;

/// A program array with a stub in the place of `steer`: its verdict is one that no header program gives.
pub(crate) struct Chain {
    jump: MapHandle,
    counters: Counters,
}

impl Chain {
    /// With the stub.
    pub(crate) fn new() -> Result<Self> {
        let chain = Self::broken()?;
        let stub = chain.load(&[Insn::alu(Class::Word, Alu::Mov, Reg::R0, XDP_TX), Insn::exit()], None)?;
        chain.set(SLOT_STEER, &stub)?;
        Ok(chain)
    }

    /// With nothing where `steer` should be.
    pub(crate) fn broken() -> Result<Self> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
            ..Default::default()
        };
        let jump = MapHandle::create(MapType::ProgArray, Some("rt05_jump"), 4, 4, JUMP_SLOTS, &options)?;
        Ok(Self { jump, counters: Instance::unpinned()?.counters()? })
    }

    fn set(&self, slot: u32, program: &HeaderProgram) -> Result<()> {
        let program = program.as_fd().as_raw_fd().to_ne_bytes();
        Ok(self.jump.update(&slot.to_ne_bytes(), &program, MapFlags::ANY)?)
    }

    fn maps<'a>(&'a self, rules: Option<&'a HeaderCounters>) -> HeaderMaps<'a> {
        HeaderMaps::by_map(|map| match map {
            HeaderMap::Jump => self.jump.as_fd(),
            HeaderMap::Rules => rules.map_or(self.counters.as_fd(), |rules| rules.as_fd()),
            HeaderMap::Counters => self.counters.as_fd(),
        })
    }

    fn load(&self, insns: &[Insn], rules: Option<&HeaderCounters>) -> Result<HeaderProgram, HeaderRefused> {
        let words: Vec<u64> = insns.iter().map(|insn| insn.to_word()).collect();
        HeaderProgram::load(&words, self.maps(rules))
    }

    /// A program, as the limits ask for it.
    pub(crate) fn take(
        &self,
        program: &Program,
        rules: &HeaderCounters,
    ) -> Result<Loaded<HeaderProgram>, HeaderRefused> {
        let program = self.load(&program.instructions, Some(rules))?;
        let verified = program.verified_instructions();
        Ok(Loaded { program, verified })
    }

    /// The program of a DAG, cut to fit. A cut would hide what the kernel refuses: that fails.
    pub(crate) fn case<'a>(
        &'a self,
        filter: &'a Filter,
        dag: &'a Dag,
        settings: Settings<'a>,
    ) -> Result<(Case<'a>, Program)> {
        let rules = HeaderCounters::create(entries(filter))?;
        let mut refused = None;
        let fitted = limits::fit(filter, dag, &settings, |program| {
            self.take(program, &rules).inspect_err(|why| refused = Some(format!("{why}\n{program}")))
        });
        ensure!(refused.is_none(), "{}", refused.unwrap_or_default());
        let (program, loaded) = fitted?;
        let (depth, verified, header) = (program.depth, loaded.verified, loaded.program);
        Ok((Case { chain: self, filter, dag, settings, depth, verified, header, rules }, program))
    }

    /// A program that takes all but 48 bytes of the room before a frame, and goes on to `program`: sixteen of them and
    /// what the kernel keeps there would be more, so that it refuses metadata.
    pub(crate) fn cramped(&self, program: &HeaderProgram) -> Result<HeaderProgram> {
        self.set(SLOT_HEADER, program)?;
        let [map, rest] = Insn::map(Reg::R2, HeaderMap::Jump);
        let insns = [
            Insn::alu_reg(Class::Long, Alu::Mov, Reg::R6, Reg::R1),
            Insn::alu(Class::Long, Alu::Mov, Reg::R2, -CRAMPED),
            Insn::call(ADJUST_HEAD),
            Insn::alu_reg(Class::Long, Alu::Mov, Reg::R1, Reg::R6),
            map,
            rest,
            Insn::alu(Class::Word, Alu::Mov, Reg::R3, SLOT_HEADER.cast_signed()),
            Insn::call(TAIL_CALL),
            Insn::alu(Class::Word, Alu::Mov, Reg::R0, 0),
            Insn::exit(),
        ];
        Ok(self.load(&insns, None)?)
    }
}

/// By how much [`Chain::cramped`] makes a frame longer, at its front.
pub(crate) const CRAMPED: i32 = 208;

/// A filter, its DAG and one of its programs in the kernel.
pub(crate) struct Case<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) filter: &'a Filter,
    pub(crate) dag: &'a Dag,
    pub(crate) settings: Settings<'a>,
    /// As deep as the program is.
    pub(crate) depth: u32,
    /// Instructions that the verifier walked.
    pub(crate) verified: u32,
    pub(crate) header: HeaderProgram,
    pub(crate) rules: HeaderCounters,
}

/// What a run must move, and say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) verdict: Verdict,
    pub(crate) decided: Counter,
    pub(crate) books: Option<XdpCounter>,
    pub(crate) class: Option<u16>,
}

impl Case<'_> {
    /// Runs a frame, and holds verdict, metadata, frame and every counter against the DAG; the node that it came to.
    pub(crate) fn agrees(&self, frame: &[u8]) -> Result<NodeId> {
        let node = stop(self.dag, self.depth, frame);
        let reached = self.dag.eval(frame);
        // The worker goes on from there, and comes to where a whole walk comes.
        ensure!(
            self.dag.eval_from(node, frame) == Some(reached),
            "{node:?} is not on the way to {reached:?}"
        );
        self.moves(&Input::new(frame), &self.header, self.expected(node))?;
        Ok(node)
    }

    /// What is to be of a packet that comes to a node.
    pub(crate) fn expected(&self, node: NodeId) -> Expected {
        let Settings { scope, pass, .. } = self.settings;
        let class =
            |decided, class| Expected { verdict: Verdict::Tx, decided, books: None, class: Some(class) };
        let ends = |decided, verdict, books| Expected { verdict, decided, books: Some(books), class: None };
        let decision = match self.dag.node(node) {
            Node::Leaf(leaf) => self.dag.decision(leaf),
            _ => Decision::Open,
        };
        let (decided, action) = match decision {
            Decision::Open => return class(Counter::Open, node.0),
            Decision::NoRule => (Counter::NoRule, &Action::Reject(0)),
            Decision::Rule(rule, _) => (Counter::Rule(rule.0), &self.filter.rules[rule.index()].action),
        };
        match (action, scope) {
            (Action::Accept(code), _) if pass.contains(code) => {
                ends(decided, Verdict::Pass, XdpCounter::RulerPass)
            }
            (Action::Reject(_), Scope::Interface) => ends(decided, Verdict::Drop, XdpCounter::RulerReject),
            (Action::Reject(_), Scope::Steered) => class(decided, node.0 | CLASS_REJECT),
            _ => class(decided, node.0),
        }
    }

    /// Runs `program` on an input, and holds everything that it moves against what is expected.
    pub(crate) fn moves(&self, input: &Input<'_>, program: &HeaderProgram, expected: Expected) -> Result<()> {
        let before = (self.rules.read()?, self.chain.counters.read()?);
        let run = input.run_header(program)?;
        let after = (self.rules.read()?, self.chain.counters.read()?);
        let context = || format!("{expected:?}, but {run:x?}");
        ensure!(run.verdict == expected.verdict, context());
        match expected.class {
            None => ensure!(run.bytes == [input.metadata, input.frame].concat(), context()),
            Some(class) => {
                let (meta, frame) = run.split_meta(input.frame.len()).with_context(context)?;
                let meta = RxMeta::read_from_bytes(meta).ok().context("metadata")?;
                let class_gen = self.settings.class_gen;
                let wanted = RxMeta { magic: MAGIC_CLASS, class, class_gen, ..RxMeta::default() };
                ensure!(frame == input.frame && meta == wanted, context());
            }
        }
        let rules = u16::try_from(self.filter.rules.len())?;
        let decided = Some(usize::try_from(expected.decided.index(rules))?);
        one_moved(&before.0, &after.0, decided).with_context(context)?;
        let books = expected.books.map(|counter| counter as usize);
        one_moved(&before.1, &after.1, books).with_context(context)
    }
}

/// Exactly this counter moved, by one.
fn one_moved(before: &[u64], after: &[u64], which: Option<usize>) -> Result<()> {
    for (number, (before, after)) in before.iter().zip(after).enumerate() {
        ensure!(
            after - before == u64::from(Some(number) == which),
            "counter {number} moved, {which:?} should"
        );
    }
    Ok(())
}

/// Where a walk stops that goes so deep: what a program does, done slowly.
pub(crate) fn stop(dag: &Dag, depth: u32, frame: &[u8]) -> NodeId {
    let depths = dag.depths();
    let (mut node, mut base) = (NodeId::ROOT, 0);
    while depths[node.index()] < depth {
        node = match dag.node(node) {
            Node::Leaf(_) => break,
            Node::Probe(probe) if CASES_MAX < probe.cases.len() => break,
            Node::Probe(probe) => probe.to(probe.place.read(frame, base).unwrap()),
            Node::Len { bytes, yes, no } => {
                if base + usize::try_from(*bytes).unwrap() <= frame.len() {
                    *yes
                } else {
                    *no
                }
            }
            Node::Base { advance, to } => {
                base += advance.distance(frame, base).unwrap();
                *to
            }
        };
    }
    node
}

/// How many counters a filter's program has.
pub(crate) fn entries(filter: &Filter) -> u32 {
    Counter::entries(u16::try_from(filter.rules.len()).unwrap())
}
