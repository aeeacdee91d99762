//! Header programs in the kernel against the header graph that workers walk: any bytes as a program and frames.
//!
//! It needs what loading such programs needs; without, it says so and fails before the first input.
#![no_main]

use std::{process, sync::OnceLock};

#[path = "../../tests/tests/header_program/case.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod case;
#[path = "../../tests/tests/header_program/holds.rs"]
mod holds;
#[path = "../../userspace/ruler/tests/made/mod.rs"]
mod made;
#[path = "../../userspace/ruler/tests/rt04/program.rs"]
mod program;

use case::Chain;

/// One for all inputs: they differ in their programs, not in what these jump to.
static CHAIN: OnceLock<Chain> = OnceLock::new();

fn chain() -> Chain {
    Chain::new().unwrap_or_else(|error| {
        eprintln!("ruler_ebpf loads programs into the kernel: it needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN: {error:#}");
        process::exit(1)
    })
}

libfuzzer_sys::fuzz_target!(
    init: {
        CHAIN.get_or_init(chain);
    },
    |input: &[u8]| {
        if let Err(difference) = holds::holds(CHAIN.get_or_init(chain), input) {
            panic!("{difference:#}");
        }
    }
);
