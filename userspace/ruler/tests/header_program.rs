//! Header programs, without a kernel: what the verifier would refuse at a glance, what is cut, and when nothing is left.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod made;

use made::Dice;
use ruler::{
    bundle::Bundle,
    dag::{Dag, Limits, Node},
    ebpf::{
        Block, CASES_MAX, Counter, Program, Scope, Settings, emit,
        limits::{self, CUTS_MAX, INSTRUCTIONS_MAX, Loaded, TESTS_MAX, Unfit, VERIFIED_MAX},
    },
    resolved::Filter,
};

const SETTINGS: Settings<'static> = Settings { scope: Scope::Steered, pass: &[], class_gen: 7 };
const SMALL: Limits = Limits { nodes: 4_000, entries: 1 << 16 };
const DEEPEST: u32 = u32::MAX;

fn filter(source: &str) -> Filter {
    let (mut filters, found) = ruler::resolve(&Bundle::new("a.rl", source));
    filters.pop().unwrap_or_else(|| panic!("{found:?}"))
}

fn tests(program: &Program) -> usize {
    program.blocks.iter().filter(|(_, block)| matches!(block, Block::Test(_))).count()
}

#[test]
fn a_program_reads_as_its_dag() {
    let filter = filter("filter a byte#12 0x800~2 * => accept; byte#12 0x806~2 * => reject 2; * => reject;");
    let dag = Dag::build(&filter, &Limits::default());
    let program = emit(&filter, &dag, &SETTINGS, DEEPEST).unwrap();
    insta::assert_snapshot!("header_program_of_an_example", format!("{}\n{program}", dag.text()));
}

/// What the kernel refuses at once: a jump into nothing or into a constant, an end without `exit`, what is never reached.
fn is_sound(program: &Program) {
    let length = program.instructions.len();
    let inside: Vec<bool> = (0..length).map(|at| at != 0 && program.instructions[at - 1].is_wide()).collect();
    let mut reached = vec![false; length];
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        assert!(at < length && !inside[at], "instruction {at} of {program}");
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        let insn = program.instructions[at];
        let jump = usize::try_from(i64::try_from(at).unwrap() + 1 + i64::from(insn.off));
        match (insn.code & 0x07, insn.code) {
            (_, 0x95) => {}
            (_, 0x05) => open.push(jump.unwrap()),
            (_, 0x85) => open.push(at + 1),
            (0x05 | 0x06, _) => open.extend([at + 1, jump.unwrap()]),
            _ if insn.is_wide() => open.push(at + 2),
            _ => open.push(at + 1),
        }
    }
    assert!((0..length).all(|at| reached[at] || inside[at]), "nothing leads to some of {program}");
}

#[test]
fn programs_of_random_filters_are_sound_the_same_twice_and_smaller_when_cut() {
    for number in 0..300 {
        let mut dice = Dice::of(number);
        let filter = made::filter(&mut dice);
        let dag = Dag::build(&filter, &SMALL);
        let scope = if dice.once_in(2) { Scope::Steered } else { Scope::Interface };
        let settings = Settings { scope, pass: &[0, 1], class_gen: 3 };
        let mut least = usize::MAX;
        for depth in [DEEPEST, 32, 8, 4, 2, 1, 0] {
            let Ok(program) = emit(&filter, &dag, &settings, depth) else {
                assert!(0 < depth, "a program without tests always fits");
                continue;
            };
            is_sound(&program);
            assert_eq!(emit(&filter, &dag, &settings, depth).as_ref(), Ok(&program));
            assert_eq!(program.words().len(), program.instructions.len());
            assert!(tests(&program) <= least, "{depth}: {program}");
            least = tests(&program);
        }
        assert_eq!(least, 0, "at depth 0 nothing is tested");
    }
}

#[test]
fn a_probe_with_too_many_cases_is_left_to_the_worker() {
    for (cases, tested) in [(CASES_MAX, true), (CASES_MAX + 1, false)] {
        // Every other number, or neighbours would be one case.
        let values = (0..cases).map(|value| format!("{}~2", 2 * value)).collect::<Vec<_>>();
        let rules = values.iter().map(|value| format!("byte#12 {value} * => accept;")).collect::<String>();
        let filter = filter(&format!("filter many {rules}"));
        let dag = Dag::build(&filter, &Limits::default());
        let (probe, _) = dag.nodes().find(|(_, node)| matches!(node, Node::Probe(_))).unwrap();
        let program = emit(&filter, &dag, &SETTINGS, DEEPEST).unwrap();
        let wanted = if tested { Block::Test(probe) } else { Block::Stop(probe) };
        assert!(program.blocks.iter().any(|(_, block)| *block == wanted), "{cases} cases: {wanted:?}");
        is_sound(&program);
    }
}

/// A filter whose DAG is as deep as this: each byte is asked for by a rule of its own, and by none after it.
fn deep(tests: usize) -> Filter {
    let rules = (0..tests).map(|at| format!("byte#{} 1 * => accept {at};", at + 1)).collect::<String>();
    filter(&format!("filter deep {rules}"))
}

/// The depths that are tried with a loader that says this.
fn tried(filter: &Filter, dag: &Dag, verified: Option<u32>) -> (Vec<u32>, bool) {
    let mut depths = Vec::new();
    let fitted = limits::fit(filter, dag, &SETTINGS, |program| {
        depths.push(program.depth);
        assert!(program.instructions.len() <= INSTRUCTIONS_MAX);
        verified.map(|verified| Loaded { program: (), verified }).ok_or("no")
    });
    match (&fitted, verified) {
        (Ok((program, loaded)), Some(verified)) => {
            assert_eq!((program.depth, loaded.verified), (depths[depths.len() - 1], verified));
        }
        (Err(Unfit::TooMuchWork { given, limit: VERIFIED_MAX }), Some(verified)) => {
            assert_eq!(*given, verified);
        }
        (Err(Unfit::Refused("no")), None) => {}
        other => panic!("{other:?}"),
    }
    (depths, fitted.is_ok())
}

#[test]
fn what_is_refused_is_cut_at_half_the_depth_at_most_six_times() {
    let filter = deep(50);
    let dag = Dag::build(&filter, &Limits::default());
    assert!(TESTS_MAX < dag.depths().into_iter().max().unwrap(), "deeper than any program");
    let halves: Vec<u32> = (0..=CUTS_MAX).map(|cuts| TESTS_MAX >> cuts).collect();
    assert_eq!(halves, [64, 32, 16, 8, 4, 2, 1]);
    assert_eq!(tried(&filter, &dag, None), (halves.clone(), false));
    assert_eq!(tried(&filter, &dag, Some(VERIFIED_MAX + 1)), (halves, false));
    assert_eq!(tried(&filter, &dag, Some(VERIFIED_MAX)), (vec![TESTS_MAX], true));
}

#[test]
fn a_program_that_is_too_long_is_cut_before_anybody_loads_it() {
    // Sixteen thousand ways to go on after the first four tests.
    let (mut dice, mut cut) = (Dice::of(6), 0);
    for _ in 0..40 {
        let filter = made::filter(&mut dice);
        let dag = Dag::build(&filter, &Limits::default());
        let deepest = dag.depths().into_iter().max().unwrap().min(TESTS_MAX);
        let long = emit(&filter, &dag, &SETTINGS, deepest)
            .map_or(true, |program| INSTRUCTIONS_MAX < program.instructions.len());
        let (depths, _) = tried(&filter, &dag, Some(1));
        assert_eq!(depths[0] < deepest, long, "{depths:?} of {deepest}");
        cut += u32::from(long);
    }
    assert!(0 < cut, "no program was too long");
}

#[test]
fn every_decision_has_a_counter_of_its_own() {
    let rules = 5;
    let all = [Counter::NoRule, Counter::Open].into_iter().chain((0..rules).map(Counter::Rule));
    let mut indices: Vec<u32> = all.map(|counter| counter.index(rules)).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..Counter::entries(rules)).collect::<Vec<_>>());
    assert_eq!(Counter::Rule(2).index(rules), 3);
}
