//! `test`: everything that can be tested on this machine, and a plain account of what was and was not.
//!
//! It is `cargo test` with the object built first and the books kept: shares of time, the ten slowest tests, skips
//! with their reasons, and one line `N passed, N failed` at the end. It never turns a skip into a pass.

mod deep;
mod phase;
mod tally;

use std::io::{BufRead, BufReader};
use std::process::Command;

use anyhow::{Context, Result, bail};

use self::phase::Phases;
use self::tally::Tally;
use crate::child;
use crate::repo::Repo;
use crate::task::setup::{self, Install, Stage};
use crate::task::{build, pure};
use crate::toolchain::Compiler;

/// Set to 1, no test may be skipped: continuous integration runs so.
const CAPS: &str = "OCTROI_CAPS";
/// Names the file where the lab notes what it could not run.
const SKIPS: &str = "OCTROI_SKIPS";
/// Where the randomness of our tests begins: a number, decimal or `0x…` (`tests/src/scale.rs` reads it).
const SEED: &str = "OCTROI_SEED";
/// The same for proptest, which reads decimal numbers only.
const PROPTEST_SEED: &str = "PROPTEST_RNG_SEED";
/// The program that cargo puts before a test program: it lets libtest on a stable toolchain report times.
const RUNNER: &str = "env RUSTC_BOOTSTRAP=1";

/// Preemptions that loom explores where time is short; most orderings that go wrong need no more.
const LOOM_PREEMPTIONS: &str = "3";

/// How much is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// What every change must pass.
    Run,
    /// Two hours of it, for all rows or for those named.
    Deep(Vec<String>),
}

/// Tests what can be tested here.
///
/// # Errors
/// If a test fails, something does not build, or CI must run what this machine cannot.
pub(crate) fn run(repo: &Repo, install: Install, scale: &Scale) -> Result<()> {
    let mut phases = Phases::default();
    let compiler = match phases.time("toolchain", || setup::ensure(Stage::Test, install)) {
        Ok(compiler) => Some(compiler),
        Err(error) if no_skips() => return Err(error),
        Err(error) => {
            eprintln!("{error:#}\nGoing on with the crates that need neither BPF nor a C library.");
            None
        }
    };
    let mut tally = Tally::default();
    let mut problems = Vec::new();
    // A file of an earlier run would be taken for this one's.
    let _ = std::fs::remove_file(repo.skips());
    let outcome = match &compiler {
        Some(compiler) => whole(repo, compiler, scale, &mut phases, &mut tally, &mut problems),
        None => pure_crates(repo, &mut phases, &mut tally, &mut problems),
    };
    if let Err(error) = outcome {
        problems.push(format!("{error:#}"));
    }
    report(repo, &phases, &tally, &problems, compiler.is_none());
    if !problems.is_empty() || tally.failed > 0 {
        bail!("the tests failed");
    }
    Ok(())
}

fn no_skips() -> bool {
    std::env::var_os(CAPS).is_some_and(|value| value == "1")
}

/// What can be tested with nothing but stable Rust: the workspace's default members.
fn pure_crates(
    repo: &Repo,
    phases: &mut Phases,
    tally: &mut Tally,
    problems: &mut Vec<String>,
) -> Result<()> {
    tested(phases, "tests of the pure crates", cargo_test(repo)?, tally, problems)
}

/// Object, programs, tests, documentation tests, and the crates that must build without an operating system.
fn whole(
    repo: &Repo,
    compiler: &Compiler,
    scale: &Scale,
    phases: &mut Phases,
    tally: &mut Tally,
    problems: &mut Vec<String>,
) -> Result<()> {
    phases.time("eBPF object", || build::ebpf(repo, compiler))?;
    phases.time("builds", || {
        let mut command = child::cargo();
        // Programs, tests and the C library in one call, so that what they share is built once.
        command.current_dir(repo.root()).args(["build", "--workspace", "--lib", "--bins", "--tests"]);
        child::run(&mut command)
    })?;
    let mut command = cargo_test(repo)?;
    command.args(["--workspace", "--tests"]);
    let ids = deep::configure(&mut command, scale);
    command.args(["--", "-Zunstable-options", "--report-time"]).args(ids);
    command.env(runner_variable(), RUNNER);
    tested(phases, "tests", command, tally, problems)?;

    let mut command = cargo_test(repo)?;
    command.args(["--workspace", "--doc"]);
    tested(phases, "documentation tests", command, tally, problems)?;
    tested(phases, "interleavings, by loom", loom(repo, scale)?, tally, problems)?;
    if let Err(error) = phases.time("wasm32 and bpf builds", || pure::run(repo, compiler)) {
        problems.push(format!("{error:#}"));
    }
    if let Scale::Deep(_) = scale {
        deep::more(repo, phases, tally, problems)?;
    }
    Ok(())
}

/// The rings and wake-ups, in every interleaving that the scale asks for.
fn loom(repo: &Repo, scale: &Scale) -> Result<Command> {
    let mut command = cargo_test(repo)?;
    command.args(["-p", "ixp", "-p", "multistack", "--lib"]).arg("--target-dir").arg(repo.loom_target());
    // A model of a few steps is explored in a second whatever the optimisation; compiling costs a minute more.
    command.args(["--config", "profile.dev.opt-level=0"]).env("RUSTFLAGS", "--cfg loom");
    command.arg("interleavings");
    if *scale == Scale::Run {
        command.env("LOOM_MAX_PREEMPTIONS", LOOM_PREEMPTIONS);
    }
    Ok(command)
}

fn cargo_test(repo: &Repo) -> Result<Command> {
    let mut command = child::cargo();
    command.current_dir(repo.root()).args(["test", "--no-fail-fast"]);
    command.env(SKIPS, repo.skips()).env("CARGO_TERM_COLOR", "never");
    // An error of a test says what was wrong in its chain of causes; where it was made is noise of twenty lines.
    command.env("RUST_LIB_BACKTRACE", "0");
    if let Ok(text) = std::env::var(SEED) {
        command.env(PROPTEST_SEED, seed(&text)?.to_string());
    }
    Ok(command)
}

/// A seed that is no number is an error: a run that was meant to repeat another must not do something else.
fn seed(text: &str) -> Result<u64> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.with_context(|| format!("{SEED}=\"{text}\" is no number"))
}

/// The variable by which cargo is told of a runner for this machine's own target.
fn runner_variable() -> String {
    let target = format!(
        "{}_UNKNOWN_LINUX_{}",
        std::env::consts::ARCH,
        if cfg!(target_env = "musl") { "MUSL" } else { "GNU" }
    );
    format!("CARGO_TARGET_{}_RUNNER", target.to_uppercase())
}

/// Runs tests, shows every line as it comes and counts.
fn tested(
    phases: &mut Phases,
    name: &'static str,
    mut command: Command,
    tally: &mut Tally,
    problems: &mut Vec<String>,
) -> Result<()> {
    phases.time(name, || {
        let failed_before = tally.failed;
        let typed = child::typed(&command);
        // One pipe for both, or "Running x" and the lines of x would come apart.
        let (reader, writer) = std::io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let mut child = command.spawn().with_context(|| format!("cannot start `{typed}`"))?;
        drop(command);
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            eprint!("{text}");
            tally.read(&text);
            line.clear();
        }
        let status = child.wait()?;
        if !status.success() && tally.failed == failed_before {
            // A test program that was killed, or one that does not compile, prints no count.
            tally.failed += 1;
            problems.push(format!("`{typed}`: {status}, without a failed test"));
        }
        Ok(())
    })
}

fn report(repo: &Repo, phases: &Phases, tally: &Tally, problems: &[String], pure_only: bool) {
    let list = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            println!("{title}");
            lines.iter().for_each(|line| println!("  {line}"));
        }
    };
    println!("\nShares of time:\n{}", phases.table());
    let slowest: Vec<_> =
        tally.slowest().iter().map(|(seconds, name)| format!("{seconds:7.2} s  {name}")).collect();
    list("The slowest tests:", &slowest);
    let failed: Vec<_> = tally
        .failures
        .iter()
        .flat_map(|failure| [&failure.test].into_iter().chain(&failure.why))
        .cloned()
        .collect();
    list("Failed, and why:", &failed);
    list("Problems:", problems);
    let skips = skips(&std::fs::read_to_string(repo.skips()).unwrap_or_default());
    list("Skipped, each verified to be impossible here:", &skips);
    if pure_only {
        println!(
            "Not run, because the toolchain above is missing: the eBPF object, xsk, octroid, octroi, bench and every test with real packets."
        );
    }
    println!("\n{} test programs", tally.programs());
    println!("{}", count_line(tally.passed, tally.failed, skips.len()));
}

/// The line that people and CI look for. A skipped test returned early: libtest took it for passed, we do not.
fn count_line(passed: usize, failed: usize, skipped: usize) -> String {
    let ran = passed.saturating_sub(skipped);
    match skipped {
        0 => format!("{passed} passed, {failed} failed"),
        _ => format!("{ran} passed, {failed} failed, {skipped} skipped"),
    }
}

/// The lab's notes, `id TAB reason`, in order and once each.
fn skips(notes: &str) -> Vec<String> {
    let mut lines: Vec<_> = notes.lines().map(|line| line.replacen('\t', ": ", 1)).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_not_a_pass() {
        assert_eq!(count_line(10, 0, 0), "10 passed, 0 failed");
        assert_eq!(count_line(10, 1, 3), "7 passed, 1 failed, 3 skipped");
    }

    #[test]
    fn a_seed_is_read_as_the_tests_read_it() {
        assert_eq!([seed("0x10").unwrap(), seed("10").unwrap()], [16, 10]);
        assert_eq!(seed("ten").unwrap_err().to_string(), "OCTROI_SEED=\"ten\" is no number");
    }

    #[test]
    fn notes_of_skips_are_read() {
        assert_eq!(skips("f04\tno root\nb08\tno veth\nf04\tno root\n"), ["b08: no veth", "f04: no root"]);
        assert!(skips("").is_empty());
    }

    #[test]
    fn the_runner_is_for_this_machine() {
        let name = runner_variable();
        assert!(
            name.starts_with("CARGO_TARGET_") && name.ends_with("_RUNNER") && name == name.to_uppercase(),
            "{name}"
        );
    }

    #[test]
    fn a_program_that_dies_without_a_count_is_a_failure() {
        let (mut phases, mut tally, mut problems) = (Phases::default(), Tally::default(), Vec::new());
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test a ... ok'; kill -9 $$"]);
        tested(&mut phases, "dies", command, &mut tally, &mut problems).unwrap();
        assert_eq!((tally.failed, problems.len()), (1, 1));
    }
}
