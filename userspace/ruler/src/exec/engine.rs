//! An engine of any kind, behind one function.

use super::lanes::{self, BATCH_MAX};
use super::lazy::{Arena, Lazy};
use super::simulate::{self, Walk};
use crate::dfa::{Large, Nfa, Small};
use crate::resolved::RuleId;

/// What runs some rules.
#[derive(Clone, Debug)]
pub enum Engine {
    /// One small table.
    Small(Small),
    /// One larger table.
    Large(Large),
    /// Tables for groups of rules, in order: each is asked about what none before it matched.
    Groups(Vec<Tables>),
    /// States made on demand.
    Lazy(Box<Lazy>),
    /// No table at all.
    Simulation(Nfa),
}

/// A table of either size.
#[derive(Clone, Debug)]
pub enum Tables {
    /// One small table.
    Small(Small),
    /// One larger table.
    Large(Large),
}

/// What an engine writes while it runs; made once, for one engine.
#[derive(Clone, Debug)]
pub enum Scratch {
    /// Tables need none.
    None,
    /// The states made so far.
    Arena(Box<Arena>),
    /// The states under way.
    Walk(Box<Walk>),
}

impl Engine {
    /// The memory that it needs to run.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        match self {
            Self::Small(_) | Self::Large(_) | Self::Groups(_) => Scratch::None,
            Self::Lazy(lazy) => Scratch::Arena(Box::new(lazy.arena())),
            Self::Simulation(nfa) => Scratch::Walk(Box::new(Walk::new(nfa))),
        }
    }

    /// Which rule wins, for each packet; as many verdicts as packets.
    pub fn judge(&self, scratch: &mut Scratch, packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
        match (self, scratch) {
            (Self::Small(table), _) => lanes::judge(table, packets, verdicts),
            (Self::Large(table), _) => lanes::judge(table, packets, verdicts),
            (Self::Groups(groups), _) => {
                for (packets, verdicts) in packets.chunks(BATCH_MAX).zip(verdicts.chunks_mut(BATCH_MAX)) {
                    judge_groups(groups, packets, verdicts);
                }
            }
            (Self::Lazy(lazy), Scratch::Arena(arena)) => lazy.judge(arena, packets, verdicts),
            (Self::Simulation(nfa), Scratch::Walk(walk)) => {
                for (packet, verdict) in packets.iter().zip(verdicts) {
                    *verdict = simulate::verdict(nfa, walk, packet);
                }
            }
            _ => unreachable!("scratch memory is made by the engine that it is used with"),
        }
    }
}

impl Tables {
    fn judge(&self, packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
        match self {
            Self::Small(table) => lanes::judge(table, packets, verdicts),
            Self::Large(table) => lanes::judge(table, packets, verdicts),
        }
    }
}

/// At most [`BATCH_MAX`] packets. Rules of a later group can only win where no earlier group has a match.
fn judge_groups(groups: &[Tables], packets: &[&[u8]], verdicts: &mut [Option<RuleId>]) {
    verdicts.fill(None);
    let mut open: [&[u8]; BATCH_MAX] = [&[]; BATCH_MAX];
    let mut owners = [0; BATCH_MAX];
    let mut found = [None; BATCH_MAX];
    for group in groups {
        let mut count = 0;
        for (index, packet) in packets.iter().enumerate().filter(|(index, _)| verdicts[*index].is_none()) {
            (open[count], owners[count]) = (packet, index);
            count += 1;
        }
        group.judge(&open[..count], &mut found[..count]);
        for (owner, verdict) in owners[..count].iter().zip(&found) {
            verdicts[*owner] = *verdict;
        }
    }
}
