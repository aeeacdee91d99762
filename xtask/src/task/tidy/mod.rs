//! `tidy`: the rules of the house that a compiler does not check; also a test, so `cargo test` runs it.
//!
//! It checks six things and no taste: each file states its purpose; `unsafe` stands only where ARCHITECTURE.md
//! lists it; crates depend only in the allowed directions, for a stated reason and under an allowed licence; no test
//! is ignored; no counter is dead or untested; and SPECIFICATION.md tells the truth about which promises have tests.

mod counters;
mod edges;
mod ignored;
pub(crate) mod law;
mod licences;
mod packages;
mod purpose;
mod source;
pub(crate) mod tree;
mod unsafe_code;

use std::fmt;

use anyhow::{Context, Result, bail};

use self::law::{ARCHITECTURE, Law};
use self::tree::Tree;
use crate::repo::Repo;
use crate::task::ids;

/// A broken rule, and where.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Runs every check and shows all that is wrong, not only the first.
///
/// # Errors
/// If something is wrong.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let problems = check(repo)?;
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!("tidy: {} problems", problems.len());
    }
    eprintln!("tidy: nothing to complain about");
    Ok(())
}

fn check(repo: &Repo) -> Result<Vec<Problem>> {
    let read =
        |path: &str| std::fs::read_to_string(repo.join(path)).with_context(|| format!("cannot read {path}"));
    let tree = Tree::load(repo.root())?;
    let law = Law::parse(&read(ARCHITECTURE)?)?;
    let (reasons, allowed) = (read(edges::REASONS)?, licences::allowed(&read(licences::DENY)?)?);

    let mut problems = purpose::check(&tree);
    problems.extend(unsafe_code::check(&tree, &law));
    problems.extend(ignored::check(&tree));
    problems.extend(counters::check(&tree));
    for manifest in ["Cargo.toml", "xdp-ebpf/Cargo.toml", "fuzz/Cargo.toml"] {
        let manifest = repo.join(manifest);
        problems.extend(edges::check(&packages::ours(&manifest)?, &law, &reasons));
        problems.extend(licences::check(&packages::built(&manifest)?, &allowed));
    }
    problems.extend(ids::check(&tree, &read(ids::SPECIFICATION)?));
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let problems = check(&Repo::here()).unwrap();
        let list = problems.iter().map(|problem| format!("\n  {problem}")).collect::<String>();
        assert!(problems.is_empty(), "{list}");
    }
}
