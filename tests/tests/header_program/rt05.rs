//! RT5: a program does what its DAG does, on frames of every length.
use anyhow::{Context as _, Result, ensure};
use octroi_tests::scale::RT05_FILTERS;
use ruler::{
    dag::{Dag, Node},
    ebpf::Settings,
};

use crate::case::{Chain, FRAME_MIN, GENERATION, SMALL, each_filter, frame, scope};

/// Frames of each filter that are made to meet its rules; as many again are one frame, cut.
const FRAMES: usize = 16;
/// The longest that is cut at every length.
const CUT: usize = 128;

#[test]
fn rt05_a_program_does_what_its_dag_does() -> Result<()> {
    let chain = Chain::new()?;
    let (mut whole, mut stopped) = (0_u32, 0_u32);
    each_filter("rt05_random", RT05_FILTERS.count(), |dice, filter| {
        let dag = Dag::build(filter, &SMALL);
        let pass = [u16::try_from(dice.below(6))?];
        let settings = Settings { scope: scope(dice), pass: &pass, class_gen: GENERATION };
        let (case, program) = chain.case(filter, &dag, settings)?;
        for _ in 0..FRAMES {
            let frame = frame(dice, filter);
            let node = case.agrees(&frame).with_context(|| format!("{frame:x?}\n{program}"))?;
            *if matches!(dag.node(node), Node::Leaf(_)) { &mut whole } else { &mut stopped } += 1;
        }
        let mut longest = frame(dice, filter);
        longest.resize(CUT, 0x45);
        // Every length up to where headers end, and others by turns.
        let turn = usize::try_from(dice.below(8))?;
        for length in (FRAME_MIN..=CUT).filter(|length| *length < 32 || length % 8 == turn) {
            let context = || format!("{length} of {longest:x?}\n{program}");
            case.agrees(&longest[..length]).with_context(context)?;
        }
        Ok(())
    })?;
    ensure!(whole > stopped, "{whole} frames reached a leaf in the kernel, {stopped} did not");
    Ok(())
}
