//! `install-c`: the C library, its header and its pkg-config file, below a prefix.
//!
//! It refuses to guess where the system keeps libraries: the prefix is always said, and everything lies below it.
//!
//! ```text
//! P/include/octroi.h
//! P/lib/liboctroi.so -> liboctroi.so.0 -> liboctroi.so.0.1.0
//! P/lib/liboctroi.a
//! P/lib/pkgconfig/octroi.pc
//! ```

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::child;
use crate::repo::Repo;

/// Where the header and the template of the pkg-config file are.
const HEADER: &str = "userspace/client/include/octroi.h";
const TEMPLATE: &str = "userspace/client/octroi.pc.in";

/// The library's version is the workspace's.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const MAJOR: &str = env!("CARGO_PKG_VERSION_MAJOR");

/// Builds the library with the release profile, or takes the one in `built`, and installs it.
///
/// # Errors
/// If it does not build, was not built, or a file cannot be written.
pub(crate) fn run(repo: &Repo, prefix: &Path, built: Option<&Path>) -> Result<()> {
    let prefix = std::path::absolute(prefix).context("the prefix")?;
    let built = match built {
        Some(directory) => directory.to_path_buf(),
        None => build(repo)?,
    };
    let (include, lib) = (prefix.join("include"), prefix.join("lib"));
    let pkgconfig = lib.join("pkgconfig");
    for directory in [&include, &pkgconfig] {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    copy(&repo.join(HEADER), &include.join("octroi.h"))?;
    copy(&built.join("liboctroi.a"), &lib.join("liboctroi.a"))?;
    let (full, major) = (format!("liboctroi.so.{VERSION}"), format!("liboctroi.so.{MAJOR}"));
    copy(&built.join("liboctroi.so"), &lib.join(&full))?;
    link(&full, &lib.join(&major))?;
    link(&major, &lib.join("liboctroi.so"))?;
    let template =
        fs::read_to_string(repo.join(TEMPLATE)).with_context(|| format!("cannot read {TEMPLATE}"))?;
    let file = pkgconfig.join("octroi.pc");
    fs::write(&file, filled(&template, &prefix)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("liboctroi {VERSION} is installed in {}", prefix.display());
    println!("pkg-config finds it with PKG_CONFIG_PATH={}", pkgconfig.display());
    Ok(())
}

fn build(repo: &Repo) -> Result<PathBuf> {
    let mut command = child::cargo();
    command.current_dir(repo.root()).args(["build", "--release", "-p", "octroi-c"]);
    child::run(&mut command)?;
    Ok(repo.release_directory())
}

/// Replaces a file whole: a program that has the old library mapped keeps it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn link(target: &str, at: &Path) -> Result<()> {
    let _ = fs::remove_file(at);
    symlink(target, at).with_context(|| format!("cannot make {}", at.display()))
}

/// The pkg-config file for a prefix.
fn filled(template: &str, prefix: &Path) -> Result<String> {
    let prefix = prefix.to_str().context("the prefix is no text")?;
    // pkg-config splits its flags at spaces and reads `$` and `#`; who has such a prefix must hear of it.
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    ensure!(prefix.chars().all(plain), "pkg-config cannot say the prefix {prefix:?}");
    let text = template.replace("@prefix@", prefix).replace("@version@", VERSION);
    ensure!(!text.contains('@'), "{TEMPLATE} has a placeholder that nobody fills");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_a_prefix_and_a_version() {
        let template = fs::read_to_string(Repo::here().join(TEMPLATE)).unwrap();
        let text = filled(&template, Path::new("/opt/octroi")).unwrap();
        assert!(text.starts_with("prefix=/opt/octroi\n"), "{text}");
        assert!(text.contains(&format!("\nVersion: {VERSION}\n")), "{text}");
        assert!(filled("@what@", Path::new("/opt")).is_err());
        assert!(filled(&template, Path::new("/my opt")).is_err());
    }

    #[test]
    fn an_installation_can_be_repeated() {
        let (built, prefix) = (tempfile("built"), tempfile("prefix"));
        for name in ["liboctroi.so", "liboctroi.a"] {
            fs::write(built.join(name), name).unwrap();
        }
        for _ in 0..2 {
            run(&Repo::here(), &prefix, Some(&built)).unwrap();
        }
        assert_eq!(fs::read_to_string(prefix.join("lib/liboctroi.so")).unwrap(), "liboctroi.so");
        assert!(prefix.join("include/octroi.h").is_file());
        for directory in [built, prefix] {
            fs::remove_dir_all(directory).unwrap();
        }
    }

    /// An empty directory that only this process uses.
    fn tempfile(name: &str) -> PathBuf {
        let directory = Repo::here().generated("install-c").join(format!("{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }
}
