//! Filters put together: a source becomes a filter, the filter is bound to where it runs, and then it judges packets.
//!
//! ```text
//!   Bundle ──compile──► Filter ──bind──► Bound ──judge──► a verdict for each packet, new packets in their frames
//!                                          ▲
//!                     Scratch, one a thread┘
//! ```
//!
//! Compiling is a function of source and limits. A filter, bound or not, never changes: what judging writes is in the
//! [`Scratch`] of the thread that judges.

mod bind;
mod build;
mod class;
pub mod dump;
mod judge;
mod report;
pub mod scope;
mod trouble;
mod way;

use std::convert::Infallible;

use crate::{
    bundle::Bundle,
    dag::{self, Dag},
    diagnostic::Diagnostic,
    ebpf::{
        self,
        limits::{Loaded, Unfit},
    },
    exec::{engine::Engine, ladder},
    resolve::resolve,
    resolved,
    rewrite::Plan,
    source::Span,
    tdfa,
};

pub use bind::{BindError, Bound, Params};
pub use judge::{Batch, Entries, Extent, Fate, Packet, Scratch, Verdict};
pub use report::{EngineReport, Report, RuleReport};

use class::Class;
use way::Way;

/// How much a filter may need. Time is not among it: the same source gives the same filter everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The header DAG.
    pub dag: dag::Limits,
    /// The engines that judge what the DAG leaves.
    pub engines: ladder::Limits,
    /// The automata that find labels.
    pub labels: tdfa::Limits,
}

/// A compiled filter: complete but for the key and the bounds of where it runs.
#[derive(Debug)]
pub struct Filter {
    /// What it was made from.
    resolved: resolved::Filter,
    /// The file that has it, for diagnostics.
    file: String,
    rules: Vec<Rule>,
    dag: Dag,
    walker: dag::Walker,
    /// By [`dag::NodeId`]: what a leaf means; that of another node means nothing.
    ends: Vec<class::End>,
    classes: Vec<Class>,
    engines: Vec<Engine>,
    reports: Vec<ladder::Report>,
    ways: Vec<Way>,
}

/// A rule, as far as it is needed after matching.
#[derive(Debug)]
struct Rule {
    deed: Deed,
    /// How many labels its action reads.
    labels: usize,
    span: Span,
}

/// What a rule does.
#[derive(Debug)]
enum Deed {
    Accept(u16),
    Reject(u16),
    Rewrite(Box<Plan>, u16),
}

/// The filters of the file that the bundle names first, and everything that is wrong, or slow, in any of its files.
///
/// If one of the diagnostics is an error, there are no filters.
#[must_use]
pub fn compile(bundle: &Bundle, limits: &Limits) -> (Vec<Filter>, Vec<Diagnostic>) {
    let (resolved, mut found) = resolve(bundle);
    let mut filters = Vec::new();
    for filter in &resolved {
        let (filter, troubles) = Filter::build(filter, bundle.root(), limits);
        filters.extend(filter);
        found.extend(troubles);
    }
    if found.iter().any(Diagnostic::is_error) {
        filters.clear();
    }
    (filters, found)
}

impl Filter {
    /// The filter of a resolved one, which stands in the file of this name, and what is to be said of it: if that is an
    /// error, there is none.
    #[must_use]
    pub fn build(filter: &resolved::Filter, file: &str, limits: &Limits) -> (Option<Self>, Vec<Diagnostic>) {
        build::build(filter, file, limits)
    }

    /// The name after `filter`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.resolved.name
    }

    /// Its header DAG.
    #[must_use]
    pub const fn dag(&self) -> &Dag {
        &self.dag
    }

    /// Its header program, as deep as the limits and the kernel, which is `load`, allow; see [`ebpf::limits::fit`].
    ///
    /// # Errors
    /// Even the shallowest is too large, or refused.
    pub fn header_program<T, E>(
        &self,
        settings: &ebpf::Settings<'_>,
        load: impl FnMut(&ebpf::Program) -> Result<Loaded<T>, E>,
    ) -> Result<(ebpf::Program, Loaded<T>), Unfit<E>> {
        ebpf::limits::fit(&self.resolved, &self.dag, settings, load)
    }

    /// The header program as it is before a kernel has seen it: one whose verifier finds it too much work gets a shorter one.
    ///
    /// # Errors
    /// Even the shallowest is too long.
    pub fn untried_program(&self, settings: &ebpf::Settings<'_>) -> Result<ebpf::Program, Unfit<Infallible>> {
        let taken = |_: &ebpf::Program| Ok(Loaded { program: (), verified: 0 });
        self.header_program(settings, taken).map(|(program, _)| program)
    }

    /// How many rules it has.
    #[must_use]
    pub const fn rules(&self) -> usize {
        self.rules.len()
    }
}

#[cfg(test)]
mod tests;
