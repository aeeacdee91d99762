//! Ruler's engines against the oracle: any bytes as a program and packets.
#![no_main]

#[path = "../../userspace/ruler/tests/holds/packet.rs"]
mod holds;

libfuzzer_sys::fuzz_target!(|input: &[u8]| holds::holds(input));
