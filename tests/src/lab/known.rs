//! Programs that everybody knows, run at one end of the wire: curl, dig, sha256sum, and any other that prints.
//!
//! `cargo xtask test` installs them. Where one is missing a test fails; it never passes without having asked.
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{process, veth::End};

/// What a program printed.
#[derive(Clone, Debug)]
pub struct Printed {
    /// Whether it was content.
    pub success: bool,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

/// What curl fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The status of the reply.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// Runs a program at an end.
///
/// # Errors
/// It cannot be started.
pub fn run(end: &End, program: &str, words: &[&str]) -> Result<Printed> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = end.netns.spawn(&mut command);
    let output = child.with_context(|| format!("`cargo xtask setup --peers` installs {program}"))?;
    let output = output.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Printed { success: output.status.success(), stdout: output.stdout, stderr })
}

/// Has curl fetch `url`, with these words before it.
///
/// # Errors
/// It fails; the error has what it said.
pub fn curl(end: &End, words: &[&str], url: &str) -> Result<Fetched> {
    // What follows the body is ours: three digits.
    let fixed = ["-sS", "--max-time", "10", "-w", "%{http_code}"];
    let words: Vec<&str> = fixed.iter().chain(words).copied().chain([url]).collect();
    let Printed { success, mut stdout, stderr } = run(end, "curl", &words)?;
    ensure!(success, "curl {url}: {}", stderr.trim());
    let body = stdout.len().checked_sub(3).context("curl printed nothing")?;
    let status = String::from_utf8(stdout.split_off(body))?.parse()?;
    Ok(Fetched { status, body: stdout })
}

/// Has dig ask, once.
///
/// # Errors
/// It has no answer; the error has what it said.
pub fn dig(end: &End, words: &[&str]) -> Result<String> {
    let words: Vec<&str> = ["+tries=1", "+time=5"].iter().chain(words).copied().collect();
    let Printed { success, stdout, stderr } = run(end, "dig", &words)?;
    let said = String::from_utf8(stdout)?;
    ensure!(success, "dig {}: {said}{stderr}", words.join(" "));
    Ok(said)
}

/// The SHA-256 of some bytes, as coreutils computes it.
///
/// # Errors
/// It cannot be run.
pub fn sha256(bytes: &[u8]) -> Result<String> {
    let mut command = Command::new("sha256sum");
    let mut child =
        process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped())).context("sha256sum")?;
    // It prints when its input ends, so this cannot block it.
    child.stdin.take().context("no pipe")?.write_all(bytes)?;
    let said = String::from_utf8(child.wait_with_output()?.stdout)?;
    Ok(said.split_whitespace().next().context("sha256sum printed nothing")?.to_owned())
}
