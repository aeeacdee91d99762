//! Every engine says of random packets what the oracle says, for random programs of the grammar.
#![allow(clippy::unwrap_used, reason = "a test")]

mod agree;
#[path = "../engines/mod.rs"]
mod engines;
#[path = "../made/mod.rs"]
mod made;
mod program;
#[path = "../scale/mod.rs"]
mod scale;

use std::cell::Cell;

use proptest::{prelude::*, test_runner::TestRunner};

use agree::{Seen, agree};
use made::Dice;
use program::program;

/// What most programs and their packets are chosen by.
const INPUT_BYTES: usize = 600;

#[test]
fn b12_rt04_every_engine_says_what_the_oracle_says() {
    let (seen, config) = (Seen::default(), scale::RT04_PROGRAMS.cases());
    let cases = config.cases;
    let inputs = prop::collection::vec(any::<u8>(), 0..INPUT_BYTES);
    let outcome = TestRunner::new(config).run(&inputs, |input| {
        let mut dice = Dice::of_input(&input);
        let program = program(&mut dice);
        agree(&program, &mut dice, &seen)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let [pairs, matched, rewritten] = [&seen.pairs, &seen.matched, &seen.rewritten].map(Cell::get);
    let [decided, without_tables, given_up, refused] =
        [&seen.decided, &seen.without_tables, &seen.given_up, &seen.refused].map(Cell::get);
    println!(
        "{pairs} pairs: {matched} matched, {rewritten} rewritten, {decided} decided by the header; {given_up} given up; {without_tables} programs without tables, {refused} refused"
    );
    assert!(cases * 19 < pairs, "{pairs} pairs");
    assert!(cases < matched && cases < rewritten && cases < decided, "{matched}, {rewritten}, {decided}");
    assert!(refused <= cases / 1_000, "{refused} programs refused");
    assert!(without_tables < cases / 3, "{without_tables} programs without tables");
}
