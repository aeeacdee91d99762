//! Programs: ordered stages that a group of packets is advanced through in lockstep, one lane a packet.
//!
//! ```text
//!            lane 0    1    2  …  7
//!  stage A   issue  issue  issue  issue      eight memory references under way at once
//!            step   step   step   step       each finds its line in the cache
//!  stage B   issue  issue  issue  issue
//!            step   step   step   step
//! ```
//!
//! A microengine of the IXP2xxx hid memory latency by swapping among eight hardware contexts. Here the swap is a
//! change of lane, and its price is that all lanes stand in the same stage: a packet that is finished early leaves
//! its lane empty. What a lane needs in its next stage is in its context, never on the stack.
//!
//! A context of the IXP ran on until its next memory reference. So does a packet here: where no stage but the first
//! fetches anything, each goes through all of them at once, and what they hand on stays in registers.
//!
//! A program refuses to know where packets come from or go to: it returns one [`Verdict`] for each.
use std::os::fd::BorrowedFd;

use region::prefetch;

use crate::{
    clock::Nanos,
    counter::{Counter, Loss},
    frame::Frame,
    ledger::Ledger,
    port::PortId,
    stacks::{Crossings, Stacks},
    tables::Snapshot,
};

/// Lanes of a program unless it asks for another number.
pub const LANES: usize = 8;

/// What is to become of a packet. Every packet gets exactly one that is not [`Verdict::Next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not decided yet: the next stage goes on. At the end of a program: no stage served it.
    Next,
    /// A local consumer took it.
    Deliver,
    /// Send the frame.
    Transmit(Out),
    /// Drop it, for this reason.
    Drop(Loss),
}

/// By which port a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// By the one it came from.
    Back,
    /// By this one.
    Port(PortId),
}

/// What is the same for all packets of a batch.
pub struct Env<'a> {
    /// When the batch began.
    pub now: Nanos,
    /// The tables in force.
    pub snapshot: &'a Snapshot,
    /// The engine's counters.
    pub ledger: &'a Ledger,
}

impl Env<'_> {
    /// Counts a remark about a packet of `port`; outcomes are counted by the engine.
    #[inline]
    pub fn note(&self, port: PortId, counter: Counter) {
        self.ledger.add(port, counter, 1);
    }
}

/// One step of a program. `C` is the context: what a packet carries from stage to stage.
pub trait Stage<C>: Send {
    /// Whether [`Stage::issue`] names anything, ever: a packet does not wait for its neighbours before a stage that
    /// fetches nothing.
    const FETCHES: bool;

    /// The address that [`Stage::step`] will read first, if it is worth fetching ahead.
    ///
    /// Called for every lane of a group before `step` is called for any. It must not read what it names.
    fn issue(&self, _frame: &Frame, _context: &C, _env: &Env<'_>) -> Option<*const u8> {
        None
    }

    /// Does the stage's work on one packet.
    fn step(&mut self, frame: &mut Frame, context: &mut C, env: &Env<'_>) -> Verdict;

    /// The applications that the stage serves, if it is the one that does.
    fn stacks(&mut self) -> Option<&mut Stacks> {
        None
    }

    /// Readable once one of them rang.
    fn bells(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// An ordered list of stages, as nested pairs: `(first, (second, ()))`.
///
/// Pairs instead of a list of trait objects: the whole program is compiled as one, and a stage costs no call.
pub trait Stages<C>: Send {
    /// Whether one of them fetches.
    const FETCHES: bool;

    /// Carries a group to its end, one verdict for each packet, with as many of `lanes` as that takes. There are no
    /// fewer lanes than packets.
    fn carry(
        &mut self,
        frames: &mut [Frame],
        lanes: &mut [Lane<C>],
        verdicts: &mut Vec<Verdict>,
        env: &Env<'_>,
    );

    /// Advances a group through all stages, all lanes in one stage. `frames` and `lanes` are of equal length.
    fn advance(&mut self, frames: &mut [Frame], lanes: &mut [Lane<C>], env: &Env<'_>);

    /// Takes one packet through all stages to its end: the verdict is never [`Verdict::Next`].
    fn pass(&mut self, frame: &mut Frame, context: &mut C, env: &Env<'_>) -> Verdict;

    /// See [`Stage::stacks`].
    fn stacks(&mut self) -> Option<&mut Stacks>;

    /// See [`Stage::bells`].
    fn bells(&self) -> Option<BorrowedFd<'_>>;
}

/// The state of one packet on its way through a program.
#[derive(Clone, Copy, Debug)]
pub struct Lane<C> {
    pub(crate) context: C,
    pub(crate) verdict: Verdict,
}

impl<C: Default> Default for Lane<C> {
    fn default() -> Self {
        Self { context: C::default(), verdict: Verdict::Next }
    }
}

impl<C> Lane<C> {
    /// The verdict at the end of a program.
    pub(crate) const fn end(&self) -> Verdict {
        self.verdict.end()
    }
}

impl Verdict {
    /// What this one means at the end of a program.
    #[inline(always)]
    const fn end(self) -> Self {
        match self {
            Self::Next => Self::Drop(const { Loss::of(Counter::RxNoStage) }),
            verdict => verdict,
        }
    }
}

/// Advances a group through one stage.
#[inline(always)]
pub(crate) fn together<C, S: Stage<C>>(
    stage: &mut S,
    frames: &mut [Frame],
    lanes: &mut [Lane<C>],
    env: &Env<'_>,
) {
    for (frame, lane) in frames.iter().zip(lanes.iter()) {
        if matches!(lane.verdict, Verdict::Next)
            && let Some(address) = stage.issue(frame, &lane.context, env)
        {
            prefetch::read(address);
        }
    }
    for (frame, lane) in frames.iter_mut().zip(lanes.iter_mut()) {
        if matches!(lane.verdict, Verdict::Next) {
            lane.verdict = stage.step(frame, &mut lane.context, env);
        }
    }
}

impl<C> Stages<C> for () {
    const FETCHES: bool = false;

    #[inline(always)]
    fn carry(&mut self, frames: &mut [Frame], _: &mut [Lane<C>], verdicts: &mut Vec<Verdict>, _: &Env<'_>) {
        verdicts.extend(frames.iter().map(|_| Verdict::Next.end()));
    }

    #[inline(always)]
    fn advance(&mut self, _: &mut [Frame], _: &mut [Lane<C>], _: &Env<'_>) {}

    #[inline(always)]
    fn pass(&mut self, _: &mut Frame, _: &mut C, _: &Env<'_>) -> Verdict {
        Verdict::Next.end()
    }

    fn stacks(&mut self) -> Option<&mut Stacks> {
        None
    }

    fn bells(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl<C: Default, S: Stage<C>, T: Stages<C>> Stages<C> for (S, T) {
    const FETCHES: bool = S::FETCHES || T::FETCHES;

    #[inline(always)]
    fn carry(
        &mut self,
        frames: &mut [Frame],
        lanes: &mut [Lane<C>],
        verdicts: &mut Vec<Verdict>,
        env: &Env<'_>,
    ) {
        if T::FETCHES {
            let (lanes, _) = lanes.split_at_mut(frames.len());
            for lane in lanes.iter_mut() {
                *lane = Lane::default();
            }
            self.advance(frames, lanes, env);
            verdicts.extend(lanes.iter().map(Lane::end));
            return;
        }
        let fresh = C::default();
        for address in frames.iter().filter_map(|frame| self.0.issue(frame, &fresh, env)) {
            prefetch::read(address);
        }
        verdicts.extend(frames.iter_mut().map(|frame| self.pass(frame, &mut C::default(), env)));
    }

    #[inline(always)]
    fn advance(&mut self, frames: &mut [Frame], lanes: &mut [Lane<C>], env: &Env<'_>) {
        let (first, others) = self;
        together(first, frames, lanes, env);
        others.advance(frames, lanes, env);
    }

    #[inline(always)]
    fn pass(&mut self, frame: &mut Frame, context: &mut C, env: &Env<'_>) -> Verdict {
        let (first, others) = self;
        match first.step(frame, context, env) {
            Verdict::Next => others.pass(frame, context, env),
            verdict => verdict,
        }
    }

    fn stacks(&mut self) -> Option<&mut Stacks> {
        let (first, others) = self;
        first.stacks().or_else(|| others.stacks())
    }

    fn bells(&self) -> Option<BorrowedFd<'_>> {
        let (first, others) = self;
        first.bells().or_else(|| others.bells())
    }
}

/// What an engine runs on each batch.
pub trait Program: Send {
    /// Carries `frames` to their ends and appends one verdict for each to `verdicts`, in order.
    ///
    /// No verdict is [`Verdict::Next`].
    fn run(&mut self, frames: &mut [Frame], verdicts: &mut Vec<Verdict>, env: &Env<'_>);

    /// Judges packets from application to application by the filters of those they go to, where it has filters.
    fn judge(&mut self, _crossings: &mut Crossings, _env: &Env<'_>) {}

    /// The applications that it serves; none if it serves none.
    fn stacks(&mut self) -> Option<&mut Stacks> {
        None
    }

    /// Readable once one of them rang.
    fn bells(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Stages compiled for `N` lanes.
pub struct Lockstep<const N: usize, C, S> {
    stages: S,
    lanes: [Lane<C>; N],
}

impl<const N: usize, C: Default, S: Stages<C>> Lockstep<N, C, S> {
    /// `stages` for `N` packets at a time.
    #[must_use]
    pub fn new(stages: S) -> Self {
        const { assert!(0 < N, "a program needs a lane") };
        Self { stages, lanes: std::array::from_fn(|_| Lane::default()) }
    }
}

impl<const N: usize, C: Default + Send, S: Stages<C>> Program for Lockstep<N, C, S> {
    fn run(&mut self, frames: &mut [Frame], verdicts: &mut Vec<Verdict>, env: &Env<'_>) {
        let Self { stages, lanes } = self;
        let (groups, rest) = frames.as_chunks_mut::<N>();
        for group in groups {
            stages.carry(group, lanes, verdicts, env);
        }
        if !rest.is_empty() {
            stages.carry(rest, lanes, verdicts, env);
        }
    }

    fn stacks(&mut self) -> Option<&mut Stacks> {
        self.stages.stacks()
    }

    fn bells(&self) -> Option<BorrowedFd<'_>> {
        self.stages.bells()
    }
}
