//! Ruler's header programs in the kernel, by test runs: each packet comes to where the header DAG says, whatever is cut.
//!
//! | module | rows |
//! |---|---|
//! | [`rt05`] | RT5: a program does what its DAG does |
//! | [`rt06`] | RT6: every program is within the budget, and cuts change no verdict |
//! | [`chain`] | between `ingress` and `steer`: hits, misses, and what is missing |
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod case;
mod chain;
mod rt05;
mod rt06;

#[path = "../../../userspace/ruler/tests/made/mod.rs"]
mod made;
