//! What our manifests state and what is built of it, as cargo tells them.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::child;

/// One package of ours, as its manifest states it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) dependencies: Vec<Dependency>,
}

/// One edge, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) ours: bool,
}

/// One package that is built for this machine, ours or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Built {
    pub(super) name: String,
    pub(super) licence: String,
}

/// Our packages of the workspace with this manifest.
///
/// # Errors
/// If cargo cannot tell them.
pub(super) fn ours(manifest: &Path) -> Result<Vec<Package>> {
    let mut command = child::cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"]).arg(manifest);
    parse_metadata(&child::output(&mut command)?)
}

/// All packages that are built: `cargo metadata` would also name those behind features that nobody enables.
///
/// # Errors
/// If cargo cannot tell them.
pub(super) fn built(manifest: &Path) -> Result<Vec<Built>> {
    let mut command = child::cargo();
    command.args([
        "tree",
        "--workspace",
        "--all-features",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
        "--manifest-path",
    ]);
    Ok(parse_tree(&child::output(command.arg(manifest))?))
}

fn parse_metadata(metadata: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    Ok(packages.iter().map(package).collect())
}

fn package(value: &Value) -> Package {
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let dependencies = value["dependencies"].as_array().into_iter().flatten();
    let dependencies = dependencies.map(|it| Dependency { name: name(it), ours: it["source"].is_null() });
    Package { name: name(value), dependencies: dependencies.collect() }
}

/// Lines such as `abi v0.1.0 (/path)|MIT`; one that was shown before ends with ` (*)`.
fn parse_tree(tree: &str) -> Vec<Built> {
    let lines = tree.lines().filter_map(|line| line.split_once('|'));
    let mut built: Vec<_> = lines
        .map(|(package, licence)| Built {
            name: package.split(' ').next().unwrap_or_default().to_owned(),
            licence: licence.trim_end_matches("(*)").trim().to_owned(),
        })
        .collect();
    built.sort_unstable();
    built.dedup();
    built
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_those_without_a_source() {
        let metadata = r#"{"packages":[{"name":"ixp","source":null,"dependencies":[
            {"name":"abi","source":null,"kind":null},{"name":"proptest","source":"registry","kind":"dev"}]}]}"#;
        let packages = parse_metadata(metadata).unwrap();
        assert_eq!(packages[0].dependencies[0], Dependency { name: "abi".into(), ours: true });
        assert_eq!(packages[0].dependencies[1], Dependency { name: "proptest".into(), ours: false });
        assert!(parse_metadata("{}").is_err() && parse_metadata("x").is_err());
    }

    #[test]
    fn each_built_package_is_listed_once_with_its_licence() {
        let tree = "abi v0.1.0 (/p)|Apache-2.0 OR MIT\nlibc v0.2.1|MIT\n\nlibc v0.2.1|MIT (*)\nodd v1.0.0|\n";
        let listed: Vec<_> = parse_tree(tree).into_iter().map(|it| (it.name, it.licence)).collect();
        let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(listed, [owned("abi", "Apache-2.0 OR MIT"), owned("libc", "MIT"), owned("odd", "")]);
    }
}
