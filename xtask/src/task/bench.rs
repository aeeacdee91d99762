//! `bench`: build, then let `octroi-bench` measure one suite against its baselines.
//!
//! No figure is judged or kept here: the bench itself compares, reports and writes `bench/record/`.

use anyhow::{Result, bail};

use crate::child;
use crate::repo::Repo;
use crate::task::build;
use crate::task::demo::{split_name, stage};
use crate::task::setup::{self, Install};

/// The suite of the road alone.
const DEFAULT: &str = "road";

/// Builds and becomes the bench.
///
/// # Errors
/// Without root, if the build fails, or if the bench cannot be started.
pub(crate) fn run(repo: &Repo, install: Install, args: &[String]) -> Result<()> {
    if !setup::is_root() {
        bail!(
            "the benches need root: they load XDP programs and open AF_XDP sockets in namespaces of their own"
        );
    }
    let (suite, rest) = split_name(args, DEFAULT);
    build::release(repo, &setup::ensure(stage(suite), install)?, build::FOR_BENCHES)?;
    child::exec(std::process::Command::new(repo.release_binary("octroi-bench")).arg(suite).args(rest))
}
