//! RT13: any bytes are read and compiled as a source, or diagnosed.
//!
//! The property is that of the fuzz target `ruler_source`, whose kept inputs are replayed here.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

#[path = "holds/kept.rs"]
#[allow(dead_code, reason = "each test needs a part of it")]
mod kept;
mod scale;
#[path = "holds/source.rs"]
mod source;

#[test]
fn b11_rt13_any_source_is_compiled_or_diagnosed() {
    kept::check("ruler_source", 1, source::holds);
}
