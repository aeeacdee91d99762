//! Which engine runs a group of rules: the first of five that fits, and a report of which and why.
//!
//! One table on eight lanes is best; then a larger one; then a few for parts of the rules; then states made on demand; then
//! simulation. The limits are arguments, so each engine can be had for any rules by taking the others away.

use super::engine::{Engine, Tables};
use super::lazy::Lazy;
use crate::dfa::{self, Dfa, Large, Nfa, SMALL_CELLS, Small, TooMany};
use crate::ir::Node;
use crate::resolved::RuleId;

/// What engines may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What building an automaton may need.
    pub dfa: dfa::Limits,
    /// States of the nondeterministic automaton that tables are built from.
    pub nfa_states: usize,
    /// Cells of a table of 16-bit numbers, at most [`SMALL_CELLS`].
    pub small_cells: usize,
    /// Cells of a table of 32-bit numbers, and of all the tables of several groups.
    pub large_cells: usize,
    /// Groups that rules may be split into.
    pub groups: usize,
    /// The arena of an automaton that is made on demand.
    pub arena_bytes: usize,
    /// States of an automaton that is simulated, or made on demand.
    pub simulated_states: usize,
    /// Whether simulation alone is good enough.
    pub slow: Slow,
}

/// Whether rules may run by simulation alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// They are refused.
    Refused,
    /// The operator wants them anyway.
    Allowed,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dfa: dfa::Limits::default(),
            nfa_states: 1 << 18,
            small_cells: SMALL_CELLS,
            large_cells: 1 << 20,
            groups: 4,
            arena_bytes: 8 << 20,
            simulated_states: 16_384,
            slow: Slow::Refused,
        }
    }
}

/// Which kind of engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// One table of 16-bit numbers.
    Small,
    /// One table of 32-bit numbers.
    Large,
    /// A table for each of several groups of rules.
    Groups,
    /// States made on demand.
    Lazy,
    /// Simulation.
    Simulation,
}

impl Rung {
    /// As reports say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small table",
            Self::Large => "large table",
            Self::Groups => "groups",
            Self::Lazy => "on demand",
            Self::Simulation => "simulation",
        }
    }

    /// Whether the rules run slower than a table would, which the operator is told.
    #[must_use]
    pub const fn is_degraded(self) -> bool {
        matches!(self, Self::Lazy | Self::Simulation)
    }
}

/// What became of a group of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which engine it is.
    pub rung: Rung,
    /// Of each table, in the order of the rules.
    pub tables: Vec<Size>,
    /// Why it is no better one, if building a table of all rules was given up.
    pub given_up: Option<TooMany>,
}

/// How large a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// How many rules it is for.
    pub rules: usize,
    /// Its states.
    pub states: usize,
    /// Its byte classes.
    pub classes: usize,
    /// Its cells.
    pub cells: usize,
    /// The memory of its cells.
    pub bytes: usize,
}

/// The engine of some rules, which are in order.
///
/// # Errors
/// If none fits, or only one that is refused.
pub fn build(rules: &[(RuleId, &Node)], limits: &Limits) -> Result<(Engine, Report), TooMany> {
    let given_up = match automaton(rules, limits) {
        Ok(dfa) => match one_table(rules, &dfa, limits) {
            Some((engine, rung, size)) => {
                return Ok((engine, Report { rung, tables: vec![size], given_up: None }));
            }
            None => None,
        },
        Err(error) => Some(error),
    };
    for groups in 2..=limits.groups.min(rules.len()) {
        if let Some((tables, sizes)) = grouped(rules, groups, limits) {
            return Ok((Engine::Groups(tables), Report { rung: Rung::Groups, tables: sizes, given_up }));
        }
    }
    let nfa = Nfa::of_rules(rules, limits.simulated_states)?;
    let report = |rung| Report { rung, tables: Vec::new(), given_up: given_up.clone() };
    if let Some(lazy) = Lazy::new(nfa.clone(), limits.arena_bytes) {
        return Ok((Engine::Lazy(Box::new(lazy)), report(Rung::Lazy)));
    }
    match limits.slow {
        Slow::Allowed => Ok((Engine::Simulation(nfa), report(Rung::Simulation))),
        Slow::Refused => {
            Err(TooMany { states: nfa.len(), limit: 0, rules: rules.iter().map(|(rule, _)| *rule).collect() })
        }
    }
}

fn automaton(rules: &[(RuleId, &Node)], limits: &Limits) -> Result<Dfa, TooMany> {
    Dfa::new(&Nfa::of_rules(rules, limits.nfa_states)?, &limits.dfa)
}

fn one_table(rules: &[(RuleId, &Node)], dfa: &Dfa, limits: &Limits) -> Option<(Engine, Rung, Size)> {
    let (tables, size) = table(rules, dfa, limits)?;
    Some(match tables {
        Tables::Small(small) => (Engine::Small(small), Rung::Small, size),
        Tables::Large(large) => (Engine::Large(large), Rung::Large, size),
    })
}

fn table(rules: &[(RuleId, &Node)], dfa: &Dfa, limits: &Limits) -> Option<(Tables, Size)> {
    let size = |bytes| Size {
        rules: rules.len(),
        states: dfa.states(),
        classes: dfa.classes().count(),
        cells: dfa.cells(),
        bytes,
    };
    let small = (dfa.cells() <= limits.small_cells).then(|| Small::new(dfa)).flatten();
    if let Some(small) = small {
        return Some((Tables::Small(small), size(SMALL_CELLS * size_of::<u16>())));
    }
    (dfa.cells() <= limits.large_cells).then(|| {
        let large = Large::new(dfa);
        let bytes = large.bytes();
        (Tables::Large(large), size(bytes))
    })
}

/// A table for each of so many groups of neighbouring rules; `None` if one of them, or all together, are too large.
fn grouped(rules: &[(RuleId, &Node)], groups: usize, limits: &Limits) -> Option<(Vec<Tables>, Vec<Size>)> {
    let mut built = (Vec::new(), Vec::new());
    let mut cells = 0;
    for rules in rules.chunks(rules.len().div_ceil(groups)) {
        let dfa = automaton(rules, limits).ok()?;
        cells += dfa.cells();
        if cells > limits.large_cells {
            return None;
        }
        let (tables, size) = table(rules, &dfa, limits)?;
        built.0.push(tables);
        built.1.push(size);
    }
    Some(built)
}

#[cfg(test)]
mod tests;
