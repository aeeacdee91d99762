//! Which engine runs a group of rules: the first of six that fits, and a report of which and why.
//!
//! One small table on eight lanes is best; then one for whether any rule matches, if that one is small; then a larger one
//! of either kind; then a few for parts of the rules; then states made on demand; then simulation. The limits are arguments, so each engine can be had for any rules by taking the others away.

use super::engine::{Engine, Kind, Tables};
use super::lazy::Lazy;
use super::prefilter::{self, PIECES_MAX, Prefilter};
use super::screen::Screen;
use crate::dfa::{self, Dfa, Large, Nfa, SMALL_CELLS, Sightings, Small, TooMany, WIDE_STATES, Wide};
use crate::ir::Node;
use crate::resolved::RuleId;

/// What engines may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What building an automaton may need.
    pub dfa: dfa::Limits,
    /// States of the nondeterministic automaton that tables are built from.
    pub nfa_states: usize,
    /// States of a table of 16-bit numbers with a column a byte, at most [`WIDE_STATES`].
    pub wide_states: usize,
    /// Cells of a table of 16-bit numbers with a column a class, at most [`SMALL_CELLS`].
    pub small_cells: usize,
    /// Cells of a table of 32-bit numbers, and of all the tables of several groups.
    pub large_cells: usize,
    /// What building an automaton may need that is given up if a screen will do; no more than `dfa` allows.
    pub direct: dfa::Limits,
    /// Whether a table may ask first whether any rule matches.
    pub screens: Screens,
    /// Strings that a search may look for before the engine runs, at most [`PIECES_MAX`]; none is no search.
    pub pieces: usize,
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

/// Whether a table may ask first whether any rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screens {
    /// It may.
    Allowed,
    /// It may not: for tests of what comes after.
    Refused,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dfa: dfa::Limits::default(),
            nfa_states: 1 << 18,
            wide_states: WIDE_STATES,
            small_cells: SMALL_CELLS,
            large_cells: 1 << 20,
            direct: dfa::Limits { states: 8_192, transitions: 1 << 21, work: 1 << 22 },
            screens: Screens::Allowed,
            pieces: PIECES_MAX,
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
    /// One table for whether any rule matches, and another for which.
    Screen,
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
            Self::Screen => "screen",
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
    /// How many strings are looked for before it runs; 0 is no search. Where the CPU cannot search fast, it always runs.
    pub pieces: usize,
    /// Of each table, in the order of the rules; of a screen, what asks whether, then what asks which.
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
    // What follows a rule that matches everything never wins.
    let universal = rules.iter().position(|(_, node)| node.matches_all());
    let rules = &rules[..universal.map_or(rules.len(), |last| last + 1)];
    let (asked, otherwise) = match universal {
        Some(last) => (&rules[..last], Some(rules[last].0)),
        None => (rules, None),
    };
    let pieces = prefilter::pieces(asked, limits.pieces.min(PIECES_MAX)).unwrap_or_default();
    let mut choice = Choice { rules, asked, otherwise, limits, pieces: pieces.len(), given_up: None };
    let (kind, report) = choice.kind()?;
    Ok((Engine { prefilter: Prefilter::new(&pieces, otherwise), kind }, report))
}

/// What is decided about rules on the way down.
struct Choice<'r> {
    rules: &'r [(RuleId, &'r Node)],
    /// Without the last one, if that matches everything.
    asked: &'r [(RuleId, &'r Node)],
    otherwise: Option<RuleId>,
    limits: &'r Limits,
    pieces: usize,
    given_up: Option<TooMany>,
}

impl Choice<'_> {
    fn kind(&mut self) -> Result<(Kind, Report), TooMany> {
        if let Some(found) = self.one_table_or_screen() {
            return Ok(found);
        }
        let Limits { groups, arena_bytes, simulated_states, slow, .. } = *self.limits;
        for groups in 2..=groups.min(self.rules.len()) {
            if let Some((tables, sizes)) = grouped(self.rules, groups, self.limits) {
                return Ok((Kind::Groups(tables), self.report(Rung::Groups, sizes)));
            }
        }
        let nfa = Nfa::of_rules(self.rules, simulated_states)?;
        if let Some(lazy) = Lazy::new(nfa.clone(), arena_bytes) {
            return Ok((Kind::Lazy(Box::new(lazy)), self.report(Rung::Lazy, Vec::new())));
        }
        match slow {
            Slow::Allowed => Ok((Kind::Simulation(nfa), self.report(Rung::Simulation, Vec::new()))),
            Slow::Refused => Err(TooMany {
                states: nfa.len(),
                limit: 0,
                rules: self.rules.iter().map(|(rule, _)| *rule).collect(),
            }),
        }
    }

    fn report(&mut self, rung: Rung, tables: Vec<Size>) -> Report {
        Report { rung, pieces: self.pieces, tables, given_up: self.given_up.take() }
    }

    /// The first that fits of: a small table, a small screen, a large table, a large screen.
    fn one_table_or_screen(&mut self) -> Option<(Kind, Report)> {
        let screen = self.screen();
        let small = screen.as_ref().is_some_and(|(screen, _)| rung_of(&screen.any) == Rung::Small);
        let build = if small { self.limits.direct.within(&self.limits.dfa) } else { self.limits.dfa };
        let table = match automaton(self.rules, self.limits.nfa_states, &build) {
            Ok(dfa) => table(self.rules, &dfa, self.limits),
            Err(error) => {
                self.given_up = Some(error);
                None
            }
        };
        match (table, screen) {
            (Some((tables, _)), Some(screen)) if small && rung_of(&tables) == Rung::Large => {
                Some(self.screened(screen))
            }
            (Some((tables, size)), _) => {
                let report = self.report(rung_of(&tables), vec![size]);
                Some((Kind::Table(Box::new(tables)), report))
            }
            (None, Some(screen)) => Some(self.screened(screen)),
            (None, None) => None,
        }
    }

    fn screened(&mut self, (screen, sizes): (Screen, Vec<Size>)) -> (Kind, Report) {
        (Kind::Screen(Box::new(screen)), self.report(Rung::Screen, sizes))
    }

    /// If there is anything to tell apart, and both automata fit.
    fn screen(&self) -> Option<(Screen, Vec<Size>)> {
        let Limits { screens, nfa_states, dfa, large_cells, .. } = self.limits;
        if *screens == Screens::Refused || self.asked.len() < 2 {
            return None;
        }
        let any = Dfa::any_of(self.asked, *nfa_states, dfa).ok()?;
        let (any, any_size) = table(self.asked, &any, self.limits)?;
        let which = Sightings::new(self.asked, *nfa_states, dfa).ok()?;
        let which_size = Size {
            rules: self.asked.len(),
            states: which.states(),
            classes: which.classes().count(),
            cells: which.cells(),
            bytes: which.cells() * size_of::<u32>(),
        };
        (which.cells() <= *large_cells)
            .then(|| (Screen { any, which, otherwise: self.otherwise }, vec![any_size, which_size]))
    }
}

fn automaton(rules: &[(RuleId, &Node)], nfa_states: usize, limits: &dfa::Limits) -> Result<Dfa, TooMany> {
    Dfa::new(&Nfa::of_rules(rules, nfa_states)?, limits)
}

const fn rung_of(tables: &Tables) -> Rung {
    match tables {
        Tables::Wide(_) | Tables::Small(_) => Rung::Small,
        Tables::Large(_) => Rung::Large,
    }
}

fn table(rules: &[(RuleId, &Node)], dfa: &Dfa, limits: &Limits) -> Option<(Tables, Size)> {
    let size = |bytes| Size {
        rules: rules.len(),
        states: dfa.states(),
        classes: dfa.classes().count(),
        cells: dfa.cells(),
        bytes,
    };
    let wide = (dfa.states() <= limits.wide_states).then(|| Wide::new(dfa)).flatten();
    if let Some(wide) = wide {
        let bytes = wide.bytes();
        return Some((Tables::Wide(wide), size(bytes)));
    }
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
        let dfa = automaton(rules, limits.nfa_states, &limits.dfa).ok()?;
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
