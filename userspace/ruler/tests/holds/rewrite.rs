//! Every plan of rewriting gives what its slow twin gives, for the output and the packet that some bytes choose.

#[path = "../rewrite/agree.rs"]
mod agree;
#[path = "../made/dice.rs"]
mod dice;
#[path = "../rewrite/draft.rs"]
mod draft;
#[path = "../rewrite/naive.rs"]
mod naive;
#[path = "../rewrite/rule.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod rule;
#[path = "../rewrite/shape.rs"]
mod shape;
#[path = "../rewrite/traffic.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod traffic;

/// What an input chooses, as text.
#[allow(dead_code, reason = "a test looks at it, fuzzing does not")]
pub(crate) fn text(input: &[u8]) -> String {
    format!("{:?}", agree::trial(&mut dice::Dice::of_input(input)))
}

pub(crate) fn holds(input: &[u8]) {
    let trial = agree::trial(&mut dice::Dice::of_input(input));
    if let Err(difference) = agree::holds(&trial) {
        panic!("{difference}: {trial:?}");
    }
}
