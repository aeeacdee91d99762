//! RT13: what fuzz targets hold for any input, for the inputs that are kept and for a bounded number of others.
//!
//! | module | fuzz target |
//! |---|---|
//! | [`source`] | `ruler_source` |
//! | [`packet`] | `ruler_packet` |
//! | [`rewrite`] | `ruler_rewrite` |
//!
//! `ruler_ebpf` needs the kernel: it is with the tests of header programs.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
#![allow(
    clippy::duplicate_mod,
    reason = "a property brings all that it needs, as its fuzz target has nothing else"
)]

#[path = "../holds/kept.rs"]
mod kept;
mod packet;
mod rewrite;
#[path = "../scale/mod.rs"]
mod scale;
mod source;

use std::collections::BTreeSet;

/// How many different things fifty inputs choose.
fn different(text: fn(&[u8]) -> String, length: u64) -> usize {
    let texts = (0..50).map(|number| text(&kept::bytes(number, length)));
    texts.collect::<BTreeSet<String>>().len()
}

/// How many different things an input chooses when a byte of it is another, beside its own.
fn neighbours(text: fn(&[u8]) -> String, length: u64) -> usize {
    let input = kept::bytes(1, length);
    let own = text(&input);
    let others = (0..input.len()).map(|at| {
        let mut input = input.clone();
        input[at] = !input[at];
        text(&input)
    });
    others.filter(|other| *other != own).collect::<BTreeSet<String>>().len()
}
