//! RT13: any bytes are a program and packets that every engine judges alike.
//!
//! The property is that of the fuzz target `ruler_packet`, whose kept inputs are replayed here.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

#[path = "holds/kept.rs"]
#[allow(dead_code, reason = "each test needs a part of it")]
mod kept;
#[path = "holds/packet.rs"]
mod packet;
mod scale;

#[test]
fn b11_rt13_any_packet_is_judged_alike_by_every_engine() {
    kept::check("ruler_packet", 4, packet::holds);
}

#[test]
fn bytes_of_no_meaning_make_many_programs() {
    let texts = (0..50).map(|number| packet::text(&kept::bytes(number, kept::BYTES_MAX)).unwrap());
    let texts: std::collections::BTreeSet<String> = texts.collect();
    assert!(40 < texts.len(), "{} different programs", texts.len());
}
