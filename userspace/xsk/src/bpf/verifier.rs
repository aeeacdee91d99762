//! How much work the verifier had with each program, and how large the programs became.
//!
//! The numbers are the kernel's; two releases of it may differ on the same object.
use aya::programs::Xdp;

use super::BpfError;

/// The size of one loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSize {
    /// The program.
    pub name: &'static str,
    /// Instructions that the verifier walked, over all paths; the kernel's limit is one million.
    pub verified: u32,
    /// Bytes of the translated program; 8 an instruction.
    pub translated_bytes: u32,
}

/// The sizes of `programs`.
///
/// # Errors
/// The kernel is older than 5.16, or refuses.
pub fn program_sizes<'a>(
    programs: impl IntoIterator<Item = (&'static str, &'a Xdp)>,
) -> Result<Vec<ProgramSize>, BpfError> {
    programs.into_iter().map(|(name, program)| size(name, program)).collect()
}

fn size(name: &'static str, program: &Xdp) -> Result<ProgramSize, BpfError> {
    let info = program.info().map_err(|error| BpfError::program(name, error))?;
    let unknown = BpfError::Incomplete { name };
    match (info.verified_instruction_count(), info.size_translated()) {
        (Some(verified), Some(translated_bytes)) => Ok(ProgramSize { name, verified, translated_bytes }),
        _ => Err(unknown),
    }
}
