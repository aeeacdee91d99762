//! `demo`: build, then let `octroi-demo` move real packets between two namespaces and show what happened.
//!
//! The demo itself is a program of crate octroi-bench; here is only the way to it. Its stdout is ours, so that with
//! `--json` the last line on stdout is the report.

use anyhow::{Result, bail};

use crate::child;
use crate::repo::Repo;
use crate::task::build;
use crate::task::setup::{self, Install, Stage};

/// The demo of the road alone: wire, XDP, AF_XDP, microengines.
const DEFAULT: &str = "road";

/// Builds and becomes the demo.
///
/// # Errors
/// Without root, if the build fails, or if the demo cannot be started.
pub(crate) fn run(repo: &Repo, install: Install, args: &[String]) -> Result<()> {
    if !setup::is_root() {
        bail!(
            "the demo needs root: it makes two network namespaces, loads XDP programs and opens AF_XDP sockets.\n\
             Without root, `cargo xtask build` builds everything and `cargo xtask test` runs every test that needs no privilege."
        );
    }
    let (name, rest) = split_name(args, DEFAULT);
    build::release(repo, &setup::ensure(stage(name), install)?, build::FOR_USERS)?;
    child::exec(std::process::Command::new(repo.release_binary("octroi-demo")).arg(name).args(rest))
}

/// What the demo of this name needs: that of stacks has other people's programs beside ours.
fn stage(name: &str) -> Stage {
    if name == "stacks" { Stage::Peers } else { Stage::Run }
}

/// The leading word, if it is not an option, else the default; and what follows.
pub(crate) fn split_name<'a>(args: &'a [String], default: &'a str) -> (&'a str, &'a [String]) {
    match args {
        [first, rest @ ..] if !first.starts_with('-') => (first, rest),
        _ => (default, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_optional_and_options_pass_through() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (given, name, rest) in [
            ("", "road", ""),
            ("--json", "road", "--json"),
            ("--hold 60", "road", "--hold 60"),
            ("road --json", "road", "--json"),
            ("spp", "spp", ""),
        ] {
            let given = words(given);
            assert_eq!(split_name(&given, DEFAULT), (name, words(rest).as_slice()), "{given:?}");
        }
    }

    #[test]
    fn a_demo_with_other_peoples_programs_needs_them() {
        assert_eq!(["road", "stacks", "ruler"].map(stage), [Stage::Run, Stage::Peers, Stage::Run]);
    }
}
