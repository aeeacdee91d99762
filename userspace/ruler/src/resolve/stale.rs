//! Warns of checksums and lengths that an output leaves as they were while it changes what they cover.
//!
//! It goes by the layouts of the labels, and says nothing where it cannot tell.

use super::FileId;
use super::findings::Findings;
use super::mistake::{joined, place};
use super::shape::Shape;
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;
use crate::syntax::tree::{Made, Output, Setting};

/// What an output item is made of.
struct Item {
    /// The label whose bytes it has, or as many of.
    label: Option<String>,
    layout: Option<Layout>,
    /// The fields that it sets.
    sets: Vec<String>,
    /// Whether it is what was matched, but for the fields it sets.
    plain: bool,
    span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Ipv4,
    Ipv6,
    Tcp,
    Udp,
}

impl Item {
    fn of(shape: &Shape, output: &Output) -> Self {
        match output {
            Output::Part(path, settings) => {
                let label = joined(path);
                let template = shape.find(&label).and_then(|(binding, _)| binding.origin.template.as_ref());
                let layout = template.and_then(|(_, layout)| match layout.as_str() {
                    "IPv4" => Some(Layout::Ipv4),
                    "IPv6" => Some(Layout::Ipv6),
                    "TCP" => Some(Layout::Tcp),
                    "UDP" => Some(Layout::Udp),
                    _ => None,
                });
                let sets: Vec<_> = settings.iter().map(|Setting { path, .. }| joined(path)).collect();
                Self { label: Some(label), layout, sets, plain: true, span: place(path) }
            }
            Output::Made(Made::Call(name, arguments)) => {
                let label = arguments.first().filter(|_| name.text != "prefix_anon").map(joined);
                Self { label, layout: None, sets: Vec::new(), plain: name.text == "unpad", span: name.span }
            }
            Output::Made(Made::Constant(..)) => {
                Self { label: None, layout: None, sets: Vec::new(), plain: false, span: Span::new(0, 0) }
            }
        }
    }

    fn leaves(&self, field: &str) -> bool {
        !self.sets.iter().any(|set| set == field)
    }

    fn is_ip(&self) -> bool {
        matches!(self.layout, Some(Layout::Ipv4 | Layout::Ipv6))
    }
}

/// Judges the output of one rule.
pub(super) fn warn(findings: &mut Findings, shape: &Shape, outputs: &[Output]) {
    let items: Vec<Item> = outputs.iter().map(|output| Item::of(shape, output)).collect();
    for at in 0..items.len() {
        let stale = stale_checksum(&items, at).into_iter().chain(stale_length(shape, &items, at));
        stale.for_each(|found| findings.push(FileId(0), found));
    }
}

fn stale_checksum(items: &[Item], at: usize) -> Option<Diagnostic> {
    let item = items.get(at).filter(|item| item.leaves("csum"))?;
    let (header, mend) = match item.layout? {
        Layout::Ipv4 if !item.sets.is_empty() => ("header", "csum=ipv4_csum()".to_owned()),
        Layout::Ipv4 | Layout::Ipv6 => return None,
        layout => {
            let ip = items[..at].iter().rev().find(|item| item.is_ip());
            let readdressed =
                ip.is_some_and(|ip| ["src", "dst", "dest"].iter().any(|field| !ip.leaves(field)));
            let changed = items[at + 1..].iter().any(|item| !item.plain || !item.sets.is_empty());
            if item.sets.is_empty() && !readdressed && !changed {
                return None;
            }
            let ip = ip.and_then(|ip| ip.label.as_deref()).unwrap_or("ip");
            match layout {
                Layout::Tcp => ("TCP", format!("csum=tcp_csum({ip})")),
                _ => ("UDP", format!("csum=udp_csum({ip})")),
            }
        }
    };
    let message = format!("the {header} checksum is now stale");
    Some(Diagnostic::new(Code::StaleChecksum, item.span, message).help(format!("add `{mend}`")))
}

fn stale_length(shape: &Shape, items: &[Item], at: usize) -> Option<Diagnostic> {
    let item = items.get(at).filter(|item| item.leaves("len"))?;
    let first = match item.layout? {
        Layout::Ipv4 | Layout::Udp => at,
        Layout::Ipv6 => at + 1,
        Layout::Tcp => return None,
    };
    let label = item.label.as_deref()?;
    let Shape::Seq(parts) = shape else { return None };
    let is_item = |part: &&Shape| matches!(part, Shape::Named(binding, _) if binding.path == label);
    let behind = parts.iter().skip_while(|part| !is_item(part)).skip(1);
    let mut matched = Vec::new();
    for part in behind {
        match part {
            Shape::Named(binding, _) => matched.push(Some(binding.path.as_str())),
            _ => matched.push(None),
        }
    }
    let written: Vec<Option<&str>> = items[at + 1..].iter().map(|item| item.label.as_deref()).collect();
    // A part of a part, or a label from before: lengths are beyond this judgement.
    let known = |label: &&str| matched.contains(&Some(label));
    if written == matched || !written.iter().flatten().all(known) {
        return None;
    }
    let labels: Vec<&str> = items[first..].iter().filter_map(|item| item.label.as_deref()).collect();
    let found = Diagnostic::new(Code::StaleLength, item.span, "the length in this header is now stale");
    Some(found.help(format!("add `len=len({})`", labels.join(", "))))
}
