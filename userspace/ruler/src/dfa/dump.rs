//! An automaton as text: its byte classes, then a line a state.
//!
//! The text is stable and for people; nothing reads it back.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use super::{Dfa, Nfa, Skip, State, structure::Run};
use crate::ir::ByteSet;

/// `7 rule 3: 0..2→7 3→4`: a state, who wins if the input ends there, and where classes lead. `8 none, jump 12→7`: which of
/// the next 12 bytes stand there does not matter. `9 none, waits: 0→9 1→3`: one byte leads on.
impl fmt::Display for Dfa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (class, set) in self.classes.sets().iter().enumerate() {
            writeln!(f, "class {class} {set:?}")?;
        }
        for state in 0..self.states() {
            write!(f, "{state}")?;
            if state == self.start as usize {
                write!(f, " start")?;
            }
            match self.accepts[state] {
                Some(rule) => write!(f, " rule {}", rule.0)?,
                None => write!(f, " none")?,
            }
            let special = state.checked_sub(self.special as usize);
            match special.map(|special| self.skips.get(special)) {
                None => self.show_row(f, state)?,
                Some(Some(Skip::Over { bytes, to })) => write!(f, ", jump {bytes}→{to}")?,
                Some(Some(Skip::Until(_))) => {
                    write!(f, ", waits")?;
                    self.show_row(f, state)?;
                }
                Some(None) if self.accepts[state].is_some() => write!(f, ", decided")?,
                Some(None) => write!(f, ", dead")?,
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Dfa {
    /// Its states and transitions for Graphviz' `dot`, without a graph around them; names begin with `prefix`.
    #[must_use]
    pub fn dot(&self, prefix: &str) -> String {
        let mut text = String::new();
        for (state, accepts) in self.accepts.iter().enumerate() {
            let (shape, rule) = match accepts {
                Some(rule) => ("doublecircle", format!("\\nrule {}", rule.0)),
                None => ("circle", String::new()),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{prefix}{state} [shape={shape}, label=\"{state}{rule}\"];");
            if (self.settled as usize) <= state {
                continue;
            }
            let mut edges: BTreeMap<u32, ByteSet> = BTreeMap::new();
            for (next, set) in self.row(state).iter().zip(self.classes.sets()) {
                let edge = edges.entry(*next).or_insert(set);
                *edge = edge.or(&set);
            }
            for (next, set) in edges {
                let set = format!("{set:?}").replace('\\', "\\\\").replace('"', "\\\"");
                let _ = writeln!(text, "{prefix}{state} -> {prefix}{next} [label=\"{set}\"];");
            }
        }
        text
    }

    fn show_row(&self, f: &mut fmt::Formatter<'_>, state: usize) -> fmt::Result {
        write!(f, ":")?;
        self.runs(state).try_for_each(|Run { first, last, to }| match first == last {
            true => write!(f, " {first}→{to}"),
            false => write!(f, " {first}..{last}→{to}"),
        })
    }
}

/// A line a state, in order of ids.
impl fmt::Display for Nfa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rule, start) in self.rules() {
            writeln!(f, "rule {} starts at {}", rule.0, start.index())?;
        }
        for (id, state) in self.states().enumerate() {
            write!(f, "{id} ")?;
            match state {
                State::Bytes(set, next) => writeln!(f, "{set:?} → {}", next.index())?,
                State::Tag(tag, next) => writeln!(f, "{tag} → {}", next.index())?,
                State::Accept(rule) => writeln!(f, "rule {}", rule.0)?,
                State::Split(arms) => {
                    let arms: Vec<String> = arms.iter().map(|arm| arm.index().to_string()).collect();
                    writeln!(f, "→ {}", arms.join(" | "))?;
                }
            }
        }
        Ok(())
    }
}
