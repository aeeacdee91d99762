//! The oracle: what a filter makes of a packet, found by trying every way, preferred ones first.
//!
//! It is what engines are judged by, so it shares nothing with them but the resolved tree, not even how a field is
//! read. It takes exponential time where a pattern asks for it; it counts its steps and gives up, which is told, and
//! never guesses. Its stack does not grow with the packet or the pattern: what is left to do, and what is left to try,
//! are lists.

use std::ops::Range;
use std::rc::Rc;

use crate::resolved::{Allowed, Counter, Field, Filter, LabelId, Order, Pattern, Rule, RuleId, Test};

/// How many steps one packet may take.
pub const STEPS_MAX: u64 = 10_000_000;

/// The rule that wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The first in source order that matches the whole packet.
    pub rule: RuleId,
    /// By [`LabelId`]: the bytes that the preferred way binds; `None` where that way leads through no such label.
    pub labels: Vec<Option<Range<usize>>>,
}

/// There are too many ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the oracle gave up after {limit} steps")]
pub struct GivesUp {
    /// How many steps were allowed, and taken.
    pub limit: u64,
}

/// What a filter says of a packet; `None`: no rule matches.
///
/// # Errors
/// If that takes more than [`STEPS_MAX`] steps.
pub fn judge(filter: &Filter, packet: &[u8]) -> Result<Option<Match>, GivesUp> {
    let mut steps = STEPS_MAX;
    for (id, rule) in (0..=u16::MAX).map(RuleId).zip(&filter.rules) {
        if let Some(labels) = matches(rule, packet, &mut steps)? {
            return Ok(Some(Match { rule: id, labels }));
        }
    }
    Ok(None)
}

type Labels = Vec<Option<Range<usize>>>;

/// Something that must match where the way has come to.
#[derive(Clone, Copy)]
enum Task<'p> {
    /// This.
    Pattern(&'p Pattern),
    /// These, one after the other.
    Items(&'p [Pattern]),
    /// One of these, the first preferred.
    Arms(&'p [Pattern]),
    /// So many of these, as few as possible.
    Again { body: &'p Pattern, least: u32, most: Option<u32> },
    /// One of these, and then again.
    Once { body: &'p Pattern, least: u32, most: Option<u32> },
    /// Nothing; the label that began there ends here.
    End { label: LabelId, begin: usize },
}

/// What must match behind: a list that ways share.
type Then<'p> = Option<Rc<Link<'p>>>;

struct Link<'p> {
    task: Task<'p>,
    then: Then<'p>,
}

/// A way that was not gone, and where it leaves the one that was.
struct Choice<'p> {
    task: Task<'p>,
    then: Then<'p>,
    at: usize,
    bound: usize,
    counted: usize,
}

/// The way that is being gone.
struct Way<'p> {
    packet: &'p [u8],
    at: usize,
    then: Then<'p>,
    /// What labels bind; what is bound again later on the way counts.
    bound: Vec<(LabelId, Range<usize>)>,
    /// What counting fields hold.
    counted: Vec<(Counter, u64)>,
    /// Less and less preferred from the last to the first.
    choices: Vec<Choice<'p>>,
}

/// The labels of the preferred way, if there is any.
fn matches(rule: &Rule, packet: &[u8], steps: &mut u64) -> Result<Option<Labels>, GivesUp> {
    let (bound, counted, choices) = (Vec::new(), Vec::new(), Vec::new());
    let mut way = Way { packet, at: 0, then: None, bound, counted, choices };
    let mut task = Some(Task::Pattern(&rule.pattern));
    loop {
        *steps = steps.checked_sub(1).ok_or(GivesUp { limit: STEPS_MAX })?;
        let goes_on = match task {
            Some(task) => way.step(task).is_some(),
            None if way.at == packet.len() => return Ok(Some(way.labels(rule.labels.len()))),
            None => false,
        };
        task = match goes_on {
            true => way.next(),
            false => match way.back() {
                Some(task) => Some(task),
                None => return Ok(None),
            },
        };
    }
}

impl<'p> Way<'p> {
    /// Does one task, or puts what it consists of before the others; `None` if it does not match here.
    fn step(&mut self, task: Task<'p>) -> Option<()> {
        match task {
            Task::Pattern(pattern) => self.pattern(pattern)?,
            Task::Items([]) => {}
            Task::Items([first, behind @ ..]) => {
                self.first(Task::Items(behind));
                self.first(Task::Pattern(first));
            }
            Task::Arms([]) => return None,
            Task::Arms([first, others @ ..]) => {
                self.or_else(Task::Arms(others), self.at);
                self.first(Task::Pattern(first));
            }
            Task::Again { body, least: 0, most } => {
                self.or_else(Task::Once { body, least: 0, most }, self.at);
            }
            Task::Again { body, least, most } | Task::Once { body, least, most } => {
                let most = match most {
                    Some(most) => Some(most.checked_sub(1)?),
                    None => None,
                };
                self.first(Task::Again { body, least: least.saturating_sub(1), most });
                self.first(Task::Pattern(body));
            }
            Task::End { label, begin } => self.bound.push((label, begin..self.at)),
        }
        Some(())
    }

    fn pattern(&mut self, pattern: &'p Pattern) -> Option<()> {
        match pattern {
            Pattern::Run(fields) => self.run(fields)?,
            Pattern::Any => {
                // Nothing, or else one byte more.
                if self.at < self.packet.len() {
                    self.or_else(Task::Pattern(pattern), self.at + 1);
                }
            }
            Pattern::Seq(items) => self.first(Task::Items(items)),
            Pattern::Alt(arms) => self.first(Task::Arms(arms)),
            Pattern::Repeat { body, least, most } => {
                self.first(Task::Again { body, least: *least, most: *most });
            }
            Pattern::Counted { field, times, plus } => {
                let (_, value) = self.counted.iter().rev().find(|(counter, _)| counter == field)?;
                let bytes = i128::from(*value) * i128::from(*times) + i128::from(*plus);
                self.skip(usize::try_from(bytes).ok()?)?;
            }
            Pattern::Label(label, body) => {
                self.first(Task::End { label: *label, begin: self.at });
                self.first(Task::Pattern(body));
            }
        }
        Some(())
    }

    fn run(&mut self, fields: &[Field]) -> Option<()> {
        let mut bits =
            self.packet[self.at..].iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
        let mut read = 0;
        for field in fields {
            let mut number = 0;
            for _ in 0..field.bits {
                number = number << 1 | u64::from(bits.next()?);
            }
            if !field.all_of.iter().all(|allowed| allows(allowed, number, field.bits)) {
                return None;
            }
            self.counted.extend(field.counts.map(|counter| (counter, number)));
            read += usize::from(field.bits);
        }
        self.skip(read / 8)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= self.packet.len())?;
        Some(())
    }

    /// Before everything else that must match behind.
    fn first(&mut self, task: Task<'p>) {
        self.then = Some(Rc::new(Link { task, then: self.then.take() }));
    }

    /// If the way fails from here on, this is tried there.
    fn or_else(&mut self, task: Task<'p>, at: usize) {
        let (bound, counted) = (self.bound.len(), self.counted.len());
        self.choices.push(Choice { task, then: self.then.clone(), at, bound, counted });
    }

    fn next(&mut self) -> Option<Task<'p>> {
        let link = self.then.take()?;
        self.then = link.then.clone();
        Some(link.task)
    }

    /// To the way that is preferred among those left.
    fn back(&mut self) -> Option<Task<'p>> {
        let choice = self.choices.pop()?;
        self.at = choice.at;
        self.then = choice.then;
        self.bound.truncate(choice.bound);
        self.counted.truncate(choice.counted);
        Some(choice.task)
    }

    fn labels(self, count: usize) -> Labels {
        let mut labels = vec![None; count];
        for (LabelId(label), bytes) in self.bound {
            if let Some(slot) = labels.get_mut(usize::from(label)) {
                *slot = Some(bytes);
            }
        }
        labels
    }
}

fn allows(allowed: &Allowed, number: u64, bits: u8) -> bool {
    match allowed {
        Allowed::AnyOf(tests) => tests.iter().any(|test| holds(test, number, bits)),
        Allowed::NoneOf(tests) => tests.iter().all(|test| !holds(test, number, bits)),
    }
}

fn holds(test: &Test, number: u64, bits: u8) -> bool {
    let mut number = number;
    if test.order == Order::Little {
        let mut turned = 0;
        for _ in 0..bits / 8 {
            (turned, number) = (turned << 8 | number & 0xff, number >> 8);
        }
        number = turned;
    }
    let number = number & test.mask;
    test.first <= number && number <= test.last
}

#[cfg(test)]
mod tests;
