//! Header classes as workers use them: which scans judge the packets that reached a leaf, and where labels lie then.
//!
//! It holds numbers only; engines and ways stand in the filter, where classes share them.

use super::Verdict;
use crate::{dag::paths::Mark, resolved::RuleId};

/// Which class of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClassId(pub(super) usize);

/// Which engine of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EngineId(pub(super) usize);

/// Which way of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WayId(pub(super) usize);

/// What is left of a filter behind one kind of header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Class {
    /// In order of the least rule that each can find; none if the header decided.
    pub(super) scans: Vec<Scan>,
    /// The rule that matches if no scan finds an earlier one.
    pub(super) otherwise: Option<RuleId>,
    /// Of each rule that rewrites and can match here, in order: the ways that it can have matched, preferred ones first.
    pub(super) ways: Vec<(RuleId, Vec<WayId>)>,
}

/// What a leaf means.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) class: ClassId,
    /// Of every packet, if that is settled; else the rule is [`Class::otherwise`].
    pub(super) verdict: Verdict,
    /// Whether the header decides, and packets stay as they are.
    pub(super) settled: bool,
}

/// One automaton over one part of the packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scan {
    /// From here to the packet's end.
    pub(super) from: Mark,
    /// What runs.
    pub(super) engine: EngineId,
    /// The first of its rules.
    pub(super) least: RuleId,
}

impl Class {
    /// The ways of a rule that won here.
    pub(super) fn ways(&self, rule: RuleId) -> &[WayId] {
        let at = self.ways.binary_search_by_key(&rule, |(rule, _)| *rule);
        at.ok().and_then(|at| self.ways.get(at)).map_or(&[], |(_, ways)| ways)
    }
}
