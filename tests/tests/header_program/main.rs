//! Ruler's header programs in the kernel, by test runs: each packet comes to where the header DAG says, whatever is cut.
//!
//! | module | rows |
//! |---|---|
//! | [`rt05`] | RT5: a program does what its DAG does |
//! | [`rt06`] | RT6: every program is within the budget, and cuts change no verdict |
//! | [`rt13`] | RT13: what the fuzz target `ruler_ebpf` holds for any input |
//! | [`chain`] | between `ingress` and `steer`: hits, misses, and what is missing |
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod case;
mod chain;
mod each;
mod holds;
mod rt05;
mod rt06;
mod rt13;

#[path = "../../../userspace/ruler/tests/holds/kept.rs"]
mod kept;
#[path = "../../../userspace/ruler/tests/made/mod.rs"]
mod made;
#[path = "../../../userspace/ruler/tests/rt04/program.rs"]
mod program;
