//! Deficit round robin among the channels of one worker: who sends next, and how much.
//!
//! It reads no ring and sends nothing: the worker visits the channels that it is told to, and says what it found.
//!
//! # Rounds
//!
//! In each round a channel may send its quantum, [`QUANTUM`] × its weight, in bytes on the wire. A visit ends after
//! [`VISIT_PACKETS`] packets, so that no neighbour waits for a whole quantum of small ones; the channel is visited
//! again in the same round until its quantum does not cover its next packet. What is left then is its *deficit*, and
//! adds to its next quantum (Shreedhar and Varghese, SIGCOMM 1995).
//!
//! ```text
//! current: a b c d ──visit──► packets left, deficit left ──► end of current
//!                           └ deficit spent ───────────────► later ──► current of the next round, with a quantum more
//!                           └ ring empty ──────────────────► end of current; keeps nothing when the round ends
//! ```
//!
//! An empty ring banks nothing: at the end of the round its deficit is cleared. Within the round it may still use what
//! it was given, so that an application that sends less than its share is served at its first visit, always.
//!
//! # Loops
//!
//! While packets of applications are moved, nobody looks at the wire, and nothing leaves. So a loop moves few of them,
//! unless it received many ([`Pace::allowance`]): what an application waits for that sends and receives little is two
//! loops of somebody who floods. One that crosses to another application here is moved twice.
//!
//! # Doorbells
//!
//! Looking at an idle ring costs a cache line. A channel is *awake* while it has backlog and for [`IDLE_VISITS`] empty
//! visits after that; of the others, [`PROBES`] are looked at in each loop, in turn.
mod pace;

use std::{collections::VecDeque, time::Duration};

pub use pace::{LOOP_FEWEST, LOOP_LEAST, LOOP_MOST, LOOP_TIME, Pace};

/// Bytes on the wire that a channel of weight 1 may send in a round.
pub const QUANTUM: u32 = 16 << 10;

/// Most packets of one visit.
pub const VISIT_PACKETS: u32 = 64;

/// Empty visits after which a channel is awake no longer.
pub const IDLE_VISITS: u8 = 64;

/// Sleeping channels that one loop looks at.
pub const PROBES: usize = 8;

/// Visits of one loop beyond two for each channel that is awake.
const MORE_VISITS: usize = 64;

/// The least that a packet costs: what a minimal frame takes.
const MIN_COST: u32 = 64;
/// The most: no slot is longer, whatever a descriptor says.
const MAX_COST: u32 = 4096;
/// What the wire adds to each: preamble, FCS, gap.
const OVERHEAD: u32 = 24;

/// A channel's share where channels compete.
///
/// # Invariants
/// 1 to [`Weight::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u8);

impl Weight {
    /// The ordinary share.
    pub const ONE: Self = Self(1);

    /// The greatest.
    pub const MAX: u8 = 16;

    /// A weight, if it is one.
    #[must_use]
    pub const fn new(weight: u8) -> Option<Self> {
        if 1 <= weight && weight <= Self::MAX { Some(Self(weight)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    const fn quantum(self) -> u32 {
        QUANTUM * self.0 as u32
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

/// What a packet of `len` bytes costs its channel, sent or refused.
#[must_use]
#[inline]
pub const fn cost(len: u32) -> u32 {
    let len = if len < MIN_COST { MIN_COST } else { len };
    (if MAX_COST < len { MAX_COST } else { len }) + OVERHEAD
}

/// What a channel may still send at this visit.
#[derive(Debug)]
pub struct Credit {
    deficit: u32,
    /// What it may still move.
    moves: u32,
    /// Moves that were second ones.
    crossed: u32,
    /// Set once the deficit did not cover a packet.
    spent: bool,
}

impl Credit {
    /// Pays for a packet of `len` bytes, whatever becomes of it; `None` if it has to wait for another visit.
    #[must_use]
    #[inline]
    pub const fn pay(&mut self, len: u32) -> Option<()> {
        let cost = cost(len);
        if self.moves == 0 {
            return None;
        }
        if self.deficit < cost {
            self.spent = true;
            return None;
        }
        self.moves -= 1;
        self.deficit -= cost;
        Some(())
    }

    /// Most packets that it may still pay for.
    #[must_use]
    #[inline]
    pub const fn moves(&self) -> u32 {
        self.moves
    }

    /// Says that a packet that was paid for is moved once more, into another ring.
    #[inline]
    pub const fn cross(&mut self) {
        if self.moves != 0 {
            self.moves -= 1;
            self.crossed += 1;
        }
    }
}

/// What a visit found when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The ring is empty.
    Nothing,
    /// A packet that the credit did not cover.
    Backlog,
    /// A packet for which there is no frame or no transmit slot: nobody else could send either.
    Blocked,
}

/// Whether a ring has packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// None.
    Empty,
    /// Some.
    Filled,
}

/// A channel's number on its worker: below the capacity of its [`Drr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelNo(u16);

impl ChannelNo {
    /// The channel of this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where the worker reads what channels want to send.
pub trait Rings {
    /// Whether this channel's ring has packets: one load.
    fn look(&mut self, channel: ChannelNo) -> Ring;

    /// Takes packets from the ring, as long as each can be paid for.
    fn visit(&mut self, channel: ChannelNo, credit: &mut Credit) -> Left;
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    weight: Weight,
    deficit: u32,
    idle: u8,
    place: Place,
    probes: Probes,
    /// The round in which it fell asleep: until that ends, its deficit is what it has left of its quantum.
    slept: u32,
}

/// Whether a channel is among those to be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probes {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Absent,
    Asleep,
    Current,
    Later,
}

/// No round has this number.
const NEVER: u32 = 0;

const ABSENT: Flow =
    Flow { weight: Weight::ONE, deficit: 0, idle: 0, place: Place::Absent, probes: Probes::No, slept: NEVER };

/// What a visit did.
#[derive(Clone, Copy, Debug)]
struct Visit {
    paid: u32,
    moved: u32,
    spent: bool,
    left: Left,
}

impl Visit {
    const fn found_nothing(&self) -> bool {
        self.paid == 0 && matches!(self.left, Left::Nothing)
    }
}

/// What a loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Packets that were paid for.
    pub packets: u32,
    /// What is left: [`Left::Nothing`] if every awake ring was seen empty.
    pub left: Left,
}

/// The scheduler of one worker.
///
/// # Invariants
/// Every awake channel is in exactly one of `current` and `later`, once; whoever says so of itself is in `probed`, once.
/// Nothing is allocated after `new`.
#[derive(Debug)]
pub struct Drr {
    flows: Box<[Flow]>,
    current: VecDeque<ChannelNo>,
    later: Vec<ChannelNo>,
    /// Whom to probe, in turn: every channel that sleeps, and some that were woken since they fell asleep.
    probed: Vec<ChannelNo>,
    /// Whose turn it is among them.
    turn: usize,
    /// The number of the round that is under way.
    round: u32,
    pace: Pace,
}

impl Drr {
    /// A scheduler for up to `capacity` channels.
    #[must_use]
    pub fn new(capacity: u16) -> Self {
        let capacity = usize::from(capacity);
        Self {
            flows: vec![ABSENT; capacity].into(),
            current: VecDeque::with_capacity(capacity),
            later: Vec::with_capacity(capacity),
            probed: Vec::with_capacity(capacity),
            turn: 0,
            round: NEVER + 1,
            pace: Pace::default(),
        }
    }

    /// Adds a channel, asleep; or gives one that is there another weight, from its next quantum on.
    ///
    /// Returns whether there is such a number.
    pub fn add(&mut self, channel: ChannelNo, weight: Weight) -> Option<()> {
        let flow = self.flows.get_mut(channel.index())?;
        flow.weight = weight;
        if flow.place == Place::Absent {
            *flow = Flow { weight, place: Place::Asleep, probes: Probes::Yes, ..ABSENT };
            self.probed.push(channel);
        }
        Some(())
    }

    /// Takes a channel away.
    pub fn remove(&mut self, channel: ChannelNo) {
        let Some(flow) = self.flows.get_mut(channel.index()) else { return };
        *flow = ABSENT;
        self.current.retain(|&other| other != channel);
        self.later.retain(|&other| other != channel);
        self.probed.retain(|&other| other != channel);
    }

    /// Whether this channel is awake: its doorbell bit.
    #[must_use]
    pub fn is_awake(&self, channel: ChannelNo) -> bool {
        let place = self.flows.get(channel.index()).map(|flow| flow.place);
        matches!(place, Some(Place::Current | Place::Later))
    }

    /// Takes note of how long the last loop took, which received and moved so many packets together.
    #[inline]
    pub fn took(&mut self, time: Duration, packets: u32) {
        self.pace.took(time, packets);
    }

    /// What a loop that received so many packets moves now, besides.
    #[must_use]
    pub fn allowance(&self, received: usize) -> u32 {
        self.pace.allowance(received)
    }

    /// One loop of the worker, which received so many packets: probes, then visits until its [`Drr::allowance`] is spent, a
    /// visit was blocked, or every awake ring was seen empty.
    pub fn turn(&mut self, received: usize, rings: &mut impl Rings) -> Turn {
        self.probe(rings);
        let (mut packets, mut idle, mut moves) = (0, 0, self.allowance(received));
        // Each channel at least once, whoever drips single packets meanwhile.
        let mut visits = 2 * (self.current.len() + self.later.len()) + MORE_VISITS;
        while 0 < moves && 0 < visits {
            visits -= 1;
            if self.current.len() <= idle {
                if self.later.is_empty() {
                    return Turn { packets, left: Left::Nothing };
                }
                self.next_round();
                idle = 0;
            }
            let Some(channel) = self.current.pop_front() else { continue };
            let visit = self.visit(channel, moves, rings);
            packets += visit.paid;
            moves -= visit.moved;
            if visit.left == Left::Blocked {
                self.current.push_front(channel);
                return Turn { packets, left: visit.left };
            }
            idle = if visit.found_nothing() { idle + 1 } else { 0 };
            self.put_back(channel, visit);
        }
        Turn { packets, left: Left::Backlog }
    }

    /// Whether some ring of a channel has packets, asleep or awake: what a worker asks before it sleeps.
    pub fn any_filled(&mut self, rings: &mut impl Rings) -> Ring {
        for index in 0..self.flows.len() {
            let channel = ChannelNo(index as u16);
            if self.flows[index].place != Place::Absent && rings.look(channel) == Ring::Filled {
                self.wake(channel);
                return Ring::Filled;
            }
        }
        Ring::Empty
    }

    /// Wakes a channel, because somebody rang for it: it has its quantum in the round that is under way, or, if it fell
    /// asleep in that, what it has left of it.
    pub fn wake(&mut self, channel: ChannelNo) {
        let Some(flow) = self.flows.get_mut(channel.index()) else { return };
        if flow.place != Place::Asleep {
            return;
        }
        if flow.slept != self.round {
            flow.deficit = flow.weight.quantum();
        }
        (flow.idle, flow.place) = (0, Place::Current);
        self.current.push_back(channel);
    }

    fn visit(&mut self, channel: ChannelNo, moves: u32, rings: &mut impl Rings) -> Visit {
        let flow = &mut self.flows[channel.index()];
        let moves = VISIT_PACKETS.min(moves);
        let mut credit = Credit { deficit: flow.deficit, moves, crossed: 0, spent: false };
        let left = rings.visit(channel, &mut credit);
        flow.deficit = credit.deficit;
        let moved = moves - credit.moves;
        Visit { paid: moved - credit.crossed, moved, spent: credit.spent, left }
    }

    /// Puts a visited channel where it belongs.
    fn put_back(&mut self, channel: ChannelNo, visit: Visit) {
        let flow = &mut self.flows[channel.index()];
        flow.idle = if visit.found_nothing() { flow.idle + 1 } else { 0 };
        if flow.idle == IDLE_VISITS {
            (flow.place, flow.slept) = (Place::Asleep, self.round);
            if std::mem::replace(&mut flow.probes, Probes::Yes) == Probes::No {
                self.probed.push(channel);
            }
        } else if visit.spent && visit.left == Left::Backlog {
            flow.place = Place::Later;
            self.later.push(channel);
        } else {
            self.current.push_back(channel);
        }
    }

    /// Everybody awake gets a quantum; who has had an empty ring keeps nothing besides.
    fn next_round(&mut self) {
        self.round = self.round.checked_add(1).unwrap_or(NEVER + 1);
        for &channel in &self.current {
            self.flows[channel.index()].deficit = 0;
        }
        self.current.extend(self.later.drain(..));
        for &channel in &self.current {
            let flow = &mut self.flows[channel.index()];
            flow.deficit += flow.weight.quantum();
            flow.place = Place::Current;
        }
    }

    /// Looks at sleeping channels, each at most once.
    #[inline]
    fn probe(&mut self, rings: &mut impl Rings) {
        let mut looks = PROBES.min(self.probed.len());
        while looks != 0 {
            if self.probed.len() <= self.turn {
                self.turn = 0;
            }
            let Some(&channel) = self.probed.get(self.turn) else { return };
            looks -= 1;
            if self.flows[channel.index()].place != Place::Asleep {
                self.forget(self.turn);
                continue;
            }
            self.turn += 1;
            if rings.look(channel) == Ring::Filled {
                self.wake(channel);
            }
        }
    }

    /// Probes a channel no more that was woken; the last of all takes its place.
    #[cold]
    fn forget(&mut self, at: usize) {
        let channel = self.probed.swap_remove(at);
        self.flows[channel.index()].probes = Probes::No;
    }
}
