//! The program with a gate in it: what steering has found an owner for is judged by filters before the owner gets it.
//!
//! ```text
//!   steer, 8 at a time ──► the port's filter, up to 64 ──► the target's filter ──► targets, 8 at a time
//! ```
//!
//! Where no filter is attached, stages follow each other as in [`Lockstep`](crate::program::Lockstep), eight packets at a
//! time. A filter never changes whose a packet is, only whether and as what the owner gets it.
//!
//! What goes from one application to another comes in by no port: it meets the target's filter alone.
use std::{ops::Range, os::fd::BorrowedFd, sync::Arc};

use abi::{
    port::PortConfig,
    rxmeta::{CLASS_NONE, CLASS_REJECT},
};
use multistack::{neighbour::LinkNo, steer::parse};
use ruler::{
    dag::NodeId,
    exec::lanes::BATCH_MAX,
    filter::{Batch, Fate, Verdict as Judgement},
    rewrite::Refusal,
};

use super::{FilterNo, Installed, TargetRef, installed::Seat};
use crate::{
    counter::{Counter, Loss},
    frame::Frame,
    program::{Env, Lane, Program, Stage, Stages, Verdict, together},
    stacks::{Crossings, Stacks},
    stage::steer::Steered,
    tables::Generation,
};

/// Stages compiled for `N` lanes, with the gate between the one that finds owners and those that serve them.
pub struct Gate<const N: usize, A, B> {
    stages: (A, B),
    lanes: Vec<Lane<Steered>>,
    judges: Judges,
}

/// An engine's seats at the filters of the snapshot that it saw last.
#[derive(Default)]
struct Judges {
    seen: Generation,
    /// By [`FilterNo`].
    seats: Vec<(Arc<Installed>, Seat)>,
    /// The filter and the lane of each packet that is judged, and room for what is said of it.
    members: Vec<(FilterNo, u8)>,
    said: Vec<Judgement>,
}

/// The packets of a batch that one filter judges.
struct Members<'a> {
    frames: &'a mut [Frame],
    lanes: &'a [Lane<Steered>],
    members: &'a [(FilterNo, u8)],
    /// The number of the filter whose classes are believed; none for a filter that the header program does not know.
    class_generation: Option<u8>,
}

impl<const N: usize, A, B> Gate<N, A, B> {
    /// A stage before the gate and stages behind it, for `N` packets at a time.
    #[must_use]
    pub fn new(before: A, behind: B) -> Self {
        const { assert!(0 < N && N <= BATCH_MAX, "a group of lanes is part of a batch") };
        Self { stages: (before, behind), lanes: vec![Lane::default(); BATCH_MAX], judges: Judges::new() }
    }
}

impl<const N: usize, A: Stage<Steered>, B: Stages<Steered>> Program for Gate<N, A, B> {
    fn run(&mut self, frames: &mut [Frame], verdicts: &mut Vec<Verdict>, env: &Env<'_>) {
        if self.judges.are_wanted(env) {
            return self.run_judged(frames, verdicts, env);
        }
        let (groups, rest) = frames.as_chunks_mut::<N>();
        for group in groups {
            self.stages.carry(group, &mut self.lanes, verdicts, env);
        }
        if !rest.is_empty() {
            self.stages.carry(rest, &mut self.lanes, verdicts, env);
        }
    }

    fn judge(&mut self, crossings: &mut Crossings, env: &Env<'_>) {
        if self.judges.are_wanted(env) {
            self.judges.judge_crossings(crossings, env);
        }
    }

    fn stacks(&mut self) -> Option<&mut Stacks> {
        self.stages.stacks()
    }

    fn bells(&self) -> Option<BorrowedFd<'_>> {
        self.stages.bells()
    }
}

impl<const N: usize, A: Stage<Steered>, B: Stages<Steered>> Gate<N, A, B> {
    /// Filters are attached, or were when the last batch came.
    #[inline(never)]
    fn run_judged(&mut self, frames: &mut [Frame], verdicts: &mut Vec<Verdict>, env: &Env<'_>) {
        let Self { stages: (before, behind), lanes, judges } = self;
        judges.take_seats(env);
        for frames in frames.chunks_mut(BATCH_MAX) {
            let (lanes, _) = lanes.split_at_mut(frames.len());
            lanes.fill(Lane::default());
            for (frames, lanes) in frames.chunks_mut(N).zip(lanes.chunks_mut(N)) {
                together(before, frames, lanes, env);
            }
            judges.judge(frames, lanes, env, Level::Port);
            judges.judge(frames, lanes, env, Level::Target);
            for (frames, lanes) in frames.chunks_mut(N).zip(lanes.chunks_mut(N)) {
                behind.advance(frames, lanes, env);
            }
            verdicts.extend(lanes.iter().map(Lane::end));
        }
    }
}

/// Which packets are judged, and by what their filters are attached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level<'a> {
    /// What came from ports, by port.
    Port,
    /// The same, by target.
    Target,
    /// What goes from application to application, by target: each packet has the Ethernet header of one of these links.
    Crossing(&'a [LinkNo]),
}

impl Level<'_> {
    /// The interface that a packet has the Ethernet header of.
    fn interface<'e>(self, at: usize, frame: &Frame, env: &'e Env<'_>) -> Option<&'e PortConfig> {
        let tables = env.snapshot.tables();
        match self {
            Level::Port | Level::Target => tables.ports.get(frame.port()),
            Level::Crossing(links) => tables.network.link(*links.get(at)?).map(|link| &link.config),
        }
    }
}

impl Judges {
    fn new() -> Self {
        Self {
            seats: Vec::with_capacity(super::MAX_FILTERS),
            members: Vec::with_capacity(BATCH_MAX),
            said: vec![Judgement::NONE; BATCH_MAX],
            ..Self::default()
        }
    }

    /// Whether filters are attached, or were when packets were judged last.
    #[inline(always)]
    fn are_wanted(&self, env: &Env<'_>) -> bool {
        !env.snapshot.tables().filters.is_empty() || !self.seats.is_empty()
    }

    /// Judges what goes from application to application.
    #[inline(never)]
    fn judge_crossings(&mut self, crossings: &mut Crossings, env: &Env<'_>) {
        self.take_seats(env);
        let (frames, lanes, links) = crossings.parts();
        let packets = frames.chunks_mut(BATCH_MAX).zip(lanes.chunks_mut(BATCH_MAX));
        for ((frames, lanes), links) in packets.zip(links.chunks(BATCH_MAX)) {
            self.judge(frames, lanes, env, Level::Crossing(links));
        }
    }

    /// Sits down at every filter of a new snapshot, and leaves those that are not in it.
    fn take_seats(&mut self, env: &Env<'_>) {
        let (filters, generation) = (&env.snapshot.tables().filters, env.snapshot.generation());
        if self.seen == generation {
            return;
        }
        self.seen = generation;
        let same = self.seats.len() == filters.installed().len()
            && self.seats.iter().zip(filters.installed()).all(|((old, _), new)| Arc::ptr_eq(old, new));
        if !same {
            // What is left is the publisher's to free: it keeps each filter until nobody else has it.
            self.seats.drain(..).for_each(|(filter, seat)| filter.give_back(seat));
            let taken = filters.installed().iter().map(|filter| (Arc::clone(filter), filter.take_seat()));
            self.seats.extend(taken);
        }
    }

    fn judge(&mut self, frames: &mut [Frame], lanes: &mut [Lane<Steered>], env: &Env<'_>, level: Level<'_>) {
        let filters = &env.snapshot.tables().filters;
        let Self { seats, members, said, .. } = self;
        members.clear();
        for (lane, at) in lanes.iter().zip(0..) {
            if lane.verdict != Verdict::Next || lane.context.spoilt.is_some() {
                continue;
            }
            let filter = match level {
                Level::Port => frames.get(usize::from(at)).and_then(|frame| filters.of_port(frame.port())),
                Level::Target | Level::Crossing(_) => {
                    let Steered { meta, tuple, .. } = &lane.context;
                    let (kind, id, generation) = (meta.kind, meta.id, meta.generation);
                    filters.of_target(TargetRef { kind, id, generation, tuple: Some(*tuple) })
                }
            };
            members.extend(filter.map(|filter| (filter, at)));
        }
        members.sort_unstable();
        for members in members.chunk_by(|a, b| a.0 == b.0) {
            let number = members.first().map_or(0, |(filter, _)| filter.index());
            let Some((installed, seat)) = seats.get_mut(number) else { continue };
            let class_generation = (level == Level::Port).then(|| installed.class_generation());
            let (said, _) = said.split_at_mut(members.len());
            let mut batch = Members { frames: &mut *frames, lanes: &*lanes, members, class_generation };
            let entries = installed.bound().judge(&mut seat.scratch, &mut batch, said);
            let first = members.first().and_then(|(_, at)| frames.get(usize::from(*at)));
            if let Some(frame) = first {
                env.ledger.add(frame.port(), Counter::RulerFromClass, u64::from(entries.from_class));
                env.ledger.add(frame.port(), Counter::RulerFromZero, u64::from(entries.from_zero));
            }
            for ((_, at), judgement) in members.iter().zip(said) {
                let at = usize::from(*at);
                seat.tally.matched(judgement.rule);
                if let Fate::Refused(_) = judgement.fate {
                    seat.tally.refused(judgement.rule);
                }
                if let (Some(frame), Some(lane)) = (frames.get_mut(at), lanes.get_mut(at)) {
                    carry_out(&judgement.fate, frame, lane, (level, at), env);
                }
            }
        }
    }
}

/// Makes a packet what its filter made of it.
fn carry_out(
    fate: &Fate,
    frame: &mut Frame,
    lane: &mut Lane<Steered>,
    (level, at): (Level<'_>, usize),
    env: &Env<'_>,
) {
    match fate {
        Fate::Accepted(code) => lane.context.class = *code,
        Fate::Rejected(_) => lane.verdict = Verdict::Drop(const { Loss::of(Counter::RulerReject) }),
        Fate::Unmatched => lane.verdict = Verdict::Drop(const { Loss::of(Counter::RulerNoMatch) }),
        Fate::Refused(refusal) => {
            lane.verdict = Verdict::Drop(match refusal {
                Refusal::TooLong => const { Loss::of(Counter::RulerTooLong) },
                Refusal::TooShort => const { Loss::of(Counter::RulerTooShort) },
                Refusal::Field => const { Loss::of(Counter::RulerField) },
            });
        }
        Fate::Rewritten { code, at: part, skipped_sums } => {
            if *skipped_sums != 0 {
                env.ledger.add(frame.port(), Counter::RulerCsumSkipped, u64::from(*skipped_sums));
            }
            if frame.set_range(part.range()).is_err() {
                lane.verdict = Verdict::Drop(const { Loss::of(Counter::RulerTooLong) });
                return;
            }
            lane.context.class = *code;
            look_again(frame, lane, level.interface(at, frame, env));
        }
    }
}

/// Finds the headers of a packet that is another one now. Its owner stays; where no header is found, none is told.
fn look_again(frame: &Frame, lane: &mut Lane<Steered>, interface: Option<&PortConfig>) {
    let meta = &mut lane.context.meta;
    let parsed = interface.and_then(|interface| parse(frame.bytes(), interface).ok());
    (meta.flags, meta.l3_off, meta.l4_off) =
        parsed.map_or((0, 0, 0), |parsed| (parsed.flags, parsed.l3_off, parsed.l4_off));
    meta.frame_len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
}

impl Members<'_> {
    fn at(&self, index: usize) -> usize {
        usize::from(self.members[index].1)
    }
}

impl Batch for Members<'_> {
    fn len(&self) -> usize {
        self.members.len()
    }

    #[inline]
    fn packet(&self, index: usize) -> &[u8] {
        self.frames[self.at(index)].bytes()
    }

    #[inline]
    fn class(&self, index: usize) -> Option<NodeId> {
        let told = &self.lanes[self.at(index)].context.meta;
        let believed = told.class != CLASS_NONE && Some(told.class_gen) == self.class_generation;
        believed.then_some(NodeId(told.class & !CLASS_REJECT))
    }

    fn frame(&mut self, index: usize) -> (&mut [u8], Range<usize>) {
        let frame = &mut self.frames[usize::from(self.members[index].1)];
        let len = frame.len();
        (frame.with_tail_mut(), 0..len)
    }
}
