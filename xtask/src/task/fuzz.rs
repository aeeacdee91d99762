//! `fuzz`: every target for a while, by cargo-fuzz; what it finds is shown, and belongs into `fuzz/regressions/`.
//!
//! It installs nothing and passes no stable compiler off as a nightly one: where a tool is missing it says so and fails.

use std::process::Command;

use anyhow::{Result, bail};

use crate::child;
use crate::repo::Repo;

/// The workspace with the targets.
const FUZZ: &str = "fuzz";

/// What can be fuzzed.
const TARGETS: [&str; 3] = ["ruler_source", "ruler_packet", "ruler_rewrite"];

/// Fuzzes one target, or all of them, each for so many seconds.
///
/// # Errors
/// If there is no such target, a tool is missing, or an input breaks a property.
pub(crate) fn run(repo: &Repo, target: Option<&str>, seconds: u32) -> Result<()> {
    let targets = chosen(target)?;
    let answers = |args: &[&str]| child::output(Command::new("rustup").args(args)).is_ok();
    let nightly = answers(&["run", "nightly", "rustc", "--version"]);
    let missing = missing(nightly, nightly && answers(&["run", "nightly", "cargo", "fuzz", "--version"]));
    if !missing.is_empty() {
        bail!("fuzzing needs, and this machine lacks:\n{}", missing.join("\n"));
    }
    let mut broken = Vec::new();
    for target in targets {
        eprintln!("{target}: {seconds} s");
        std::fs::create_dir_all(repo.join(&format!("{FUZZ}/corpus/{target}")))?;
        if let Err(error) = child::run(&mut command(repo, target, seconds)) {
            eprintln!("{error:#}");
            broken.push(target);
        }
    }
    if !broken.is_empty() {
        bail!(
            "broken: {}. The inputs lie in {FUZZ}/artifacts; move them to {FUZZ}/regressions and see `cargo test` fail",
            broken.join(", ")
        );
    }
    Ok(())
}

/// The target of this name, or all.
fn chosen(name: Option<&str>) -> Result<Vec<&'static str>> {
    let Some(name) = name else { return Ok(TARGETS.to_vec()) };
    match TARGETS.iter().find(|target| **target == name) {
        Some(target) => Ok(vec![target]),
        None => bail!("there is no target `{name}`; there are {}", TARGETS.join(", ")),
    }
}

/// A line for each tool that is not here, with how to get it.
fn missing(nightly: bool, cargo_fuzz: bool) -> Vec<&'static str> {
    let tools = [
        (nightly, "  a nightly toolchain: rustup toolchain install nightly"),
        (cargo_fuzz, "  cargo-fuzz: cargo install cargo-fuzz"),
    ];
    tools.into_iter().filter(|(here, _)| !here).map(|(_, line)| line).collect()
}

/// The corpus is what earlier runs found, then what is kept for good.
fn command(repo: &Repo, target: &str, seconds: u32) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(repo.join(FUZZ)).args(["run", "nightly", "cargo", "fuzz", "run", "--fuzz-dir", "."]);
    let (corpus, kept) = (format!("corpus/{target}"), format!("regressions/{target}"));
    command.args([target, &corpus, &kept, "--"]).arg(format!("-max_total_time={seconds}"));
    // A build script that asks for cargo would get this one's.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_or_all_and_no_other() {
        assert_eq!(chosen(None).unwrap(), TARGETS);
        assert_eq!(chosen(Some("ruler_packet")).unwrap(), [TARGETS[1]]);
        let error = chosen(Some("ruler")).unwrap_err().to_string();
        assert!(error.starts_with("there is no target `ruler`; there are ruler_source, "), "{error}");
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        assert!(missing(true, true).is_empty());
        assert_eq!(missing(true, false), ["  cargo-fuzz: cargo install cargo-fuzz"]);
        assert_eq!(missing(false, false).len(), 2);
    }

    #[test]
    fn every_target_has_its_program_and_inputs_that_are_kept() {
        let repo = Repo::here();
        for target in TARGETS {
            assert!(repo.join(&format!("{FUZZ}/fuzz_targets/{target}.rs")).is_file(), "{target}");
            let kept = std::fs::read_dir(repo.join(&format!("{FUZZ}/regressions/{target}"))).unwrap();
            assert!(0 < kept.count(), "{target}");
        }
        let typed = child::typed(&command(&repo, TARGETS[1], 5));
        assert!(
            typed.contains("run --fuzz-dir . ruler_packet corpus/ruler_packet regressions/ruler_packet"),
            "{typed}"
        );
        assert!(typed.ends_with("-- -max_total_time=5"), "{typed}");
    }
}
