//! Where labels lie, and the automaton that finds them, as text and as Graphviz: stable for the same pattern.
//!
//! The text is for people; nothing reads it back. Anchors are `@0`, registers `r0`, bytes come as classes.

use std::fmt::{self, Write};

use super::determinise::Source;
use super::registers::Op;
use super::spots::{Anchor, Spot};
use super::table::Table;
use super::{Candidate, Labels, Search, Spots};

/// How labels are found: a line a tag, then the automaton, if there is one.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spots.fmt(f)?;
        self.search.iter().try_for_each(|search| search.fmt(f))
    }
}

/// As for [`Labels`].
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spots.fmt(f)?;
        self.search.fmt(f)
    }
}

impl Labels {
    /// The automaton for Graphviz' `dot`; `None` if there is none.
    #[must_use]
    pub fn dot(&self) -> Option<String> {
        self.search.as_ref().and_then(Search::dot)
    }
}

impl Candidate {
    /// The automaton for Graphviz' `dot`; `None` if there is none.
    #[must_use]
    pub fn dot(&self) -> Option<String> {
        self.search.dot()
    }
}

impl fmt::Display for Spots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (tag, spot) in &self.0 {
            match spot {
                Spot::Start(bytes) => writeln!(f, "{tag} start+{bytes}")?,
                Spot::End(bytes) => writeln!(f, "{tag} end-{bytes}")?,
                Spot::Anchor(anchor, 0) => writeln!(f, "{tag} {anchor}")?,
                Spot::Anchor(anchor, bytes) => writeln!(f, "{tag} {anchor}-{bytes}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.index())
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tdfa(table) => table.fmt(f),
            Self::Simulation(simulation, excess) => {
                writeln!(f, "simulated: {excess}")?;
                simulation.nfa.fmt(f)
            }
        }
    }
}

impl Search {
    fn dot(&self) -> Option<String> {
        match self {
            Self::Tdfa(table) => Some(table.dot()),
            Self::Simulation(..) => None,
        }
    }
}

/// `r1=r0`, `r1=here`
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}={}", self.to, self.from)
    }
}

/// `r0`, or `here`: the byte that is read next.
impl fmt::Display for Source<u8> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("here"),
            Self::Kept(register) => write!(f, "r{register}"),
        }
    }
}

/// The byte classes, then a line a state: where anchors are if the input ends there, and where classes lead.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (class, set) in self.classes.sets().iter().enumerate() {
            writeln!(f, "class {class} {set:?}")?;
        }
        for state in 0..self.states() {
            write!(f, "{state}{}", self.name(state))?;
            for Edge { classes, to, ops } in self.edges(state) {
                write!(f, " {classes}→{to}{ops}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Neighbouring classes that lead to one state and write the same.
struct Edge {
    classes: String,
    to: usize,
    ops: String,
}

impl Table {
    fn dot(&self) -> String {
        let mut text =
            String::from("digraph labels {\n  rankdir=LR;\n  node [shape=box, fontname=monospace];\n");
        for state in 0..self.states() {
            let shape = if self.outcome(state).is_some() { ", peripheries=2" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  s{state} [label=\"{state}{}\"{shape}];", self.name(state));
            for Edge { classes, to, ops } in self.edges(state) {
                let _ = writeln!(text, "  s{state} -> s{to} [label=\"{classes}{ops}\"];");
            }
        }
        text.push_str("}\n");
        text
    }

    /// ` start match @0=r0:`
    fn name(&self, state: usize) -> String {
        let mut name = String::new();
        if state == self.start() {
            name.push_str(" start");
        }
        match self.outcome(state) {
            None => name.push_str(" none"),
            Some(ends) => {
                name.push_str(" match");
                for (anchor, end) in ends.iter().enumerate() {
                    let _ = match end {
                        Some(source) => write!(name, " @{anchor}={source}"),
                        None => write!(name, " @{anchor} unset"),
                    };
                }
            }
        }
        name.push_str(if self.is_settled(state) { ", settled" } else { ":" });
        name
    }

    fn edges(&self, state: usize) -> Vec<Edge> {
        let mut edges = Vec::new();
        let row: Vec<(usize, &[Op])> = self.row(state).collect();
        let mut class = 0;
        for same in row.chunk_by(|one, other| one == other) {
            let last = class + same.len() - 1;
            let classes = if class == last { class.to_string() } else { format!("{class}..{last}") };
            let (to, ops) = same[0];
            let ops = ops.iter().fold(String::new(), |all, op| all + " " + &op.to_string());
            let ops = if ops.is_empty() { ops } else { format!(" [{}]", ops.trim_start()) };
            edges.push(Edge { classes, to, ops });
            class = last + 1;
        }
        edges
    }
}
