//! Where labels lie, and the automaton that finds them, as text and as Graphviz: stable for the same pattern.
//!
//! The text is for people; nothing reads it back. Anchors are `@0`, registers `r0`, bytes come as classes.

use std::fmt::{self, Write};

use super::determinise::Source;
use super::registers::Op;
use super::spots::{Anchor, Spot};
use super::structure::Edge;
use super::table::Table;
use super::{Candidate, Labels, Method, Search, Spots};

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
    /// The automaton's states and transitions for Graphviz' `dot`, without a graph around them; names begin with `prefix`.
    /// `None` if there is no automaton.
    #[must_use]
    pub fn dot(&self, prefix: &str) -> Option<String> {
        self.search.as_ref().and_then(|search| search.dot(prefix))
    }
}

impl Candidate {
    /// As for [`Labels`].
    #[must_use]
    pub fn dot(&self, prefix: &str) -> Option<String> {
        self.search.dot(prefix)
    }
}

/// How many states and registers, or why there are none.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => f.write_str("fixed"),
            Self::Tdfa { states, registers } => write!(f, "tdfa: {states} states, {registers} registers"),
            Self::Simulation(excess) => write!(f, "simulation: {excess}"),
        }
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
    fn dot(&self, prefix: &str) -> Option<String> {
        match self {
            Self::Tdfa(table) => Some(table.dot(prefix)),
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
            self.edges(state)
                .try_for_each(|edge| write!(f, " {}→{}{}", edge.classes(), edge.to, edge.writes()))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Edge<'_> {
    fn classes(&self) -> String {
        let Self { first, last, .. } = self;
        if first == last { first.to_string() } else { format!("{first}..{last}") }
    }

    /// ` [r1=r0 r0=here]`
    fn writes(&self) -> String {
        let ops: Vec<String> = self.ops.iter().map(ToString::to_string).collect();
        if ops.is_empty() { String::new() } else { format!(" [{}]", ops.join(" ")) }
    }
}

impl Table {
    fn dot(&self, prefix: &str) -> String {
        let mut text = String::new();
        for state in 0..self.states() {
            let shape = if self.outcome(state).is_some() { ", peripheries=2" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{prefix}{state} [label=\"{state}{}\"{shape}];", self.name(state));
            for edge in self.edges(state) {
                let (to, label) = (edge.to, edge.classes() + &edge.writes());
                let _ = writeln!(text, "{prefix}{state} -> {prefix}{to} [label=\"{label}\"];");
            }
        }
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
}
