//! Any bytes are read and compiled as a source, or diagnosed.

#[path = "../holds/source.rs"]
mod holds;

use crate::{kept, scale::RT13_INPUTS};

#[test]
fn b11_rt13_any_source_is_compiled_or_diagnosed() {
    kept::check("ruler_source", RT13_INPUTS.count(), holds::holds);
}
