//! What must hold before a filter is attached to an interface: which packets its header program may drop, and which it
//! may give to the OS stack.
//!
//! It decides on the header DAG, for whole kinds of frames at once: of a frame only what makes it ARP, say, is known, and
//! every leaf that such a frame can reach is looked at. It attaches nothing.

use std::collections::BTreeSet;

use super::{Deed, Filter};
use crate::{
    dag::{
        Decision, Leaf, Node, NodeId, Probe,
        condition::{Place, Reading},
    },
    diagnostic::{Code, Diagnostic},
    resolved::RuleId,
    source::Span,
};

/// Which packets a filter of an interface judges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that steering claims.
    #[default]
    Steered,
    /// All: a final reject drops at once, the OS stack's packets too.
    Interface,
}

/// Whether a filter may keep the OS stack from finding its neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Neighbours {
    /// It may not.
    #[default]
    Needed,
    /// The operator wants it so.
    GivenUp,
}

/// How a filter is to be attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attachment<'a> {
    /// Which packets it judges.
    pub scope: Scope,
    /// Accepted with one of these codes, a packet is the OS stack's.
    pub pass: &'a [u16],
    /// Whether neighbours must be found.
    pub neighbours: Neighbours,
    /// VLAN tags of the frames that the interface serves; others are looked at without one too.
    pub tags: usize,
}

/// The most rules that one warning names.
const NAMED_MAX: usize = 5;
/// Types of ICMPv6: solicitations and advertisements of routers and of neighbours.
const DISCOVERY: [u8; 4] = [133, 134, 135, 136];

/// What speaks against attaching a filter so.
#[must_use]
pub fn check(filter: &Filter, how: &Attachment<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if how.scope == Scope::Interface {
        if how.neighbours == Neighbours::Needed {
            found.extend(cut_off(filter, how.tags));
        }
        found.extend(escapes(filter));
    }
    found.extend(passes(filter, how.pass));
    found.into_iter().map(|one| one.file(&filter.file)).collect()
}

/// RL405, once for each protocol by which neighbours are found.
fn cut_off(filter: &Filter, tags: usize) -> Vec<Diagnostic> {
    let kinds =
        |tags| DISCOVERY.map(|kind| Frames::discovery(tags, kind)).into_iter().chain([Frames::arp(tags)]);
    let mut found: Vec<Diagnostic> = Vec::new();
    for frames in kinds(0).chain(kinds(tags)) {
        let Some(rejected) = frames.rejected_by(filter) else { continue };
        let what = frames.what;
        let (span, message) = match rejected {
            Some(rule) => (
                filter.rules[rule.index()].span,
                format!(
                    "in scope `interface` this rule drops {what}: the OS stack's neighbours are not found"
                ),
            ),
            None => (
                last(filter),
                format!(
                    "no rule matches {what}: in scope `interface` the OS stack's neighbours are not found"
                ),
            ),
        };
        let help = format!("accept it before: `{}`; or use `--force`", frames.remedy);
        if !found.iter().any(|other| other.message == message) {
            found.push(Diagnostic::new(Code::CutsOff, span, message).help(help));
        }
    }
    found
}

/// RL908: rules that decide after the header, for which the OS stack's packets do not wait.
fn escapes(filter: &Filter) -> Option<Diagnostic> {
    let open = leaves(filter).filter(|leaf| filter.dag.decision(leaf) == Decision::Open);
    let rules: BTreeSet<RuleId> =
        open.filter_map(|leaf| leaf.survivors.first()).map(|survivor| survivor.rule).collect();
    let mut rules = rules.into_iter();
    let first = rules.next()?;
    let span = |rule: RuleId| filter.rules[rule.index()].span;
    let message = "this rule needs more than headers, and a header program sees no more: the OS stack's packets escape it";
    let found = Diagnostic::new(Code::Escapes, span(first), message)
        .help("only packets that steering claims are judged by it");
    let others = rules.take(NAMED_MAX - 1);
    Some(others.fold(found, |found, rule| found.note(span(rule), "this one too")))
}

/// RL406: rules that accept with a code of the OS stack where the payload decides.
fn passes(filter: &Filter, pass: &[u16]) -> Vec<Diagnostic> {
    let open = leaves(filter).filter(|leaf| filter.dag.decision(leaf) == Decision::Open);
    let rules: BTreeSet<RuleId> =
        open.flat_map(|leaf| &leaf.survivors).map(|survivor| survivor.rule).collect();
    let refused = |rule: RuleId| {
        let known = &filter.rules[rule.index()];
        let Deed::Accept(code) = known.deed else { return None };
        let message = format!(
            "code {code} is to pass packets to the OS stack, but where this rule gives it, the payload decides"
        );
        let found = Diagnostic::new(Code::PassByPayload, known.span, message);
        pass.contains(&code)
            .then(|| found.help("a worker gives no packet back: let headers decide, or give another code"))
    };
    rules.into_iter().filter_map(refused).collect()
}

fn leaves(filter: &Filter) -> impl Iterator<Item = &Leaf> {
    filter.dag.nodes().filter_map(|(_, node)| match node {
        Node::Leaf(leaf) => Some(&**leaf),
        _ => None,
    })
}

fn last(filter: &Filter) -> Span {
    filter.rules.last().map_or(Span::new(0, 0), |rule| rule.span)
}

/// All frames of one kind.
struct Frames {
    what: &'static str,
    /// How they are accepted.
    remedy: &'static str,
    /// From the first byte: what is known of each, and which of its bits that is.
    known: Vec<(u8, u8)>,
    /// The shortest.
    least: usize,
    /// The longest.
    most: usize,
}

const UNKNOWN: (u8, u8) = (0, 0);

const fn is(byte: u8) -> (u8, u8) {
    (byte, 0xff)
}

impl Frames {
    fn of(tags: usize, ether_type: u16) -> Vec<(u8, u8)> {
        let mut known = vec![UNKNOWN; 12];
        for _ in 0..tags {
            known.extend([is(0x81), is(0x00), UNKNOWN, UNKNOWN]);
        }
        known.extend(ether_type.to_be_bytes().map(is));
        known
    }

    /// Requests and answers of ARP for IPv4 on Ethernet, padded or not.
    fn arp(tags: usize) -> Self {
        let mut known = Self::of(tags, 0x0806);
        known.extend([0, 1, 8, 0, 6, 4, 0].map(is));
        let least = known.len() + 21;
        Self { what: "ARP", remedy: "Ethernet_ARP * => accept;", known, least, most: 64 + 4 * tags }
    }

    /// One type of [`DISCOVERY`]; all have hop limit 255.
    fn discovery(tags: usize, kind: u8) -> Self {
        let mut known = Self::of(tags, 0x86dd);
        known.extend([(0x60, 0xf0), UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, is(58), is(255)]);
        known.extend([UNKNOWN; 32]);
        known.extend([is(kind), is(0)]);
        let least = known.len() + 6;
        let remedy = "Ethernet_IPv6 IPv6_ICMPv6 ICMPv6 with [type=133..136] * => accept;";
        Self { what: "IPv6 neighbour discovery", remedy, known, least, most: usize::from(u16::MAX) }
    }

    /// Whether some of them are finally rejected: by this rule, or because there is none.
    #[allow(clippy::option_option, reason = "rejected by no rule is not the same as not rejected")]
    fn rejected_by(&self, filter: &Filter) -> Option<Option<RuleId>> {
        let (mut open, mut seen) = (vec![(NodeId::ROOT, Some(0))], BTreeSet::new());
        while let Some((id, base)) = open.pop() {
            if !seen.insert((id, base)) {
                continue;
            }
            match filter.dag.node(id) {
                Node::Len { bytes, yes, no } => {
                    let end = base.zip(usize::try_from(*bytes).ok()).map(|(base, bytes)| base + bytes);
                    if end.is_none_or(|end| end <= self.most) {
                        open.push((*yes, base));
                    }
                    if end.is_none_or(|end| self.least < end) {
                        open.push((*no, base));
                    }
                }
                Node::Probe(probe) => self.each_possible(probe, base, |to| open.push((to, base))),
                Node::Base { advance, to } => {
                    let (known, value) = self.read(&advance.field, base);
                    let distance = (known == advance.field.mask).then(|| {
                        let count = usize::try_from(value >> advance.field.shift()).ok()?;
                        let times = usize::try_from(advance.times).ok()?;
                        Some(count * times + usize::try_from(advance.plus).ok()?)
                    });
                    open.push((*to, base.zip(distance.flatten()).map(|(base, far)| base + far)));
                }
                Node::Leaf(leaf) => match filter.dag.decision(leaf) {
                    Decision::NoRule => return Some(None),
                    Decision::Rule(rule, _) if matches!(filter.rules[rule.index()].deed, Deed::Reject(_)) => {
                        return Some(Some(rule));
                    }
                    Decision::Rule(..) | Decision::Open => {}
                },
            }
        }
        None
    }

    /// Where such a frame may go on; never too few ways.
    fn each_possible(&self, probe: &Probe, base: Option<usize>, mut each: impl FnMut(NodeId)) {
        let (known, value) = self.read(&probe.place, base);
        if known == probe.place.mask {
            return each(probe.to(value));
        }
        let fits = |first: u64, last: u64| first != last || first & known == value;
        probe.cases.iter().filter(|case| fits(case.first, case.last)).for_each(|case| each(case.to));
        each(probe.default);
    }

    /// Which bits of a place are known, and what they are.
    fn read(&self, place: &Place, base: Option<usize>) -> (u64, u64) {
        let at = |index: usize| {
            let byte = base.and_then(|base| self.known.get(base + usize::from(place.offset) + index));
            byte.copied().unwrap_or(UNKNOWN)
        };
        let add = |(known, value): (u64, u64), index| {
            let (byte, mask) = at(index);
            (known << 8 | u64::from(mask), value << 8 | u64::from(byte))
        };
        let bytes = 0..usize::from(place.bytes);
        let (known, value) = match place.reading {
            Reading::Big => bytes.fold((0, 0), add),
            Reading::Little => bytes.rev().fold((0, 0), add),
        };
        (known & place.mask, value & place.mask)
    }
}

#[cfg(test)]
mod tests;
