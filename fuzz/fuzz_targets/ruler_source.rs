//! Ruler's front end and compiler: any bytes as a source.
#![no_main]

#[path = "../../userspace/ruler/tests/holds/source.rs"]
mod holds;

libfuzzer_sys::fuzz_target!(|input: &[u8]| holds::holds(input));
