//! The demo's filters: programs in files, attached, replaced, listed and taken away by the command line.
//!
//! It compiles nothing, and what it knows of a filter is what `octroi` prints of it.
use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use client::control::ruler::{FilterRow, Said};
use ruler::shipped;
use tempfile::TempDir;

use crate::demo::scene::Scene;

/// What the filter of the interface is called, and its file without `.rl`.
pub(super) const GATE: &str = "gate";

/// The file that has filters `a` and `b`.
pub(super) const MARKS: &str = "marks";

/// The filter that anonymises.
pub(super) const VEIL: &str = "veil";

/// One of the filters that come with Octroi.
pub(super) const SIGNATURES: &str = "signatures";

/// The programs that do not come with it.
const OWN: [(&str, &str); 3] =
    [(GATE, include_str!("gate.rl")), (MARKS, include_str!("marks.rl")), (VEIL, include_str!("veil.rl"))];

/// By what addresses are anonymised. Whoever has a secret to keep takes 32 random bytes; these make 10.0.0.0/8 a network
/// whose addresses an echo answers to.
const KEY: &[u8; 32] = b"inspected, taxed, let through or";

/// A directory with programs and a key.
pub(super) struct Files(TempDir);

impl Files {
    /// Writes them.
    ///
    /// # Errors
    /// The disk is full.
    pub(super) fn write() -> Result<Self> {
        let files = Self(tempfile::Builder::new().prefix("octroi-demo-ruler").tempdir()?);
        let shipped = shipped::find(SIGNATURES).map(|shipped| (shipped.name, shipped.source));
        for (name, source) in OWN.into_iter().chain(shipped) {
            fs::write(files.program(name), source)?;
        }
        fs::write(files.key(), KEY)?;
        Ok(files)
    }

    /// Where the program of this name is.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.0.path().join(name).with_extension("rl")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("key")
    }

    /// Attaches a program with the words that follow its name, or replaces what is there.
    ///
    /// # Errors
    /// It is refused.
    pub(super) fn attach(&self, scene: &Scene, name: &str, words: &[&str]) -> Result<Said> {
        let program = self.program(name);
        let program = program.to_str().context("a path that is not text")?;
        scene.ask_in(&[&["ruler", "run", program], words].concat())
    }

    /// Attaches the filter of the interface, which judges what is for the OS stack too.
    ///
    /// # Errors
    /// It is refused.
    pub(super) fn attach_gate(&self, scene: &Scene) -> Result<Said> {
        self.attach(scene, GATE, &["--port", &scene.pair.served.ifname, "--scope", "interface"])
    }

    /// Attaches the anonymising filter to a target, with its key.
    ///
    /// # Errors
    /// It is refused.
    pub(super) fn attach_veil(&self, scene: &Scene, target: &str) -> Result<Said> {
        let key = self.key();
        let key = key.to_str().context("a path that is not text")?;
        self.attach(scene, VEIL, &["--target", target, "--key-file", key])
    }
}

/// Takes a filter away, and returns it as it was last.
///
/// # Errors
/// There is none.
pub(super) fn detach(scene: &Scene, words: [&str; 2]) -> Result<FilterRow> {
    scene.ask_in(&[&["ruler", "run", "--detach"], &words[..]].concat())
}

/// What `octroi ruler list` shows.
///
/// # Errors
/// The daemon does not answer.
pub(super) fn list(scene: &Scene) -> Result<Vec<FilterRow>> {
    scene.ask_in(&["ruler", "list"])
}

#[cfg(test)]
mod tests {
    use ruler::{bundle::Bundle, filter::Limits};

    use super::*;

    #[test]
    fn the_programs_have_no_mistakes() {
        for (name, source) in OWN {
            let (filters, found) = ruler::compile(&Bundle::new(name, source), &Limits::default());
            assert!(found.is_empty(), "{name}: {found:?}");
            assert!(!filters.is_empty(), "{name}");
        }
        assert!(shipped::find(SIGNATURES).is_some());
    }
}
