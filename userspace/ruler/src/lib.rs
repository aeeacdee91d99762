//! Ruler, a language whose programs match and rewrite packets: its text, read into a tree with diagnostics.
//!
//! This crate opens nothing, knows no operating system and keeps no state. It does not resolve names or includes, and
//! runs no program: what it gives is the tree of one source, with what can be judged from that source alone.
#![deny(unsafe_code)]

pub mod check;
pub mod dag;
pub mod dfa;
pub mod diagnostic;
pub mod exec;
pub mod ir;
pub mod resolved;
pub mod rewrite;
pub mod source;
pub mod syntax;

/// Reads one source: its tree, and everything that is wrong with its text and its numbers.
///
/// It never fails. What could not be read is missing from the tree, and a diagnostic says so. Bytes that are not UTF-8
/// are diagnosed like any other bad character.
pub fn read(source: &[u8]) -> (syntax::tree::Program, Vec<diagnostic::Diagnostic>) {
    let mut reports = diagnostic::Reports::default();
    let tree = syntax::parser::parse(source, &mut reports);
    check::value::check(&tree, &mut reports);
    (tree, reports.finish())
}
