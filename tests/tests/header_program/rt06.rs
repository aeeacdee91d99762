//! RT6: every program is within the budget, and what is cut changes no verdict: a worker goes on from where it stopped.
use anyhow::{Context as _, Result, ensure};
use octroi_tests::scale::RT06_FILTERS;
use ruler::{
    dag::Dag,
    ebpf::{
        Program, Settings, emit,
        limits::{INSTRUCTIONS_MAX, Loaded, TESTS_MAX, VERIFIED_MAX},
    },
};
use xsk::bpf::HeaderCounters;

use crate::{
    case::{Case, GENERATION, entries},
    each::each_filter,
    holds::{SMALL, frame, scope},
};

const FRAMES: usize = 8;

#[test]
fn rt06_every_program_is_within_the_budget() -> Result<()> {
    let mut most = (0, 0);
    let ran = each_filter("rt06_budget", RT06_FILTERS.count(), |chain, dice, filter| {
        let dag = Dag::build(filter, &SMALL);
        let settings = Settings { scope: scope(dice), pass: &[], class_gen: GENERATION };
        let (case, program) = chain.case(filter, &dag, settings)?;
        ensure!(
            program.instructions.len() <= INSTRUCTIONS_MAX,
            "{} instructions",
            program.instructions.len()
        );
        ensure!(case.depth <= TESTS_MAX, "{} tests", case.depth);
        ensure!(case.verified <= VERIFIED_MAX, "{} verified", case.verified);
        most = (most.0.max(program.instructions.len()), most.1.max(case.verified));
        Ok(())
    })?;
    ensure!(!ran || 0 < most.0, "no program was made");
    eprintln!("at most {} instructions, of which the verifier walked {}", most.0, most.1);
    Ok(())
}

#[test]
fn rt06_cuts_change_no_verdict() -> Result<()> {
    each_filter("rt06_cuts", RT06_FILTERS.count(), |chain, dice, filter| {
        let dag = Dag::build(filter, &SMALL);
        let settings = Settings { scope: scope(dice), pass: &[1], class_gen: GENERATION };
        let deepest = dag.depths().into_iter().max().unwrap_or(0).min(TESTS_MAX);
        let frames: Vec<_> = (0..FRAMES).map(|_| frame(dice, filter)).collect();
        for depth in [0, 1, 2, 4, 8, 16, 32].into_iter().filter(|depth| *depth < deepest) {
            // What is too long to be loaded, or for its own jumps, is cut further before anybody loads it.
            let program = emit(filter, &dag, &settings, depth);
            let loadable = |program: &Program| program.instructions.len() <= INSTRUCTIONS_MAX;
            let Some(program) = program.ok().filter(loadable) else { continue };
            let rules = HeaderCounters::create(entries(filter))?;
            let Loaded { program: header, verified } = chain.take(&program, &rules)?;
            let case = Case { chain, filter, dag: &dag, settings, depth, verified, header, rules };
            for frame in &frames {
                case.agrees(frame).with_context(|| format!("depth {depth}: {frame:x?}\n{program}"))?;
            }
        }
        Ok(())
    })?;
    Ok(())
}
