//! The applications that an engine serves: its end of every session's channel.
//!
//! Packets for a session are copied into its ring; packets that a session wants sent are copied out of it, judged on the
//! copy, and leave by a port or go to another session of this engine. It refuses to wait for anybody: a full ring
//! drops, a missing frame lets the packet lie, a full bell is rung enough. What it cannot decide (a session that broke
//! the rules, a next hop that nobody has resolved) it reports as [`StackEvent`].
//!
//! ```text
//!  frames ─► deliver ─► down ring ┐                       ┌► port
//!                                 ├ publish, fence, bells │
//!  up ring ─► turn: copy, judge ──┴───────────────────────┴► crossings ─► filters ─► hand_over ─► another's down ring
//! ```
mod crossing;
mod originate;

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use abi::{
    rxmeta::RxMeta,
    shm::{counter::ChannelCounter, desc::rx_flag},
};
use multistack::{
    channel::{Channel, Ring, RxHead, RxRefusal},
    drr::{ChannelNo, Drr, LOOP_LEAST, Turn, Weight},
    egress::{Flows, Sender},
    mirror::Owned,
    neighbour::{Asked, CHANNEL_ASKS, NextHop},
    registry::{MAX_SESSIONS, SessionId},
};
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};

use crate::{
    capture::Crossing,
    counter::{Counter, Loss},
    doorbell::Doorbell,
    region::Region,
};

pub use crossing::Crossings;
pub(crate) use originate::{Copied, Source, Wires};

/// Packets of a loop that had no time to waste: a burst.
const FULL: usize = 64;
/// Loops of a burst, of which one shows applications what is theirs: that is some thirty microseconds.
const SHOW_EVERY: u32 = 16;
/// Packets of a loop that had something better to do than to write books: one of nothing but crossings moves as many.
const BUSY: usize = LOOP_LEAST as usize / 2;
/// Such loops, of which one writes the books: that is half a millisecond at most.
const ENTER_EVERY: u32 = 128;
/// Bells that one look takes in; the others stay rung.
const BELLS: usize = 64;
/// Next hops that are reported at once; more are asked for a second later.
const HOPS: usize = 256;

/// One session's channel on one engine.
pub struct StackChannel {
    /// Whose it is.
    pub session: SessionId,
    /// The daemon's end of its rings.
    pub channel: Channel<Region, Region>,
    /// The daemon's end of its bell.
    pub bell: Doorbell,
    /// By what its packets are judged.
    pub sender: Sender,
    /// Its share of sending.
    pub weight: Weight,
}

/// What an engine reports of the applications it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEvent {
    /// The session broke the rules of its rings: nothing more is read from it, and it is to be revoked.
    Violation(SessionId),
    /// Packets wait for this next hop's address, or it is about to be forgotten.
    Unresolved(NextHop),
}

/// One application.
///
/// What a packet needs comes first, and lies in one cache line; what showing it needs lies in the next.
#[repr(C, align(64))]
struct Guest {
    session: SessionId,
    /// It is in `touched`.
    touched: bool,
    /// It is in `counting`.
    counts: bool,
    /// That it broke the rules was reported.
    over: bool,
    channel: Channel<Region, Region>,
    bell: Doorbell,
    sender: Sender,
    asked: Asked,
}

/// What [`Channel`] reckons with.
const _: () = assert!(std::mem::offset_of!(Guest, channel) == 8);

/// Who sits at a slot.
#[inline]
fn seated(guests: &mut [Option<Guest>], slot: u16) -> Option<&mut Guest> {
    guests.get_mut(usize::from(slot))?.as_mut()
}

/// What an application is told of a packet of this class.
#[inline(always)]
fn head_of(owned: Owned, meta: &RxMeta, class: u16) -> RxHead {
    RxHead {
        tuple: owned.tuple,
        flags: u16::from(meta.flags),
        l3_off: meta.l3_off,
        l4_off: meta.l4_off,
        class,
    }
}

/// All channels of one engine.
///
/// # Invariants
/// `present` has the slots that `guests` fills, once each; `touched` and `counting` those whose guest says so, and whoever
/// is in the first is in the second. Nothing here allocates but [`Stacks::open`].
pub struct Stacks {
    /// By slot, as far as the highest that was ever taken. One beside the other: many that get a packet each in turn lie
    /// on few pages and in all parts of the cache.
    guests: Vec<Option<Guest>>,
    present: Vec<u16>,
    touched: Vec<u16>,
    /// Who has counted what is not in the books yet.
    counting: Vec<u16>,
    /// Full loops since the books were written.
    loops: u32,
    /// Somebody's ring fills with what he was not shown.
    behind: bool,
    drr: Drr,
    last: Loop,
    flows: Flows,
    bells: Epoll,
    events: Events,
}

/// A loop, for whoever reckons how long the next may take.
#[derive(Clone, Copy, Default)]
struct Loop {
    began: Duration,
    /// Received, and taken from applications.
    packets: u32,
}

/// What is to be reported.
struct Events {
    violations: Vec<SessionId>,
    hops: Vec<NextHop>,
}

impl Stacks {
    /// No channels.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            guests: Vec::new(),
            present: Vec::with_capacity(MAX_SESSIONS),
            touched: Vec::with_capacity(MAX_SESSIONS),
            counting: Vec::with_capacity(MAX_SESSIONS),
            loops: 0,
            behind: false,
            drr: Drr::new(MAX_SESSIONS as u16),
            last: Loop::default(),
            flows: Flows::default(),
            bells: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: Events { violations: Vec::with_capacity(MAX_SESSIONS), hops: Vec::with_capacity(HOPS) },
        })
    }

    /// Serves a channel. One that an earlier session left in the slot is closed.
    ///
    /// # Errors
    /// The kernel cannot watch one more bell.
    pub(crate) fn open(&mut self, channel: StackChannel) -> Result<(), Errno> {
        let StackChannel { session, channel, bell, sender, weight } = channel;
        let slot = session.slot;
        self.vacate(slot);
        let no = ChannelNo::new(slot);
        let edge = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, u64::from(slot));
        let index = usize::from(slot);
        if MAX_SESSIONS <= index {
            return Err(Errno::ERANGE);
        }
        if self.guests.len() <= index {
            self.guests.resize_with(index + 1, || None);
        }
        let Some(seat) = self.guests.get_mut(index) else { return Err(Errno::ERANGE) };
        self.bells.add(&bell, edge)?;
        self.drr.add(no, weight).ok_or(Errno::ERANGE)?;
        let asked = Asked::new(CHANNEL_ASKS);
        let (touched, counts, over) = (false, false, false);
        *seat = Some(Guest { session, touched, counts, over, channel, bell, sender, asked });
        self.present.push(slot);
        Ok(())
    }

    /// Lets go of a session's channel: its memory is not touched any more. Returns whether it was here.
    pub(crate) fn close(&mut self, session: SessionId) -> bool {
        let here = self.guest(session).is_some();
        if here {
            self.publish();
            if let Some(guest) = self.guest(session) {
                // Its last counters, the violation among them that nobody was touched for.
                guest.channel.enter();
            }
            self.vacate(session.slot);
        }
        here
    }

    fn vacate(&mut self, slot: u16) {
        let Some(guest) = self.guests.get_mut(usize::from(slot)).and_then(Option::take) else { return };
        // The set forgets a descriptor only when all its copies are closed; a child process may have one.
        let _ = self.bells.delete(&guest.bell);
        self.drr.remove(ChannelNo::new(slot));
        self.present.retain(|&other| other != slot);
        self.touched.retain(|&other| other != slot);
        self.counting.retain(|&other| other != slot);
    }

    fn guest(&mut self, session: SessionId) -> Option<&mut Guest> {
        seated(&mut self.guests, session.slot).filter(|guest| guest.session == session)
    }

    /// Copies a packet of this class into its owner's ring; [`Stacks::publish`] shows it.
    ///
    /// # Errors
    /// Why it was dropped.
    #[inline(always)]
    pub(crate) fn deliver(
        &mut self,
        owned: Owned,
        meta: &RxMeta,
        class: u16,
        frame: &[u8],
    ) -> Result<(), Loss> {
        self.hand(owned, &head_of(owned, meta, class), frame)
    }

    /// Counts a packet that its owner does not get for this reason.
    #[cold]
    pub(crate) fn refuse(&mut self, owned: Owned, loss: Loss) {
        let Self { guests, touched, counting, .. } = self;
        let guest = seated(guests, owned.session.slot).filter(|guest| guest.session == owned.session);
        if let (Some(guest), Some(counter)) = (guest, loss.of_channel()) {
            guest.touch(touched, counting);
            guest.channel.count_for(owned.tuple, counter);
        }
    }

    #[inline(always)]
    fn hand(&mut self, owned: Owned, head: &RxHead, frame: &[u8]) -> Result<(), Loss> {
        let Self { guests, touched, counting, behind, events, .. } = self;
        let guest = seated(guests, owned.session.slot);
        let Some(guest) = guest.filter(|guest| guest.session == owned.session) else {
            return Err(const { Loss::of(Counter::RxStale) });
        };
        guest.touch(touched, counting);
        let delivered = guest.channel.deliver(head, frame);
        *behind |= guest.channel.is_behind();
        delivered.map_err(|refusal| match refusal {
            RxRefusal::RingFull => const { Loss::of(Counter::RxRingFull) },
            RxRefusal::TooLong => const { Loss::of(Counter::RxTooLong) },
            RxRefusal::Violation(_) => {
                guest.broke(events);
                guest.channel.count_for(owned.tuple, ChannelCounter::RxStale);
                const { Loss::of(Counter::RxStale) }
            }
        })
    }

    /// Shows applications what is theirs, unless a loop that received so many packets has no time for it.
    ///
    /// With many applications a burst has a packet or two for each, and showing costs as much as delivering. So a full
    /// loop leaves it to the next, for every sixteenth shows, and never while somebody's ring fills; a loop that finds less
    /// than a burst, an idle one above all, always shows.
    #[inline]
    pub(crate) fn show(&mut self, received: usize) {
        if received < FULL || (self.loops + 1).is_multiple_of(SHOW_EVERY) || self.behind {
            self.publish();
        }
    }

    /// Shows every application what was delivered and taken since the last time, and rings those that sleep for it.
    #[inline]
    pub(crate) fn publish(&mut self) {
        let Self { guests, touched, behind, .. } = self;
        *behind = false;
        let mut fence = None;
        for &slot in touched.iter() {
            if let Some(guest) = seated(guests, slot) {
                guest.touched = false;
                if guest.channel.show().is_yes() {
                    fence = Some(slot);
                }
            }
        }
        // One fence after all publications and before all looks: it serves everybody.
        let fence = fence.and_then(|slot| Some(seated(guests, slot)?.channel.fence()));
        let Some(fence) = fence else { return touched.clear() };
        for slot in touched.drain(..) {
            if let Some(guest) = seated(guests, slot)
                && guest.channel.rings(&fence) == Ring::Bell
            {
                guest.bell.ring();
            }
        }
    }

    /// Ends a loop that moved so many packets: enters into the books what was counted, unless there is no time for it.
    ///
    /// Under load the books are written every 128th loop, which is half a millisecond at most; a loop that finds
    /// next to nothing always writes them.
    #[inline]
    pub(crate) fn count(&mut self, moved: usize) {
        self.loops += 1;
        if moved < BUSY || ENTER_EVERY <= self.loops {
            self.enter();
        }
    }

    fn enter(&mut self) {
        let Self { guests, counting, loops, .. } = self;
        *loops = 0;
        for slot in counting.drain(..) {
            if let Some(guest) = seated(guests, slot) {
                guest.counts = false;
                guest.channel.enter();
            }
        }
    }

    /// The sending of a loop that received so many packets; what is for sessions here joins the source's crossings.
    /// Returns how many packets it took.
    pub(crate) fn turn<W: Wires>(&mut self, received: usize, source: &mut Source<'_, W>) -> Turn {
        let Self { guests, touched, counting, drr, flows, events, last, .. } = self;
        let now = source.now;
        drr.took(now.saturating_sub(last.began), last.packets);
        let turn =
            drr.turn(received, &mut originate::Visiting { guests, touched, counting, flows, events, source });
        *last = Loop { began: now, packets: received as u32 + turn.packets };
        turn
    }

    /// Carries to its end what crosses from session to session, and was judged.
    pub(crate) fn hand_over<W: Wires>(&mut self, crossings: &mut Crossings, wires: &mut W) {
        for (frame, steered, loss) in crossings.drain() {
            let (to, meta) = (steered.owned(), &steered.meta);
            let plain = head_of(to, meta, steered.class);
            let head = RxHead { flags: plain.flags | rx_flag::HAIRPIN, ..plain };
            match loss.map_or_else(|| self.hand(to, &head, frame.bytes()), Err) {
                Ok(()) => wires.count(Counter::Delivered, 1),
                Err(loss) => {
                    wires.crossing_dropped(&Crossing { frame: &frame, meta, to }, loss);
                    wires.count(loss.counter(), 1);
                }
            }
            wires.recycle(frame);
        }
    }

    /// Tells every application that the engine is about to sleep, and looks once more. `true` if there is work after
    /// all: then nobody was left in the belief.
    pub(crate) fn arm(&mut self) -> bool {
        let Self { guests, present, drr, events, .. } = self;
        let mut fence = None;
        for &slot in present.iter() {
            if let Some(guest) = seated(guests, slot) {
                guest.channel.arm();
                fence = Some(slot);
            }
        }
        let fence = fence.and_then(|slot| Some(seated(guests, slot)?.channel.fence()));
        let Some(fence) = fence else { return false };
        let mut waits = false;
        for &slot in present.iter() {
            let Some(guest) = seated(guests, slot) else { continue };
            match guest.channel.last_look(&fence) {
                Ok(0) => {}
                Ok(_) => {
                    waits = true;
                    drr.wake(ChannelNo::new(slot));
                }
                Err(_) => guest.broke(events),
            }
        }
        if waits {
            self.disarm();
        }
        waits
    }

    /// Tells every application that the engine is awake, and takes in whose bells were rung.
    pub(crate) fn disarm(&mut self) {
        let Self { guests, present, drr, bells, .. } = self;
        for &slot in present.iter() {
            if let Some(guest) = seated(guests, slot) {
                guest.channel.disarm();
            }
        }
        let mut rung = [EpollEvent::empty(); BELLS];
        let count = bells.wait(&mut rung, EpollTimeout::ZERO).unwrap_or(0);
        for event in rung.iter().take(count) {
            let slot = event.data() as u16;
            if let Some(guest) = seated(guests, slot) {
                guest.bell.drain();
                drr.wake(ChannelNo::new(slot));
            }
        }
    }

    /// Readable once somebody's bell was rung.
    pub(crate) fn bells(&self) -> BorrowedFd<'_> {
        self.bells.0.as_fd()
    }

    /// Hands out what there is to report.
    pub(crate) fn events(&mut self, each: &mut dyn FnMut(StackEvent)) {
        let Events { violations, hops } = &mut self.events;
        violations.drain(..).for_each(|session| each(StackEvent::Violation(session)));
        hops.drain(..).for_each(|hop| each(StackEvent::Unresolved(hop)));
    }
}

impl Drop for Stacks {
    /// What an engine counted last is in the books when it has stopped.
    fn drop(&mut self) {
        self.enter();
    }
}

impl Guest {
    #[inline]
    fn touch(&mut self, touched: &mut Vec<u16>, counting: &mut Vec<u16>) {
        if !self.touched {
            self.touched = true;
            touched.push(self.session.slot);
            if !self.counts {
                self.counts = true;
                counting.push(self.session.slot);
            }
        }
    }

    /// Reports once that it broke the rules: until it is closed, every look finds it again.
    #[cold]
    fn broke(&mut self, events: &mut Events) {
        if !self.over {
            self.over = true;
            events.violations.push(self.session);
        }
    }
}

impl Events {
    #[cold]
    fn unresolved(&mut self, hop: NextHop) {
        if self.hops.len() < HOPS {
            self.hops.push(hop);
        }
    }
}

#[cfg(test)]
mod tests;
