//! Running the machine's own tools (`ip`, `ethtool`, `sysctl`) and failing with what they said.
//!
//! No shell: a command line here is words separated by spaces, nothing is quoted or expanded.
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

use super::process;

/// Runs `line` and returns its standard output.
///
/// # Errors
/// The program is missing or fails; the error has the line and its standard error.
pub fn run(line: &str) -> Result<String> {
    let output = output(line)?;
    if !output.status.success() {
        bail!("`{line}`: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `line` to its end, however it ends.
///
/// # Errors
/// The program is missing.
pub fn output(line: &str) -> Result<Output> {
    let mut words = line.split_ascii_whitespace();
    let program = words.next().context("an empty command line")?;
    process::output(Command::new(program).args(words)).with_context(|| format!("cannot run `{program}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_line_and_what_was_said() {
        assert_eq!(run("echo two words").unwrap(), "two words\n");
        let said = run("ls /nowhere-at-all").unwrap_err().to_string();
        assert!(said.contains("`ls /nowhere-at-all`") && said.contains("No such file"), "{said}");
    }
}
