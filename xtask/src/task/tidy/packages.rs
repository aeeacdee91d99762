//! The packages of the workspace and of what it depends on, as `cargo metadata` tells them.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::child;

/// One package; for those from outside, `dependencies` is not read by any check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) licence: Option<String>,
    pub(super) ours: bool,
    pub(super) dependencies: Vec<Dependency>,
}

/// One edge as a manifest states it, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) ours: bool,
}

/// The packages that a manifest's workspace builds for this machine.
///
/// # Errors
/// If cargo cannot tell them.
pub(super) fn load(manifest: &Path) -> Result<Vec<Package>> {
    let mut command = child::cargo();
    command.args(["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]);
    command.arg("--manifest-path").arg(manifest);
    parse(&child::output(&mut command)?)
}

fn parse(metadata: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    Ok(packages.iter().map(package).collect())
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let dependencies = value["dependencies"].as_array().into_iter().flatten();
    Package {
        name: text(&value["name"]).unwrap_or_default(),
        licence: text(&value["license"]),
        ours: value["source"].is_null(),
        dependencies: dependencies
            .map(|it| Dependency {
                name: text(&it["name"]).unwrap_or_default(),
                ours: it["source"].is_null(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_those_without_a_source() {
        let metadata = r#"{"packages":[
            {"name":"ixp","license":"MIT","source":null,"dependencies":[
                {"name":"abi","source":null,"kind":null},{"name":"proptest","source":"registry","kind":"dev"}]},
            {"name":"proptest","license":null,"source":"registry","dependencies":[]}]}"#;
        let packages = parse(metadata).unwrap();
        assert!(packages[0].ours && !packages[1].ours);
        assert_eq!(packages[0].dependencies[0], Dependency { name: "abi".into(), ours: true });
        assert_eq!(packages[0].dependencies[1], Dependency { name: "proptest".into(), ours: false });
        assert_eq!((packages[0].licence.as_deref(), packages[1].licence.as_deref()), (Some("MIT"), None));
        assert!(parse("{}").is_err() && parse("x").is_err());
    }
}
