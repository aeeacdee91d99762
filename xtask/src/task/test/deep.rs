//! The deep scale: larger counts for the same tests, and the tools that take hours.
//!
//! What a machine has no tool for is named as pending, never passed over in silence.

use std::process::Command;

use anyhow::Result;

use super::phase::Phases;
use super::tally::Tally;
use super::{Scale, tested};
use crate::child;
use crate::repo::Repo;

/// Tells the tests which counts to use; `tests/src/scale.rs` holds both.
const SCALE: &str = "OCTROI_SCALE";
/// Crates whose undefined behaviour miri looks for.
const MIRI: [&str; 3] = ["abi", "wire", "ixp"];

/// Sets the scale; returns the names that tests of the wanted rows begin with.
pub(super) fn configure(command: &mut Command, scale: &Scale) -> Vec<String> {
    match scale {
        Scale::Run => Vec::new(),
        Scale::Deep(ids) => {
            command.env(SCALE, "deep");
            ids.iter().filter_map(|id| name_prefix(id)).collect()
        }
    }
}

/// `B4` or `b04`: tests of that row are called `b04_…`.
fn name_prefix(id: &str) -> Option<String> {
    let digits = id.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let letters = id[..id.len() - digits.len()].to_ascii_lowercase();
    Some(format!("{letters}{:02}_", digits.parse::<u32>().ok()?))
}

/// miri and Kani, where they are.
pub(super) fn more(
    repo: &Repo,
    phases: &mut Phases,
    tally: &mut Tally,
    problems: &mut Vec<String>,
) -> Result<()> {
    let has = |args: &[&str]| {
        child::output(Command::new("rustup").args(["run", "nightly", "cargo"]).args(args)).is_ok()
    };
    if has(&["miri", "--version"]) {
        let mut command = Command::new("rustup");
        command.current_dir(repo.root()).args(["run", "nightly", "cargo", "miri", "test", "--lib"]);
        MIRI.iter().for_each(|name| _ = command.args(["-p", name]));
        tested(phases, "miri", command, tally, problems)?;
    } else {
        println!(
            "pending: miri over {} needs a nightly toolchain with its miri, which is not here",
            MIRI.join(", ")
        );
    }
    println!("pending: proofs by Kani (B14) belong to a later step");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_the_beginnings_of_names() {
        for (id, prefix) in
            [("B4", Some("b04_")), ("f16", Some("f16_")), ("MT2", Some("mt02_")), ("B", None), ("", None)]
        {
            assert_eq!(name_prefix(id).as_deref(), prefix, "{id}");
        }
    }

    #[test]
    fn only_deep_sets_the_scale() {
        let mut command = Command::new("true");
        assert!(configure(&mut command, &Scale::Run).is_empty() && command.get_envs().next().is_none());
        assert_eq!(configure(&mut command, &Scale::Deep(vec!["B5".into()])), ["b05_"]);
        assert_eq!(command.get_envs().count(), 1);
    }
}
