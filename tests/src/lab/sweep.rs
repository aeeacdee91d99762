//! Removing what a lab left that could not clean up after itself: killed, aborted, or taken to hang.
//!
//! Goes by names alone (see [`super::name`]): what belongs to a living process, and what no lab made, is not touched.
use std::{fs, path::Path, sync::Once};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{name, netns, pins};

/// Where every instance of octroid has a directory for its sockets.
const RUN: &str = "/run/octroi";

/// Removes, once in the life of this process, what dead ones left.
pub(super) fn once() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| sweep(&name::is_orphan));
}

/// Removes what this process made: for the moment before it ends without unwinding.
pub(super) fn own() {
    sweep(&|name| name::maker(name) == Some(std::process::id()));
}

fn sweep(is_ours: &dyn Fn(&str) -> bool) {
    kill_daemons(is_ours);
    for instance in names(Path::new(abi::pins::ROOT)).filter(|n| is_ours(n)) {
        pins::remove(&instance);
    }
    for run in names(Path::new(RUN)).filter(|n| is_ours(n)) {
        fs::remove_dir_all(Path::new(RUN).join(run)).ok();
    }
    for namespace in names(Path::new(netns::DIRECTORY)).filter(|n| is_ours(n)) {
        netns::remove(&namespace);
    }
}

/// Kills the processes that were started for an instance of ours: it stands among their arguments.
fn kill_daemons(is_ours: &dyn Fn(&str) -> bool) {
    for process in names(Path::new("/proc")) {
        let Ok(pid) = process.parse() else { continue };
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut arguments = line.split(|&b| b == 0).filter_map(|a| std::str::from_utf8(a).ok());
        let runs_octroid = arguments.next().is_some_and(|program| program.ends_with("/octroid"));
        if runs_octroid && arguments.any(is_ours) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

/// The entries of a directory; none if it is not there.
fn names(directory: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(directory).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{self, Need, command, netns::Netns};

    #[test]
    fn lab_what_a_dead_process_left_is_removed_and_nothing_else() -> anyhow::Result<()> {
        let Some(_lab) = lab::require("lab_sweep", &[Need::Netns])? else { return Ok(()) };
        // No process can have this number: it is above `pid_max`.
        let orphan = "lab999999999-0-orphan";
        command::run(&format!("ip netns add {orphan}"))?;
        let living = Netns::new("living")?;
        sweep(&name::is_orphan);
        let left: Vec<_> = names(Path::new(netns::DIRECTORY)).collect();
        assert!(!left.iter().any(|name| name == orphan), "{left:?}");
        assert!(left.iter().any(|name| name == living.name()), "{left:?}");
        Ok(())
    }
}
