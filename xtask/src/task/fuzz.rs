//! `fuzz`: every target for a while, by cargo-fuzz; what it finds is shown, and belongs into `fuzz/regressions/`.
//!
//! A stable toolchain is enough: our code is safe Rust, so no sanitizer looks for more than its own checks do, and only
//! sanitizers need a nightly one. It installs nothing: where cargo-fuzz is missing it says so and fails.

use std::process::Command;

use anyhow::{Result, bail};

use crate::child;
use crate::repo::Repo;

/// The workspace with the targets.
const FUZZ: &str = "fuzz";

/// What can be fuzzed. The last loads programs into the kernel.
const TARGETS: [&str; 4] = ["ruler_source", "ruler_packet", "ruler_rewrite", "ruler_ebpf"];

/// What is given text: words of the language, and programs that come with it to begin from.
const TEXT: &str = TARGETS[0];
const WORDS: &str = "-dict=dictionaries/ruler_source";
const FILTERS: &str = "../userspace/ruler/filters";

/// What a target may take (B11), in MiB.
const MEMORY: u32 = 512;
/// For how many seconds one input may keep a target busy.
const INPUT_SECONDS: u32 = 30;
/// The longest input.
const INPUT_BYTES: u32 = 2_048;

/// Fuzzes one target, or all of them, each for so many seconds.
///
/// # Errors
/// If there is no such target, cargo-fuzz is missing, a target lacks a privilege, or an input breaks a property.
pub(crate) fn run(repo: &Repo, target: Option<&str>, seconds: u32) -> Result<()> {
    let targets = chosen(target)?;
    require(child::output(child::cargo().args(["fuzz", "--version"])).is_ok())?;
    let mut failed = Vec::new();
    for target in targets {
        eprintln!("{target}: {seconds} s");
        std::fs::create_dir_all(repo.join(&format!("{FUZZ}/corpus/{target}")))?;
        if let Err(error) = child::run(&mut command(repo, target, seconds)) {
            eprintln!("{error:#}");
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!(
            "failed: {}. An input that broke a property lies in {FUZZ}/artifacts; move it to {FUZZ}/regressions and see `cargo test` fail",
            failed.join(", ")
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

/// cargo-fuzz, or how to get it.
fn require(has_cargo_fuzz: bool) -> Result<()> {
    if !has_cargo_fuzz {
        bail!("fuzzing needs cargo-fuzz, which is not here: cargo install cargo-fuzz");
    }
    Ok(())
}

/// The corpus is what earlier runs found, then what is kept for good.
fn command(repo: &Repo, target: &str, seconds: u32) -> Command {
    let mut command = child::cargo();
    command.current_dir(repo.join(FUZZ)).args(["fuzz", "run", "--fuzz-dir", ".", "--sanitizer", "none"]);
    // What is compared is seldom a part of an input, and tracing it takes more than half of the time.
    command.arg("--no-trace-compares");
    let (corpus, kept) = (format!("corpus/{target}"), format!("regressions/{target}"));
    command.args([target, &corpus, &kept]);
    let text = target == TEXT;
    command.args(text.then_some(FILTERS)).arg("--").args(text.then_some(WORDS));
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-rss_limit_mb={MEMORY}")).arg(format!("-timeout={INPUT_SECONDS}"));
    command.arg(format!("-max_len={INPUT_BYTES}"));
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
        assert!(require(true).is_ok());
        assert!(require(false).unwrap_err().to_string().ends_with("cargo install cargo-fuzz"));
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
        let corpora = "none --no-trace-compares ruler_packet corpus/ruler_packet regressions/ruler_packet -- -max_total_time=5 ";
        assert!(typed.starts_with("cargo fuzz run ") && typed.contains(corpora), "{typed}");
        assert!(typed.contains(" -rss_limit_mb=512 ") && !typed.contains("-dict"), "{typed}");
        let typed = child::typed(&command(&repo, TEXT, 5));
        assert!(typed.contains(" ../userspace/ruler/filters -- -dict=dictionaries/ruler_source "), "{typed}");
        assert!(repo.join(&format!("{FUZZ}/dictionaries/{TEXT}")).is_file());
    }

    #[test]
    fn every_program_is_a_target() {
        let programs = std::fs::read_dir(Repo::here().join(&format!("{FUZZ}/fuzz_targets"))).unwrap();
        for program in programs.map(|entry| entry.unwrap().path()) {
            assert!(
                TARGETS.contains(&program.file_stem().unwrap().to_str().unwrap()),
                "{}",
                program.display()
            );
        }
    }
}
