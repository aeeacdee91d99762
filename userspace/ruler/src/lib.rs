//! Ruler, a language whose programs match and rewrite packets: its text, and what it means.
//!
//! This crate opens nothing, knows no operating system and keeps no state between packets. Whoever uses it hands over
//! sources as a [`bundle::Bundle`] and gets filters whose names are looked up, or diagnostics that say what is wrong.
#![deny(unsafe_code)]

pub mod bundle;
pub mod check;
pub mod dag;
pub mod dfa;
pub mod diagnostic;
pub mod ebpf;
pub mod exec;
pub mod filter;
pub mod ir;
#[cfg(feature = "oracle")]
pub mod oracle;
pub mod resolve;
pub mod resolved;
pub mod rewrite;
#[cfg(test)]
#[path = "../tests/scale/mod.rs"]
mod scale;
pub mod shipped;
pub mod source;
pub mod syntax;
pub mod tdfa;

pub use filter::compile;
pub use resolve::resolve;

/// Reads one source: its tree, and everything that is wrong with its text and its numbers.
///
/// It never fails. What could not be read is missing from the tree, and a diagnostic says so. Bytes that are not UTF-8
/// are diagnosed like any other bad character. `name` is the file's, for the diagnostics.
#[must_use]
pub fn read(name: &str, source: &[u8]) -> (syntax::tree::Program, Vec<diagnostic::Diagnostic>) {
    let mut reports = diagnostic::Reports::default();
    let tree = syntax::parser::parse(source, &mut reports);
    check::value::check(&tree, &mut reports);
    (tree, reports.finish().into_iter().map(|found| found.file(name)).collect())
}
