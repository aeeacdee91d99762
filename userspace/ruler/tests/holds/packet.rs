//! Every engine says what the oracle says, for the program and the packets that some bytes stand for.

#[path = "../rt04/agree.rs"]
mod agree;
#[path = "../engines/mod.rs"]
mod engines;
#[path = "made.rs"]
mod from;
#[path = "../made/mod.rs"]
mod made;
#[path = "../rt04/program.rs"]
mod program;

use agree::Seen;

/// The program that an input stands for.
#[allow(dead_code, reason = "a test looks at it, fuzzing does not")]
pub(crate) fn text(input: &[u8]) -> Option<String> {
    let (_, rest) = input.split_first_chunk::<8>()?;
    from::from_bytes(&program::programs(), rest).map(|program| program.text())
}

/// The first eight bytes choose packets and limits, the others the program.
pub(crate) fn holds(input: &[u8]) {
    let Some((seed, rest)) = input.split_first_chunk() else { return };
    let Some(program) = from::from_bytes(&program::programs(), rest) else { return };
    if let Err(difference) = agree::agree(&program, u64::from_le_bytes(*seed), &Seen::default()) {
        panic!("{difference}");
    }
}
