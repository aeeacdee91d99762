//! Whatever dice choose is a filter and frames, and its program in the kernel does with each frame what its DAG does.
//!
//! RT5 and the fuzz target `ruler_ebpf` both call it; neither a lab nor a seed is known here.
use anyhow::{Context as _, Result};
use ruler::{
    bundle::Bundle,
    dag::{Dag, Limits, Node},
    ebpf::{Scope, Settings},
    resolved::Filter,
};

use crate::{
    case::{Chain, GENERATION},
    made::{self, Dice},
    program,
};

/// Random rules share few tests, so that their DAGs are as large as they may be.
pub(crate) const SMALL: Limits = Limits { nodes: 4_000, entries: 1 << 16 };

/// The kernel runs no shorter frame.
const FRAME_MIN: usize = 14;
/// Frames of each filter that are made to meet its rules; as many again are one frame, cut.
const FRAMES: usize = 16;
/// The longest that is cut at every length.
const CUT: usize = 128;

/// How many frames were compared.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Came to a leaf in the kernel.
    pub(crate) whole: u64,
    /// Are gone on with by a worker.
    pub(crate) stopped: u64,
    /// Were cut somewhere.
    pub(crate) cut: u64,
}

/// A program of the grammar, or a tree that the grammar may not say.
pub(crate) fn filter(dice: &mut Dice) -> Filter {
    if dice.once_in(2) {
        return made::filter(dice);
    }
    let text = program::program(dice).text();
    let (mut filters, found) = ruler::resolve(&Bundle::new("a.rl", text.clone()));
    filters.pop().unwrap_or_else(|| panic!("{text}\n{found:?}"))
}

/// A packet that the kernel runs.
pub(crate) fn frame(dice: &mut Dice, filter: &Filter) -> Vec<u8> {
    let mut packet = made::packet(dice, filter);
    packet.resize(packet.len().max(FRAME_MIN), 0x45);
    packet
}

/// Either scope.
pub(crate) fn scope(dice: &mut Dice) -> Scope {
    if dice.once_in(2) { Scope::Steered } else { Scope::Interface }
}

/// Holds the program of a filter against its DAG.
pub(crate) fn agree(chain: &Chain, filter: &Filter, dice: &mut Dice, seen: &mut Seen) -> Result<()> {
    let dag = Dag::build(filter, &SMALL);
    let pass = [u16::try_from(dice.below(6))?];
    let settings = Settings { scope: scope(dice), pass: &pass, class_gen: GENERATION };
    let (case, program) = chain.case(filter, &dag, settings)?;
    for _ in 0..FRAMES {
        let frame = frame(dice, filter);
        let node = case.agrees(&frame).with_context(|| format!("{frame:x?}\n{program}"))?;
        *if matches!(dag.node(node), Node::Leaf(_)) { &mut seen.whole } else { &mut seen.stopped } += 1;
    }
    let mut longest = frame(dice, filter);
    longest.resize(CUT, 0x45);
    // Every length up to where headers end, and others by turns.
    let turn = dice.index(8);
    for length in (FRAME_MIN..=CUT).filter(|length| *length < 32 || length % 8 == turn) {
        let context = || format!("{length} of {longest:x?}\n{program}");
        case.agrees(&longest[..length]).with_context(context)?;
        seen.cut += 1;
    }
    Ok(())
}

/// What the bytes of an input choose agrees.
pub(crate) fn holds(chain: &Chain, input: &[u8]) -> Result<()> {
    let mut dice = Dice::of_input(input);
    let filter = filter(&mut dice);
    agree(chain, &filter, &mut dice, &mut Seen::default()).with_context(|| format!("{filter:#?}"))
}
