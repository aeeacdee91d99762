//! How large a header program may be, and what is done with a DAG that would be larger: it is cut.
//!
//! A cut changes no verdict, only who finds it: the worker goes on from the node where the program stopped.

use super::{Program, Settings, emit};
use crate::{dag::Dag, resolved::Filter};

/// The most instructions of a program.
pub const INSTRUCTIONS_MAX: usize = 4_096;
/// The most tests on a way through it.
pub const TESTS_MAX: u32 = 64;
/// The most instructions that the verifier may have to walk.
pub const VERIFIED_MAX: u32 = 250_000;
/// How often the depth is halved before there is no program.
pub const CUTS_MAX: u32 = 6;

/// A program that the kernel took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded<T> {
    /// What the loader made of it.
    pub program: T,
    /// How many instructions the verifier walked.
    pub verified: u32,
}

/// Why there is no header program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit<E> {
    /// It has too many instructions.
    #[error("{given} instructions, at most {limit} are allowed")]
    TooLong {
        /// How many it has.
        given: usize,
        /// [`INSTRUCTIONS_MAX`].
        limit: usize,
    },
    /// The verifier has too much work with it.
    #[error("the verifier walked {given} instructions, at most {limit} are allowed")]
    TooMuchWork {
        /// How much it had.
        given: u32,
        /// [`VERIFIED_MAX`].
        limit: u32,
    },
    /// The kernel refused it.
    #[error(transparent)]
    Refused(E),
}

/// Makes the deepest header program within the limits that `load` takes. A refused one is tried again at half the depth;
/// the error is that of the last try.
///
/// # Errors
/// Even the shallowest program that was tried is too large, or refused.
pub fn fit<T, E>(
    filter: &Filter,
    dag: &Dag,
    settings: &Settings<'_>,
    mut load: impl FnMut(&Program) -> Result<Loaded<T>, E>,
) -> Result<(Program, Loaded<T>), Unfit<E>> {
    let deepest = dag.depths().into_iter().max().unwrap_or(0);
    let mut depth = deepest.min(TESTS_MAX);
    for cuts in 0.. {
        match attempt(filter, dag, settings, depth, &mut load) {
            Ok(fitting) => return Ok(fitting),
            Err(why) if cuts == CUTS_MAX || depth <= 1 => return Err(why),
            Err(_) => depth /= 2,
        }
    }
    unreachable!("the last try returns")
}

fn attempt<T, E>(
    filter: &Filter,
    dag: &Dag,
    settings: &Settings<'_>,
    depth: u32,
    load: &mut impl FnMut(&Program) -> Result<Loaded<T>, E>,
) -> Result<(Program, Loaded<T>), Unfit<E>> {
    let too_long = |given| Unfit::TooLong { given, limit: INSTRUCTIONS_MAX };
    let program = emit(filter, dag, settings, depth).map_err(|error| too_long(error.given))?;
    if INSTRUCTIONS_MAX < program.instructions.len() {
        return Err(too_long(program.instructions.len()));
    }
    let loaded = load(&program).map_err(Unfit::Refused)?;
    if VERIFIED_MAX < loaded.verified {
        return Err(Unfit::TooMuchWork { given: loaded.verified, limit: VERIFIED_MAX });
    }
    Ok((program, loaded))
}
