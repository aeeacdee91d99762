//! An engine of any kind, behind one function, and the search before it.

use super::lanes::{self, BATCH_MAX};
use super::lazy::{Arena, Lazy};
use super::one;
use super::prefilter::{Prefilter, Rest};
use super::screen::Screen;
use super::simulate::{self, Walk};
use crate::dfa::{Large, Nfa, Small, Wide};
use crate::resolved::RuleId;

/// What runs some rules.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) prefilter: Option<Prefilter>,
    pub(super) kind: Kind,
}

/// What judges the packets that the search does not.
#[derive(Clone, Debug)]
pub enum Kind {
    /// One table.
    Table(Box<Tables>),
    /// A table for whether any rule matches, and another for which.
    Screen(Box<Screen>),
    /// Tables for groups of rules, in order: each is asked about what none before it matched.
    Groups(Vec<Tables>),
    /// States made on demand.
    Lazy(Box<Lazy>),
    /// No table at all.
    Simulation(Nfa),
}

/// A table of any layout.
#[derive(Clone, Debug)]
pub enum Tables {
    /// A small one, with a column a byte.
    Wide(Wide),
    /// One small table.
    Small(Small),
    /// One larger table.
    Large(Large),
}

/// What an engine writes while it runs; made once, for one engine.
#[derive(Clone, Debug)]
pub struct Scratch {
    rest: Rest,
    memory: Memory,
}

#[derive(Clone, Debug)]
enum Memory {
    /// Tables need none.
    None,
    /// The states made so far.
    Arena(Box<Arena>),
    /// The states under way.
    Walk(Box<Walk>),
}

impl Engine {
    /// What it is behind its search.
    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The memory that it needs to run.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        let memory = match &self.kind {
            Kind::Table(_) | Kind::Screen(_) | Kind::Groups(_) => Memory::None,
            Kind::Lazy(lazy) => Memory::Arena(Box::new(lazy.arena())),
            Kind::Simulation(nfa) => Memory::Walk(Box::new(Walk::new(nfa))),
        };
        Scratch { rest: Rest::default(), memory }
    }

    /// Which rule wins, for each packet; as many verdicts as packets.
    pub fn judge(&self, scratch: &mut Scratch, packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
        let Scratch { rest, memory } = scratch;
        for (packets, verdicts) in packets.chunks(BATCH_MAX).zip(verdicts.chunks_mut(BATCH_MAX)) {
            let count = u32::try_from(packets.len()).unwrap_or(u32::MAX);
            match &self.prefilter {
                Some(prefilter) if !rest.rests(count) => {
                    let mut open = Open::default();
                    for (index, packet) in packets.iter().enumerate() {
                        match prefilter.passes(packet) {
                            Ok(()) => open.push(index, packet),
                            Err(verdict) => verdicts[index] = verdict,
                        }
                    }
                    open.judged_by(verdicts, |packets, found| self.kind.judge(memory, packets, found));
                    rest.searched(count, u32::try_from(open.count).unwrap_or(u32::MAX));
                }
                _ => self.kind.judge(memory, packets, verdicts),
            }
        }
    }
}

impl Kind {
    /// At most [`BATCH_MAX`] packets.
    fn judge(&self, memory: &mut Memory, packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
        match (self, memory) {
            (Self::Table(table), _) => table.judge(packets, verdicts),
            (Self::Screen(screen), _) => screen.judge(packets, verdicts),
            (Self::Groups(groups), _) => judge_groups(groups, packets, verdicts),
            (Self::Lazy(lazy), Memory::Arena(arena)) => lazy.judge(arena, packets, verdicts),
            (Self::Simulation(nfa), Memory::Walk(walk)) => {
                for (packet, verdict) in packets.iter().zip(verdicts) {
                    *verdict = simulate::verdict(nfa, walk, packet);
                }
            }
            _ => unreachable!("scratch memory is made by the engine that it is used with"),
        }
    }
}

impl Tables {
    /// Which rule wins for one packet, on one lane.
    #[must_use]
    pub fn one(&self, packet: &[u8]) -> Option<RuleId> {
        match self {
            Self::Wide(table) => one::verdict(table, packet),
            Self::Small(table) => one::verdict(table, packet),
            Self::Large(table) => one::verdict(table, packet),
        }
    }

    pub(super) fn judge(&self, packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
        match self {
            Self::Wide(table) => lanes::judge(table, packets, verdicts),
            Self::Small(table) => lanes::judge(table, packets, verdicts),
            Self::Large(table) => lanes::judge(table, packets, verdicts),
        }
    }
}

/// Rules of a later group can only win where no earlier group has a match.
fn judge_groups(groups: &[Tables], packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
    verdicts.fill(None);
    for group in groups {
        let mut open = Open::default();
        for (index, packet) in packets.iter().enumerate().filter(|(index, _)| verdicts[*index].is_none()) {
            open.push(index, packet);
        }
        open.judged_by(verdicts, |packets, found| group.judge(packets, found));
    }
}

/// Those packets of a batch that have no verdict yet.
struct Open<'p> {
    packets: [&'p [u8]; BATCH_MAX],
    owners: [usize; BATCH_MAX],
    count: usize,
}

impl Default for Open<'_> {
    fn default() -> Self {
        Self { packets: [&[]; BATCH_MAX], owners: [0; BATCH_MAX], count: 0 }
    }
}

impl<'p> Open<'p> {
    fn push(&mut self, owner: usize, packet: &'p [u8]) {
        (self.packets[self.count], self.owners[self.count]) = (packet, owner);
        self.count += 1;
    }

    /// Verdicts go to where the packets stood.
    fn judged_by(
        &self,
        verdicts: &mut [Option<RuleId>],
        judge: impl FnOnce(&[&[u8]], &mut [Option<RuleId>]),
    ) {
        let mut found = [None; BATCH_MAX];
        judge(&self.packets[..self.count], &mut found[..self.count]);
        for (owner, verdict) in self.owners[..self.count].iter().zip(&found) {
            verdicts[*owner] = *verdict;
        }
    }
}
