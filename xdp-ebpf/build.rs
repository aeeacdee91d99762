//! Tells bpf-linker, which generates the code, for which machine.
//!
//! `v3` has 32-bit arithmetic and jumps and is in every kernel that has the bpf_link we attach by. Misaligned loads and
//! stores are one instruction each: packet headers are not aligned for their fields, and the verifier allows such
//! accesses wherever the processor makes them cheap (elsewhere it refuses the program when it is loaded).
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
}
