//! Any bytes are a program and packets that every engine judges alike.

#[path = "../holds/packet.rs"]
mod holds;

use crate::{different, kept, neighbours, scale::RT13_INPUTS};

#[test]
fn b11_rt13_any_packet_is_judged_alike_by_every_engine() {
    kept::check("ruler_packet", RT13_INPUTS.count() / 4, holds::holds);
}

#[test]
fn bytes_of_no_meaning_make_many_programs() {
    for length in [8, 20, 60, kept::BYTES_MAX] {
        let programs = different(holds::text, length);
        assert!(40 < programs, "{programs} different programs of {length} bytes");
    }
}

#[test]
fn an_input_without_bytes_or_of_zeros_is_a_program() {
    for length in 0..200 {
        holds::holds(&vec![0; length]);
    }
}

#[test]
fn a_byte_chooses_a_part_of_a_program() {
    // Only then does it help to know which input reached what.
    let whole = holds::text(&kept::bytes(1, kept::BYTES_MAX));
    let mut last = kept::bytes(1, kept::BYTES_MAX);
    *last.last_mut().unwrap() ^= 0xff;
    assert_eq!(holds::text(&last), whole, "the program is over before the bytes are");
    let programs = neighbours(holds::text, 60);
    assert!(20 < programs, "{programs} different programs one byte away");
}
