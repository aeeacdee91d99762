//! An automaton as text: its byte classes, then a line a state.
//!
//! The text is stable and for people; nothing reads it back.

use std::fmt;

use super::{Dfa, Nfa, State};

/// `7 rule 3: 0..2→7 3→4`: a state, who wins if the input ends there, and where classes lead. `8 none, jump 12→7`: which of
/// the next 12 bytes stand there does not matter.
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
            if state < self.special as usize {
                self.show_row(f, state)?;
            } else if let Some(jump) = self.jumps.get(state - self.special as usize) {
                write!(f, ", jump {}→{}", jump.bytes, jump.to)?;
            } else {
                write!(f, "{}", if self.accepts[state].is_some() { ", decided" } else { ", dead" })?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Dfa {
    fn show_row(&self, f: &mut fmt::Formatter<'_>, state: usize) -> fmt::Result {
        write!(f, ":")?;
        let row = self.row(state);
        let mut class = 0;
        while class < row.len() {
            let same = row[class..].iter().take_while(|next| **next == row[class]).count();
            match same {
                1 => write!(f, " {class}→{}", row[class])?,
                _ => write!(f, " {class}..{}→{}", class + same - 1, row[class])?,
            }
            class += same;
        }
        Ok(())
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
