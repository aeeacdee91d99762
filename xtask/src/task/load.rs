//! `load` and `unload`: build, then `octroi up` or `octroi down` with the same arguments.
//!
//! Loading is the daemon's business: nothing here knows BPF, interfaces or configuration files.

use anyhow::{Result, bail};

use crate::child;
use crate::repo::Repo;
use crate::task::build;
use crate::task::setup::{self, Install, Stage};

/// The verb of the command line that does it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    /// Start the daemon and attach.
    Up,
    /// Stop the daemon, detach and unpin.
    Down,
}

/// Builds and becomes `octroi up …` or `octroi down …`.
///
/// # Errors
/// Without root, if the build fails, or if `octroi` cannot be started.
pub(crate) fn run(repo: &Repo, install: Install, verb: Verb, args: &[String]) -> Result<()> {
    if !setup::is_root() {
        bail!("attaching an XDP program needs root; `cargo xtask build` works without");
    }
    build::release(repo, &setup::ensure(Stage::Build, install)?, build::FOR_USERS)?;
    let verb = match verb {
        Verb::Up => "up",
        Verb::Down => "down",
    };
    child::exec(std::process::Command::new(repo.release_binary("octroi")).arg(verb).args(args))
}
