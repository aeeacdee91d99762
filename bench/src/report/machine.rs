//! Which machine, kernel and commit a report is about, as the system tells it.
//!
//! Nothing here fails: what cannot be read is called `unknown`, since a figure without its machine is still a figure.
use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use super::record;

const UNKNOWN: &str = "unknown";

/// The machine that runs this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// How many of them we may use.
    pub cpus: usize,
    /// Kernel release.
    pub kernel: String,
}

impl Machine {
    /// Asks the system.
    #[must_use]
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| UNKNOWN.into());
        Self {
            cpu: cpu_name(&cpuinfo).unwrap_or(UNKNOWN).to_owned(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
        }
    }

    /// One line for a report.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} × {}, Linux {}", self.cpus, self.cpu, self.kernel)
    }
}

/// The commit of the working tree at `root`, with a `+` if it has changes; another suite's record is none.
#[must_use]
pub fn commit(root: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return UNKNOWN.into();
    };
    let changes =
        git(&["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)bench/record"]);
    let clean = changes.is_some_and(|changes| changes.is_empty());
    if clean { hash } else { hash + "+" }
}

/// Today's date for the name of a record.
#[must_use]
pub fn today() -> String {
    record::date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn cpu_name(cpuinfo: &str) -> Option<&str> {
    let of = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, name)| name.trim()).filter(|name| !name.is_empty())
    };
    // x86 says "model name"; others have less to say.
    of("model name").or_else(|| of("Processor")).or_else(|| of("CPU part"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_found() {
        assert_eq!(cpu_name("processor\t: 0\nmodel name\t: A CPU\nmodel name\t: B\n"), Some("A CPU"));
        assert_eq!(cpu_name("processor\t: 0\nCPU part\t: 0xd0c\n"), Some("0xd0c"));
        assert_eq!(cpu_name("processor\t: 0\n"), None);
    }
}
