//! Packets that sessions want sent: copied into a frame, judged there, and sent or handed on.
//!
//! Nothing is decided on bytes that the application can still write: rule 4 of the rings. A packet for which there is no
//! frame or no room at a port stays in its ring.
use std::time::Duration;

use abi::shm::{counter::ChannelCounter, desc::Form};
use multistack::{
    books::NO_TUPLE,
    channel::{Offer, Outcome},
    drr::{ChannelNo, Credit, Left, Ring, Rings},
    egress::{self, Admitted, Flows, ROOM, Refused, Sender, Verdict, World},
    neighbour::{Asked, LinkNo, NextHop},
    registry::SessionId,
};

use super::{Crossings, Events, Guest};
use crate::{
    capture::Crossing,
    counter::{Counter, Loss},
    frame::Frame,
    region::Region,
};

/// The ports of an engine, as those see them who make packets.
pub(crate) trait Wires {
    /// Whether a port has packets that its wire did not take: nothing more is made then.
    fn is_blocked(&self) -> bool;
    /// A frame of the engine's first port.
    fn alloc(&mut self) -> Option<Frame>;
    /// Gives such a frame back.
    fn recycle(&mut self, frame: Frame);
    /// Sends by a port of the link, or drops; counts either.
    fn send(&mut self, link: LinkNo, frame: Frame);
    /// Counts so many packets under this counter, for the engine's first port.
    fn count(&mut self, counter: Counter, packets: u32);
    /// Shows a packet that a session may not send to those who capture drops; without bytes, where none were copied.
    fn refused(&mut self, frame: &mut Frame, copied: Option<Copied>, session: SessionId, reason: Counter);
    /// Shows a packet that goes from session to session.
    fn crossing(&mut self, crossing: &Crossing<'_>);
    /// Shows such a packet to those who capture drops.
    fn crossing_dropped(&mut self, crossing: &Crossing<'_>, loss: Loss);
}

/// Where in a frame a packet lies that is being judged.
#[derive(Clone, Copy)]
pub(crate) struct Copied {
    pub(crate) form: Form,
    /// Bytes of the buffer before the frame's beginning.
    pub(crate) ahead: usize,
    /// Bytes of the buffer before the packet.
    pub(crate) room: usize,
}

/// What one loop of sending works with.
pub(crate) struct Source<'a, W> {
    pub(crate) wires: W,
    pub(crate) crossings: &'a mut Crossings,
    pub(crate) world: World<'a>,
    /// Which tables the world is of.
    pub(crate) generation: u64,
    /// Bytes of the Ethernet header on the first port's link.
    pub(crate) header: usize,
    pub(crate) now: Duration,
}

/// The channels, while the scheduler visits them.
pub(super) struct Visiting<'a, 'w, W> {
    pub(super) guests: &'a mut [Option<Guest>],
    pub(super) touched: &'a mut Vec<u16>,
    pub(super) counting: &'a mut Vec<u16>,
    pub(super) flows: &'a mut Flows,
    pub(super) events: &'a mut Events,
    pub(super) source: &'a mut Source<'w, W>,
}

impl<W: Wires> Rings for Visiting<'_, '_, W> {
    fn look(&mut self, channel: ChannelNo) -> Ring {
        let Some(guest) = self.guests.get_mut(channel.index()).and_then(Option::as_mut) else {
            return Ring::Empty;
        };
        match guest.channel.backlog() {
            Ok(0) => Ring::Empty,
            Ok(_) => Ring::Filled,
            Err(_) => {
                guest.broke(self.events);
                Ring::Empty
            }
        }
    }

    fn visit(&mut self, channel: ChannelNo, credit: &mut Credit) -> Left {
        let Self { guests, touched, counting, flows, events, source } = self;
        let Some(guest) = guests.get_mut(channel.index()).and_then(Option::as_mut) else {
            return Left::Nothing;
        };
        let Guest { channel, sender, asked, .. } = guest;
        let mut one = One { sender, asked, flows, events, source, blocked: false };
        // No more than it may pay for, so that no descriptor and no frame is fetched in vain.
        let most = credit.moves();
        let visit = channel.visit(most, |offer| one.judge(&offer, credit));
        let blocked = one.blocked;
        match visit {
            Err(_) => {
                guest.broke(events);
                Left::Nothing
            }
            Ok(visit) => {
                if visit.taken != 0 {
                    guest.touch(touched, counting);
                    // Whoever has paid is taken, whatever becomes of him.
                    source.wires.count(Counter::Submitted, visit.taken);
                }
                match visit.left {
                    _ if blocked => Left::Blocked,
                    0 => Left::Nothing,
                    _ => Left::Backlog,
                }
            }
        }
    }
}

/// One channel's visit.
struct One<'a, 'w, W> {
    sender: &'a Sender,
    asked: &'a mut Asked,
    flows: &'a mut Flows,
    events: &'a mut Events,
    source: &'a mut Source<'w, W>,
    blocked: bool,
}

impl<W: Wires> One<'_, '_, W> {
    #[inline(always)]
    fn judge(&mut self, offer: &Offer<'_, Region>, credit: &mut Credit) -> Outcome {
        if self.source.wires.is_blocked() {
            self.blocked = true;
            return Outcome::Stay;
        }
        let Some(frame) = self.source.wires.alloc() else {
            self.blocked = true;
            return Outcome::Stay;
        };
        // A refused packet is charged like one that is sent: whatever its descriptor says of its length.
        if credit.pay(offer.desc().len).is_none() {
            self.source.wires.recycle(frame);
            return Outcome::Stay;
        }
        match egress::admit(offer.desc(), self.sender, self.source.world.network) {
            Ok(admitted) => self.send(offer, admitted, frame, credit),
            Err(counter) => self.drop(frame, None, &counter.into()),
        }
    }

    /// Copies the packet and carries it to its end.
    #[inline(always)]
    fn send(
        &mut self,
        offer: &Offer<'_, Region>,
        admitted: Admitted,
        mut frame: Frame,
        credit: &mut Credit,
    ) -> Outcome {
        // The packet is put where its frame will begin at the frame's own beginning: it can be sent where it lies.
        let ahead = match admitted.form {
            Form::L3 => ROOM - self.source.header.min(ROOM),
            Form::L2 => 0,
        };
        let room = admitted.room();
        let fits = frame.set_len(room - ahead + admitted.len).is_ok();
        let Some(buffer) = frame.with_room_mut(ahead).filter(|_| fits) else {
            return self.drop(frame, None, &ChannelCounter::TxDesc.into());
        };
        if buffer.get_mut(room..).and_then(|packet| offer.copy_to(packet)).is_none() {
            return self.drop(frame, None, &ChannelCounter::TxDesc.into());
        }
        let Source { generation, world, .. } = *self.source;
        match self.flows.check(generation, buffer, admitted.form, self.sender, world) {
            Verdict::Send(sent) => {
                self.ask(sent.ageing);
                settle(&mut frame, ahead, sent.start, sent.end);
                self.source.wires.send(sent.link, frame);
                Outcome::Taken(ChannelCounter::TxSent, sent.tuple)
            }
            Verdict::Hairpin(pin) => {
                settle(&mut frame, ahead, pin.start, pin.end);
                self.source.wires.crossing(&Crossing { frame: &frame, meta: &pin.meta, to: pin.to });
                self.source.crossings.push(&pin, frame);
                credit.cross();
                Outcome::Taken(ChannelCounter::TxHairpin, pin.tuple)
            }
            Verdict::Drop(refused) => {
                self.ask(refused.unresolved);
                self.drop(frame, Some(Copied { form: admitted.form, ahead, room }), &refused)
            }
        }
    }

    fn drop(&mut self, mut frame: Frame, copied: Option<Copied>, refused: &Refused) -> Outcome {
        let counter = dropped(refused.counter);
        if let Some(counter) = counter {
            self.source.wires.refused(&mut frame, copied, self.sender.session, counter);
        }
        self.source.wires.recycle(frame);
        if let Some(counter) = counter {
            self.source.wires.count(counter, 1);
        }
        Outcome::Taken(refused.counter, refused.tuple.unwrap_or(NO_TUPLE))
    }

    fn ask(&mut self, hop: Option<NextHop>) {
        if let Some(hop) = hop.and_then(|hop| self.asked.ask(hop, self.source.now)) {
            self.events.unresolved(hop);
        }
    }
}

/// The engine's counter of a packet that was dropped for this reason; `None` if it was not.
pub(super) const fn dropped(reason: ChannelCounter) -> Option<Counter> {
    Some(match reason {
        ChannelCounter::TxDesc => Counter::TxDesc,
        ChannelCounter::TxMac => Counter::TxMac,
        ChannelCounter::TxVlan => Counter::TxVlan,
        ChannelCounter::TxMalformed => Counter::TxMalformed,
        ChannelCounter::TxFragment => Counter::TxFragment,
        ChannelCounter::TxExtHeader => Counter::TxExtHeader,
        ChannelCounter::TxProtocol => Counter::TxProtocol,
        ChannelCounter::TxNotOwner => Counter::TxNotOwner,
        ChannelCounter::TxDestination => Counter::TxDestination,
        ChannelCounter::TxLocalOs => Counter::TxLocalOs,
        ChannelCounter::TxNoRoute => Counter::TxNoRoute,
        ChannelCounter::TxNoNeighbour => Counter::TxNoNeighbour,
        _ => return None,
    })
}

/// Makes the frame begin where the judged packet does: `start` to `end` of the buffer whose first `ahead` bytes lie before
/// the frame. It lies there already unless the packet leaves by a link with other tags than the first port's.
#[inline(always)]
fn settle(frame: &mut Frame, ahead: usize, start: usize, end: usize) {
    let len = end - start;
    if start != ahead
        && frame.set_len(len.max(frame.len())).is_ok()
        && let Some(buffer) = frame.with_room_mut(ahead)
    {
        buffer.copy_within(start..end, ahead);
    }
    // Shorter than what was copied, so it fits.
    let _ = frame.set_len(len);
}
