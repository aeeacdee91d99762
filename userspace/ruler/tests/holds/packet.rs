//! Every engine says what the oracle says, for the program and the packets that some bytes choose.

#[path = "../rt04/agree.rs"]
mod agree;
#[path = "../engines/mod.rs"]
mod engines;
#[path = "../made/mod.rs"]
mod made;
#[path = "../rt04/program.rs"]
mod program;

use agree::Seen;
use made::Dice;

/// The program that an input chooses.
#[allow(dead_code, reason = "a test looks at it, fuzzing does not")]
pub(crate) fn text(input: &[u8]) -> String {
    program::program(&mut Dice::of_input(input)).text()
}

pub(crate) fn holds(input: &[u8]) {
    let mut dice = Dice::of_input(input);
    let program = program::program(&mut dice);
    if let Err(difference) = agree::agree(&program, &mut dice, &Seen::default()) {
        panic!("{difference}");
    }
}
