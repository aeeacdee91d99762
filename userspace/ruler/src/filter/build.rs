//! From a resolved filter to a compiled one: its header DAG, and for each leaf the engines of what is left.
//!
//! Leaves that leave the same share everything; an engine is built once for the same rests of the same rules.

use std::collections::{BTreeMap, HashMap};

use super::{
    Deed, Fate, Filter, Limits, Rule, Verdict,
    class::{Class, ClassId, End, EngineId, Scan, WayId},
    trouble,
    way::Way,
};
use crate::{
    dag::{
        Dag, Leaf, Node, Start, Walker,
        paths::{Mark, Rest},
    },
    diagnostic::Diagnostic,
    exec::{engine::Engine, ladder},
    ir,
    resolved::{self, Action, RuleId},
    rewrite::Plan,
};

/// The most places of a packet that scans of one class begin at.
pub(super) const STARTS_MAX: usize = 4;
/// The first byte of the packet.
const FIRST: Mark = Mark::Behind { base: 0, offset: 0 };

/// What engines were made from.
#[derive(Debug)]
pub(super) struct Kept {
    interned: Vec<ir::Node>,
    /// By [`EngineId`].
    rules: Vec<Vec<(RuleId, NodeId)>>,
}

impl Kept {
    /// The rules of an engine, and what each of them must match.
    pub(super) fn rules(&self, engine: EngineId) -> impl Iterator<Item = (RuleId, &ir::Node)> {
        self.rules[engine.0].iter().map(|(rule, node)| (*rule, &self.interned[node.0]))
    }
}

/// Builds it; what is to be said of it is said once for each engine.
pub(super) fn build(
    filter: &resolved::Filter,
    file: &str,
    limits: &Limits,
) -> (Option<Filter>, Vec<Diagnostic>) {
    let (built, troubles) = build_keeping(filter, file, limits);
    (built.map(|(filter, _)| filter), troubles)
}

/// The same, with what engines were made from.
pub(super) fn build_keeping(
    filter: &resolved::Filter,
    file: &str,
    limits: &Limits,
) -> (Option<(Filter, Kept)>, Vec<Diagnostic>) {
    let dag = Dag::build(filter, &limits.dag);
    let mut builder = Builder {
        filter,
        dag: &dag,
        limits,
        troubles: Vec::new(),
        rests: HashMap::new(),
        nodes: HashMap::new(),
        interned: Vec::new(),
        known: HashMap::new(),
        engines: Vec::new(),
        reports: Vec::new(),
        known_ways: HashMap::new(),
        ways: Vec::new(),
        starts: Vec::new(),
        known_classes: HashMap::new(),
        classes: Vec::new(),
    };
    let built: Option<Vec<ClassId>> = dag
        .nodes()
        .map(|(_, node)| match node {
            Node::Leaf(leaf) => builder.class(leaf),
            Node::Len { .. } | Node::Probe(_) | Node::Base { .. } => Some(ClassId(0)),
        })
        .collect();
    let Builder { troubles, engines, reports, ways, classes, known, interned, .. } = builder;
    let mut of_engines = vec![Vec::new(); engines.len()];
    known.into_iter().for_each(|(rules, engine)| of_engines[engine.0] = rules);
    let troubles = troubles.into_iter().map(|trouble| trouble.file(file)).collect();
    let kept = Kept { interned, rules: of_engines };
    let rules: Vec<Rule> = filter.rules.iter().map(rule).collect();
    let built = built.map(|class_of| Filter {
        resolved: filter.clone(),
        file: file.to_owned(),
        walker: Walker::new(&dag),
        dag,
        ends: class_of.into_iter().map(|id| end(id, &classes, &rules)).collect(),
        classes,
        rules,
        engines,
        reports,
        ways,
    });
    (built.map(|filter| (filter, kept)), troubles)
}

fn rule(rule: &resolved::Rule) -> Rule {
    let deed = match (&rule.action, Plan::of(rule)) {
        (Action::Accept(code), _) => Deed::Accept(*code),
        (Action::Reject(code), _) => Deed::Reject(*code),
        (Action::Rewrite(_, code), Some(plan)) => Deed::Rewrite(Box::new(plan), *code),
        (Action::Rewrite(..), None) => unreachable!("a rule that rewrites has a plan"),
    };
    Rule { deed, labels: rule.labels.len(), span: rule.span }
}

/// What a leaf of this class means.
fn end(id: ClassId, classes: &[Class], rules: &[Rule]) -> End {
    let Class { scans, otherwise, .. } = &classes[id.0];
    let fate = match otherwise.map(|rule| &rules[rule.index()].deed) {
        _ if !scans.is_empty() => None,
        None => Some(Fate::Unmatched),
        Some(Deed::Accept(code)) => Some(Fate::Accepted(*code)),
        Some(Deed::Reject(code)) => Some(Fate::Rejected(*code)),
        Some(Deed::Rewrite(..)) => None,
    };
    let verdict = Verdict { rule: *otherwise, fate: fate.unwrap_or(Fate::Unmatched) };
    End { class: id, verdict, settled: fate.is_some() }
}

/// Which of the different regexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct NodeId(usize);

struct Builder<'a> {
    filter: &'a resolved::Filter,
    dag: &'a Dag,
    limits: &'a Limits,
    troubles: Vec<Diagnostic>,
    /// What is left of a rule at a start.
    rests: HashMap<(RuleId, Start), NodeId>,
    nodes: HashMap<ir::Node, NodeId>,
    interned: Vec<ir::Node>,
    known: HashMap<Vec<(RuleId, NodeId)>, EngineId>,
    engines: Vec<Engine>,
    reports: Vec<ladder::Report>,
    known_ways: HashMap<(RuleId, Start), WayId>,
    ways: Vec<Way>,
    /// By [`WayId`]: where its rest starts.
    starts: Vec<Start>,
    known_classes: HashMap<Class, ClassId>,
    classes: Vec<Class>,
}

impl Builder<'_> {
    /// The class of a leaf; `None`, diagnosed, if no engine fits.
    fn class(&mut self, leaf: &Leaf) -> Option<ClassId> {
        let class = self.written_out(leaf)?;
        if let Some(id) = self.known_classes.get(&class) {
            return Some(*id);
        }
        let id = ClassId(self.classes.len());
        self.classes.push(class.clone());
        self.known_classes.insert(class, id);
        Some(id)
    }

    fn written_out(&mut self, leaf: &Leaf) -> Option<Class> {
        let mut otherwise = None;
        let mut groups: BTreeMap<Mark, Vec<(RuleId, NodeId)>> = BTreeMap::new();
        for survivor in &leaf.survivors {
            let start = match survivor.start {
                Start::Rest(path) if self.dag.path(path).is_final() => {
                    // Nothing stands behind what surely matches.
                    otherwise = Some(survivor.rule);
                    continue;
                }
                Start::Rest(path) => self.dag.path(path).end(),
                Start::Whole => FIRST,
            };
            let entry = (survivor.rule, self.rest(survivor.rule, survivor.start)?);
            let group = groups.entry(start).or_default();
            if !group.contains(&entry) {
                group.push(entry);
            }
        }
        self.merge(&mut groups)?;
        let mut scans = Vec::new();
        for (from, rules) in groups {
            let Some((least, _)) = rules.first() else { continue };
            let least = *least;
            scans.push(Scan { from, engine: self.engine(rules)?, least });
        }
        scans.sort_by_key(|scan| scan.least);
        Some(Class { scans, otherwise, ways: self.ways_of(leaf)? })
    }

    /// Leaves at most [`STARTS_MAX`] starts: rules of the emptiest others are judged from the first byte.
    fn merge(&mut self, groups: &mut BTreeMap<Mark, Vec<(RuleId, NodeId)>>) -> Option<()> {
        if groups.len() <= STARTS_MAX {
            return Some(());
        }
        let mut by_size: Vec<(usize, Mark)> = groups
            .iter()
            .filter(|(from, _)| **from != FIRST)
            .map(|(from, rules)| (rules.len(), *from))
            .collect();
        by_size.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut whole = groups.remove(&FIRST).unwrap_or_default();
        for (_, from) in by_size.split_off(STARTS_MAX - 1) {
            for (rule, _) in groups.remove(&from).unwrap_or_default() {
                whole.push((rule, self.rest(rule, Start::Whole)?));
            }
        }
        whole.sort_unstable();
        whole.dedup();
        groups.insert(FIRST, whole);
        Some(())
    }

    /// What must still match for a rule, as a regex.
    fn rest(&mut self, rule: RuleId, start: Start) -> Option<NodeId> {
        if let Some(id) = self.rests.get(&(rule, start)) {
            return Some(*id);
        }
        let resolved = &self.filter.rules[rule.index()];
        let pattern = match start {
            Start::Rest(path) => match &self.dag.path(path).rest {
                Rest::Pattern(pattern) => pattern,
                Rest::End | Rest::Any => unreachable!("a path that is final leaves nothing to match"),
            },
            Start::Whole => &resolved.pattern,
        };
        let node = match ir::lower(pattern) {
            Ok(node) => node,
            Err(error) => {
                self.troubles.push(trouble::too_big(resolved.span, &error));
                return None;
            }
        };
        let next = NodeId(self.interned.len());
        let id = *self.nodes.entry(node.clone()).or_insert(next);
        if id == next {
            self.interned.push(node);
        }
        self.rests.insert((rule, start), id);
        Some(id)
    }

    fn engine(&mut self, rules: Vec<(RuleId, NodeId)>) -> Option<EngineId> {
        if let Some(id) = self.known.get(&rules) {
            return Some(*id);
        }
        let nodes: Vec<_> = rules.iter().map(|(rule, node)| (*rule, &self.interned[node.0])).collect();
        let (engine, report) = match ladder::build(&nodes, &self.limits.engines) {
            Ok(built) => built,
            Err(error) => {
                self.troubles.push(trouble::over_budget(self.filter, &error));
                return None;
            }
        };
        if report.rung.is_degraded() {
            let rules: Vec<_> = rules.iter().map(|(rule, _)| *rule).collect();
            self.troubles.push(trouble::degraded(self.filter, &rules, &report));
        }
        let id = EngineId(self.engines.len());
        self.engines.push(engine);
        self.reports.push(report);
        self.known.insert(rules, id);
        Some(id)
    }

    /// The ways of every rule that rewrites and is left at a leaf.
    fn ways_of(&mut self, leaf: &Leaf) -> Option<Vec<(RuleId, Vec<WayId>)>> {
        let mut ways: Vec<(RuleId, Vec<WayId>)> = Vec::new();
        for survivor in &leaf.survivors {
            let rule = &self.filter.rules[survivor.rule.index()];
            if !matches!(rule.action, Action::Rewrite(..)) || rule.labels.is_empty() {
                continue;
            }
            let way = self.way(survivor.rule, survivor.start)?;
            match ways.last_mut() {
                Some((last, ways)) if *last == survivor.rule => ways.push(way),
                _ => ways.push((survivor.rule, vec![way])),
            }
        }
        for (rule, ways) in &ways {
            // Whether it was the last way need not be asked: it was, if it was none before.
            let others = ways.split_last().map_or(&[][..], |(_, others)| others);
            others.iter().try_for_each(|way| self.make_candidate(*rule, *way))?;
        }
        Some(ways)
    }

    fn way(&mut self, rule: RuleId, start: Start) -> Option<WayId> {
        if let Some(id) = self.known_ways.get(&(rule, start)) {
            return Some(*id);
        }
        let path = match start {
            Start::Rest(path) => Some(self.dag.path(path)),
            Start::Whole => None,
        };
        let rest = match path {
            Some(path) if path.is_final() => None,
            _ => Some(self.rest(rule, start)?),
        };
        let resolved = &self.filter.rules[rule.index()];
        let rest = rest.map(|rest| &self.interned[rest.0]);
        let way = match Way::new(path, rest, resolved.labels.len(), &self.limits.labels) {
            Ok(way) => way,
            Err(error) => {
                self.troubles.push(trouble::labels_too_big(rule, resolved.span, &error));
                return None;
            }
        };
        self.troubles.extend(trouble::simulated(resolved.span, &way));
        let id = WayId(self.ways.len());
        self.ways.push(way);
        self.starts.push(start);
        self.known_ways.insert((rule, start), id);
        Some(id)
    }

    /// Lets a way say whether a packet matched it; nothing more is to be said by one whose rest always matches.
    fn make_candidate(&mut self, rule: RuleId, way: WayId) -> Option<()> {
        let start = self.starts[way.0];
        if matches!(start, Start::Rest(path) if self.dag.path(path).is_final()) {
            return Some(());
        }
        let node = self.rest(rule, start)?;
        match self.ways[way.0].make_candidate(&self.interned[node.0], &self.limits.labels) {
            Ok(()) => Some(()),
            Err(error) => {
                let span = self.filter.rules[rule.index()].span;
                self.troubles.push(trouble::labels_too_big(rule, span, &error));
                None
            }
        }
    }
}
