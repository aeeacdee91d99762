//! Check: crates depend only in the directions of ARCHITECTURE.md, and each crate from outside has its reason.
//!
//! Test dependencies count too: a test of a pure crate that opens a socket is not a test of a pure crate.

use super::Problem;
use super::law::{ARCHITECTURE, Law};
use super::packages::{Dependency, Package};

/// Where each dependency from outside has a line with its reason.
pub(super) const REASONS: &str = "docs/adr/0002-dependencies.md";

pub(super) fn check(packages: &[Package], law: &Law, reasons: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for package in packages {
        let manifest = |message| Problem { path: format!("crate {}", package.name), line: 1, message };
        let Some((_, allowed)) = law.edges.iter().find(|(from, _)| *from == package.name) else {
            problems.push(manifest(format!("has no row in {ARCHITECTURE}'s table of dependencies")));
            continue;
        };
        for dependency in &package.dependencies {
            problems.extend(forbidden(&package.name, dependency, allowed, law, reasons).map(manifest));
        }
    }
    problems
}

fn forbidden(from: &str, to: &Dependency, allowed: &[String], law: &Law, reasons: &str) -> Option<String> {
    let name = &to.name;
    if to.ours {
        return (!allowed.contains(name)).then(|| format!("may not depend on `{name}` ({ARCHITECTURE})"));
    }
    let only = law.confined.iter().find(|(crates, _)| crates.contains(name)).map(|(_, only)| only);
    if only.is_some_and(|only| !only.iter().any(|it| it == from)) {
        return Some(format!("may not use `{name}`: {ARCHITECTURE} keeps it in one place"));
    }
    (!reasons.contains(&format!("`{name}`")))
        .then(|| format!("uses `{name}`, which has no line in {REASONS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, on: &[(&str, bool)]) -> Package {
        let dependencies = on.iter().map(|&(name, ours)| Dependency { name: name.into(), ours }).collect();
        Package { name: name.into(), dependencies }
    }

    fn law() -> Law {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        Law {
            edges: vec![
                ("abi".into(), vec![]),
                ("ixp".into(), owned(&["abi"])),
                ("xsk".into(), owned(&["abi", "ixp"])),
            ],
            confined: vec![(owned(&["aya", "libbpf-rs"]), owned(&["xsk"]))],
            ..Law::default()
        }
    }

    #[track_caller]
    fn messages(packages: &[Package]) -> Vec<String> {
        check(packages, &law(), "- `aya`: loads. `nix`: calls.").into_iter().map(|it| it.message).collect()
    }

    #[test]
    fn the_allowed_directions_pass() {
        let packages = [
            package("abi", &[]),
            package("ixp", &[("abi", true)]),
            package("xsk", &[("ixp", true), ("aya", false)]),
        ];
        assert!(messages(&packages).is_empty());
    }

    #[test]
    fn an_edge_upwards_is_named() {
        let found = messages(&[package("ixp", &[("xsk", true)])]);
        assert!(found.len() == 1 && found[0].contains("`xsk`"), "{found:?}");
    }

    #[test]
    fn bpf_outside_its_place_is_named() {
        let found = messages(&[package("ixp", &[("aya", false)])]);
        assert!(found.len() == 1 && found[0].contains("keeps it in one place"), "{found:?}");
    }

    #[test]
    fn a_crate_or_a_dependency_without_a_line_is_named() {
        let found = messages(&[package("new", &[]), package("xsk", &[("leftpad", false)])]);
        assert!(
            found.len() == 2 && found[0].contains("no row") && found[1].contains("`leftpad`"),
            "{found:?}"
        );
    }
}
