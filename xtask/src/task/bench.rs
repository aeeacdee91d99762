//! `bench`: build, then let `octroi-bench` measure one suite against its baselines.
//!
//! No figure is judged or kept here: the bench itself compares, reports and writes `bench/record/`.

use anyhow::{Result, bail};

use crate::child;
use crate::repo::Repo;
use crate::task::build;
use crate::task::demo::split_name;
use crate::task::setup::{self, Install, Stage};

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

/// What the suite of this name needs: those of stacks and Ruler measure other people's programs beside ours.
fn stage(name: &str) -> Stage {
    if matches!(name, "stacks" | "ruler") { Stage::Peers } else { Stage::Run }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_compared_with_others_needs_them() {
        assert_eq!(["road", "stacks", "ruler"].map(stage), [Stage::Run, Stage::Peers, Stage::Peers]);
    }
}
