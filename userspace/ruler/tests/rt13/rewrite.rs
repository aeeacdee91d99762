//! Any bytes are an output and a packet that every plan rewrites alike.

#[path = "../holds/rewrite.rs"]
mod holds;

use crate::{different, kept, neighbours, scale::RT13_INPUTS};

#[test]
fn b11_rt13_any_output_is_the_same_by_every_plan() {
    kept::check("ruler_rewrite", RT13_INPUTS.count(), holds::holds);
}

#[test]
fn bytes_of_no_meaning_make_many_outputs() {
    for length in [8, 20, 60, kept::BYTES_MAX] {
        let outputs = different(holds::text, length);
        assert!(48 < outputs, "{outputs} different outputs of {length} bytes");
    }
    let outputs = neighbours(holds::text, 60);
    assert!(40 < outputs, "{outputs} different outputs one byte away");
}

#[test]
fn an_input_without_bytes_or_of_zeros_is_an_output() {
    for length in 0..200 {
        holds::holds(&vec![0; length]);
    }
}
