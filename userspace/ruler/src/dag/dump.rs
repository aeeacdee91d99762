//! The DAG and its paths as text and as Graphviz, stable for the same filter.
//!
//! It shows numbers, not names: templates and fields are gone here.

use std::fmt::{self, Write};

use super::{
    Dag, Decision, Leaf, Node, NodeId, PathId, Start,
    condition::{Condition, Place, Reading},
    paths::{Advance, Mark, Path, Rest},
};
use crate::ir;

impl Dag {
    /// Every path, in order.
    #[must_use]
    pub fn paths_text(&self) -> String {
        let mut text = String::new();
        for (number, path) in self.paths.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "path {number} of rule {}{path}", path.rule.0);
        }
        text
    }

    /// Every node, in order.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (id, node) in self.nodes() {
            let _ = write!(text, "{:>5}  base {}  ", id.0, self.base(id));
            let _ = match node {
                Node::Len { bytes, yes, no } => writeln!(text, "LEN {bytes}: {}, short {}", yes.0, no.0),
                Node::Base { advance, to } => writeln!(text, "BASE {advance}: {}", to.0),
                Node::Leaf(leaf) => writeln!(text, "LEAF {}", self.leaf_text(leaf)),
                Node::Probe(probe) => {
                    let _ = write!(text, "PROBE {}:", probe.place);
                    for case in &probe.cases {
                        let _ = write!(text, " {} {},", Values(case.first, case.last), case.to.0);
                    }
                    writeln!(text, " else {}", probe.default.0)
                }
            };
        }
        text
    }

    /// The graph for Graphviz' `dot`.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut text = String::from("digraph header {\n  node [shape=box, fontname=monospace];\n");
        for (id, node) in self.nodes() {
            let label = match node {
                Node::Len { bytes, .. } => format!("LEN {bytes}"),
                Node::Base { advance, .. } => format!("BASE {advance}"),
                Node::Probe(probe) => format!("PROBE {}", probe.place),
                Node::Leaf(leaf) => self.leaf_text(leaf),
            };
            let shape = if matches!(node, Node::Leaf(_)) { ", shape=ellipse" } else { "" };
            let _ = writeln!(text, "  n{} [label=\"{}: {label}\"{shape}];", id.0, id.0);
            let mut edge = |to: NodeId, label: &str| {
                let _ = writeln!(text, "  n{} -> n{} [label=\"{label}\"];", id.0, to.0);
            };
            match node {
                Node::Len { yes, no, .. } => {
                    edge(*yes, "yes");
                    edge(*no, "short");
                }
                Node::Base { to, .. } => edge(*to, ""),
                Node::Probe(probe) => {
                    for case in &probe.cases {
                        edge(case.to, &Values(case.first, case.last).to_string());
                    }
                    edge(probe.default, "else");
                }
                Node::Leaf(_) => {}
            }
        }
        text.push_str("}\n");
        text
    }

    fn leaf_text(&self, leaf: &Leaf) -> String {
        let mut text = match self.decision(leaf) {
            Decision::NoRule => return "no rule".to_owned(),
            Decision::Rule(..) => "final".to_owned(),
            Decision::Open => "open".to_owned(),
        };
        for survivor in &leaf.survivors {
            let _ = match survivor.start {
                Start::Rest(PathId(path)) => write!(text, " rule {} path {path}", survivor.rule.0),
                Start::Whole => write!(text, " rule {} whole", survivor.rule.0),
            };
        }
        text
    }
}

/// `[12..14]`, `[14..15]&0xf`, `[4..6]le`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}..{}]", self.offset, self.end())?;
        if self.reading == Reading::Little {
            f.write_str("le")?;
        }
        if self.mask == self.ones() { Ok(()) } else { write!(f, "&{:#x}", self.mask) }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.place, self.allowed)
    }
}

/// `+[14..15]&0xf>>0*4+14`
impl fmt::Display for Advance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}>>{}*{}+{}", self.field, self.field.shift(), self.times, self.plus)
    }
}

/// `1+20`: 20 bytes behind base 1.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind { base, offset } => write!(f, "{base}+{offset}"),
            Self::End => f.write_str("end"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (base, segment) in self.segments.iter().enumerate() {
            write!(f, "\n  base {base}: {} bytes", segment.bytes)?;
            segment.conditions.iter().try_for_each(|condition| write!(f, " {condition}"))?;
            segment.then.iter().try_for_each(|advance| write!(f, " then {advance}"))?;
        }
        for (label, mark) in &self.begins {
            write!(f, "\n  label {} begins {mark}", label.0)?;
        }
        for (label, mark) in &self.ends {
            write!(f, "\n  label {} ends {mark}", label.0)?;
        }
        match &self.rest {
            Rest::End => f.write_str("\n  then the end"),
            Rest::Any => f.write_str("\n  then anything"),
            Rest::Pattern(pattern) => match ir::lower(pattern) {
                Ok(node) => {
                    f.write_str("\n  then")?;
                    node.to_string().lines().try_for_each(|line| write!(f, "\n    {line}"))
                }
                Err(error) => write!(f, "\n  then {error}"),
            },
        }
    }
}

/// `0x11`, or `0x5..0xf`.
struct Values(u64, u64);

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(first, last) = self;
        if first == last { write!(f, "{first:#x}") } else { write!(f, "{first:#x}..{last:#x}") }
    }
}
