//! Child processes: announced, timed, and with their chatter kept off our stdout.
//!
//! Nothing here interprets what a child says. Stdout of xtask belongs to results (a demo's JSON, a list of ids), so
//! whatever a build or an installation prints goes to stderr.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Lines of output shown when a quiet child fails.
const TAIL_LINES: usize = 40;
/// A quiet child says on a log (no terminal) at least this often that it still runs.
const STILL_RUNNING_EVERY: Duration = Duration::from_secs(30);

/// The cargo that runs us, so that a user's choice of toolchain holds for every step.
#[must_use]
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` describes xtask itself in these; a build script that watches one would run again for nothing.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    command
}

/// The command as a person would type it.
#[must_use]
pub(crate) fn typed(command: &Command) -> String {
    // PATH is only ever extended by what `cargo install` fills, which is on everybody's PATH.
    let set = command.get_envs().filter(|(name, _)| *name != "PATH").filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), quoted(&value?.to_string_lossy())))
    });
    let program = command.get_program().to_string_lossy();
    // Our own cargo is an absolute path into a toolchain; nobody types that.
    let program = if program.ends_with("/cargo") { "cargo".into() } else { program };
    set.chain([program.into_owned()])
        .chain(command.get_args().map(|arg| quoted(&arg.to_string_lossy())))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs a command that shows its own progress on stderr; what it prints on stdout goes there too.
///
/// # Errors
/// If it cannot be started or exits with a failure.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start `{}`", typed(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", typed(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed on stdout.
///
/// # Errors
/// If it cannot be started or exits with a failure; stderr is part of the message.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("cannot start `{}`", typed(command)))?;
    if !out.status.success() {
        bail!(
            "`{}` failed: {}\n{}",
            typed(command),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Becomes the command: it keeps our stdin, stdout and exit status.
///
/// # Errors
/// Only returns if the command could not be started.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", typed(command)))
}

/// Runs a talkative command behind one line of progress; its last lines are shown only if it fails.
///
/// # Errors
/// If it cannot be started or exits with a failure.
pub(crate) fn run_quietly(what: &str, command: &mut Command) -> Result<()> {
    let start = Instant::now();
    let (mut reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", typed(command)))?;
    // `command` holds the writing ends; without this the pipe would never report its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let tail = follow(what, &mut reader)?;
    let status = child.wait()?;
    if !status.success() {
        let tail = tail.into_iter().collect::<Vec<_>>().join("\n");
        bail!("`{}` failed: {status}\n{tail}", typed(command));
    }
    eprintln!("  done: {what} ({:.0} s)", start.elapsed().as_secs_f64());
    Ok(())
}

/// Shows the newest line until the pipe ends; returns the last lines.
fn follow(what: &str, reader: &mut impl Read) -> Result<VecDeque<String>> {
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("  {spinner} {prefix} [{elapsed}] {wide_msg:.dim}")?);
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    if bar.is_hidden() {
        eprintln!("  {what} ...");
    }

    let mut tail = VecDeque::new();
    let (start, mut said) = (Instant::now(), Instant::now());
    for line in BufReader::new(reader).lines() {
        let line = line?;
        if bar.is_hidden() && said.elapsed() > STILL_RUNNING_EVERY {
            eprintln!("  {what} ... {:.0} s: {}", start.elapsed().as_secs_f64(), line.trim());
            said = Instant::now();
        }
        bar.set_message(line.trim().to_owned());
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    bar.finish_and_clear();
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.env("RUSTFLAGS", "-Cdebuginfo=2 -Clink-arg=--btf").args(["build", "--release"]);
        command.env_remove("LD_LIBRARY_PATH");
        assert_eq!(typed(&command), "RUSTFLAGS='-Cdebuginfo=2 -Clink-arg=--btf' cargo build --release");
    }

    #[test]
    fn output_is_stdout_and_a_failure_carries_stderr() {
        assert_eq!(output(Command::new("echo").arg("yes")).unwrap(), "yes\n");
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }

    #[test]
    fn a_quiet_child_shows_its_last_lines_when_it_fails() {
        let script = "for i in $(seq 100); do echo line $i; done; exit 1";
        let error = run_quietly("count", Command::new("sh").args(["-c", script])).unwrap_err().to_string();
        assert!(error.ends_with("line 100"), "{error}");
        assert!(error.contains("line 61") && !error.contains("line 60\n"), "{error}");
        run_quietly("nothing", &mut Command::new("true")).unwrap();
    }
}
