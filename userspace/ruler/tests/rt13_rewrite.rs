//! RT13: any bytes are an output and a packet that every plan rewrites alike.
//!
//! The property is that of the fuzz target `ruler_rewrite`, whose kept inputs are replayed here.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

#[path = "holds/kept.rs"]
#[allow(dead_code, reason = "each test needs a part of it")]
mod kept;
#[path = "holds/rewrite.rs"]
mod rewrite;
mod scale;

#[test]
fn b11_rt13_any_output_is_the_same_by_every_plan() {
    kept::check("ruler_rewrite", 1, rewrite::holds);
}
