//! Ruler's plans of rewriting against their twin: any bytes as an output and a packet.
#![no_main]

#[path = "../../userspace/ruler/tests/holds/rewrite.rs"]
mod holds;

libfuzzer_sys::fuzz_target!(|input: &[u8]| holds::holds(input));
