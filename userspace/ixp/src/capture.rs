//! What a capture sees of an engine: packets as they came, as they left, and as they were dropped.
//!
//! An engine without a capture runs code in which there is none: [`Tap`] has two kinds, and a thread changes over from the
//! loop compiled for [`Off`] to the one compiled for [`Taps`] when its supervisor says so. Nothing is asked per packet, or
//! per burst, while nobody captures.
//!
//! A tap refuses to hold anything up: what does not fit its ring is counted, here and as `capture_lost`, and nobody is
//! woken. It changes no packet and no verdict.
//!
//! | file | idea |
//! |---|---|
//! | [`filter`] | which packets are wanted |
//! | [`ends`] | the tuple of either end of a packet, read from its bytes alone |
mod ends;
pub mod filter;

use std::sync::Arc;

use abi::{
    capture::{
        Line, Point, Record, flag,
        ring::{Staged, Writer},
    },
    rxmeta::{CLASS_NONE, RxMeta},
    shm::desc::Form,
    steer::SteerKey,
};
use multistack::{
    mirror::Owned,
    neighbour::LinkNo,
    registry::SessionId,
    steer::{Outcome, steer},
};

use crate::{
    clock::Nanos,
    counter::Counter,
    frame::Frame,
    ledger::{Ledger, MAX_PORTS},
    panel::Panel,
    port::PortId,
    program::Env,
    region::Region,
    tables::{Generation, Snapshot},
};
use ends::Side;
use filter::Filter;

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From a wire to somebody here.
    In,
    /// From here to a wire.
    Out,
}

/// A packet of an application that is not sent.
pub(crate) struct Refused<'a> {
    /// Its bytes, as far as there are any that may be shown.
    pub(crate) packet: &'a [u8],
    /// How they begin.
    pub(crate) form: Form,
    /// Who wanted it sent.
    pub(crate) session: SessionId,
    /// Why it is not.
    pub(crate) reason: Counter,
}

/// A packet from one session to another.
pub(crate) struct Crossing<'a> {
    pub(crate) frame: &'a Frame,
    pub(crate) meta: &'a RxMeta,
    /// Who is to get it.
    pub(crate) to: Owned,
}

/// The places of an engine where packets can be seen. What stands under `if T::ON` is compiled for a capture alone.
pub(crate) trait Tap {
    /// Whether there is anybody to see.
    const ON: bool;

    /// A round begins.
    fn begin(&mut self, now: Nanos, snapshot: &Snapshot);
    /// Packets came, and none of them is judged yet.
    fn received(&mut self, frames: &[Frame], env: &Env<'_>);
    /// A packet ends here.
    fn dropped(&mut self, frame: &Frame, way: Way, reason: Counter);
    /// A packet is about to be handed to a port.
    fn leaving(&mut self, frame: &Frame, port: PortId);
    /// The port took it.
    fn left(&mut self);
    /// An application's packet is refused, in the name of this port.
    fn refused(&mut self, refused: &Refused<'_>, port: PortId);
    /// A packet goes from session to session, and no filter has judged it yet.
    fn crossing(&mut self, crossing: &Crossing<'_>);
    /// Such a packet ends here.
    fn crossing_dropped(&mut self, crossing: &Crossing<'_>, reason: Counter);
    /// A round is over.
    fn end(&mut self);
}

/// Nobody captures.
pub(crate) struct Off;

impl Tap for Off {
    const ON: bool = false;

    #[inline(always)]
    fn begin(&mut self, _: Nanos, _: &Snapshot) {}
    #[inline(always)]
    fn received(&mut self, _: &[Frame], _: &Env<'_>) {}
    #[inline(always)]
    fn dropped(&mut self, _: &Frame, _: Way, _: Counter) {}
    #[inline(always)]
    fn leaving(&mut self, _: &Frame, _: PortId) {}
    #[inline(always)]
    fn left(&mut self) {}
    #[inline(always)]
    fn refused(&mut self, _: &Refused<'_>, _: PortId) {}
    #[inline(always)]
    fn crossing(&mut self, _: &Crossing<'_>) {}
    #[inline(always)]
    fn crossing_dropped(&mut self, _: &Crossing<'_>, _: Counter) {}
    #[inline(always)]
    fn end(&mut self) {}
}

/// Number of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaptureId(u32);

impl CaptureId {
    /// The capture with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }
}

impl std::fmt::Display for CaptureId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One capture on one engine: what it wants, and the ring that it gets it by.
pub struct EngineTap {
    id: CaptureId,
    filter: Filter,
    ring: Writer<Region, Region>,
    /// A packet that is about to leave, written already.
    leaving: Leaving,
}

/// What became of the copy of a packet that is about to leave.
#[derive(Clone, Copy)]
enum Leaving {
    /// It is not wanted.
    Unwanted,
    /// It is in the ring, and counts once the packet is gone.
    Written(Line, Staged),
    /// There was no room for it.
    Lost(Line, PortId),
}

/// All captures of one engine.
pub struct Taps {
    taps: Vec<EngineTap>,
    panel: Arc<Panel>,
    now: Nanos,
    /// The tables by which `links` is.
    generation: Generation,
    /// The interface of each port.
    links: Box<[LinkNo]>,
}

/// What is known of a packet, once for all captures.
struct Seen<'a> {
    point: Point,
    flags: u8,
    reason: Option<Counter>,
    port: PortId,
    meta: Option<RxMeta>,
    /// The tuples of those ends that a capture may be looking for.
    keys: [Option<SteerKey>; 2],
    /// Whose application it is of, where it is of one.
    session: Option<SessionId>,
    packet: &'a [u8],
}

impl EngineTap {
    /// A capture of what `filter` wants, into a fresh ring.
    #[must_use]
    pub fn new(id: CaptureId, filter: Filter, ring: Writer<Region, Region>) -> Self {
        Self { id, filter, ring, leaving: Leaving::Unwanted }
    }

    #[inline]
    fn wants(&self, seen: &Seen<'_>) -> bool {
        self.filter.points.has(seen.point)
            && self.filter.has(&seen.keys, seen.meta.as_ref())
            && self.filter.may_see(seen.session)
    }

    /// Writes a packet without counting it.
    #[inline]
    fn stage(&mut self, seen: &Seen<'_>, now: Nanos, link: LinkNo) -> Option<Staged> {
        let meta = seen.meta.as_ref();
        let record = Record {
            point: seen.point as u8,
            flags: seen.flags,
            reason: seen.reason.map_or(0, |reason| reason as u16),
            time_ns: now.get(),
            len: u16::try_from(seen.packet.len()).unwrap_or(u16::MAX),
            port: seen.port.index() as u16,
            link: link.0,
            kind: meta.map_or(0, |meta| meta.kind),
            id: meta.map_or(0, |meta| meta.id),
            generation: meta.map_or(0, |meta| meta.generation),
            class: meta.map_or(CLASS_NONE, |meta| meta.class),
            ..Record::default()
        };
        let shown = seen.packet.len().min(usize::from(self.filter.snaplen));
        self.ring.stage(record, seen.packet.get(..shown)?)
    }
}

impl Taps {
    /// No captures, of the engine with this panel.
    pub(crate) fn on(panel: Arc<Panel>) -> Self {
        Self {
            taps: Vec::new(),
            panel,
            now: Nanos::default(),
            generation: Generation::default(),
            links: vec![LinkNo(0); MAX_PORTS].into(),
        }
    }

    /// Begins a capture.
    pub fn add(&mut self, tap: EngineTap) {
        self.taps.push(tap);
    }

    /// Ends one: its ring is not touched any more. Returns whether it was here.
    pub fn remove(&mut self, id: CaptureId) -> bool {
        let before = self.taps.len();
        self.taps.retain(|tap| tap.id != id);
        self.taps.len() != before
    }

    /// Whether nobody captures.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taps.is_empty()
    }

    fn link(&self, port: PortId) -> LinkNo {
        self.links.get(port.index()).copied().unwrap_or(LinkNo(0))
    }

    /// Shows a packet to everybody who wants it.
    #[inline]
    fn show(&mut self, seen: &Seen<'_>) {
        let link = self.link(seen.port);
        let line = Line::of(seen.point, link.0);
        for tap in self.taps.iter_mut().filter(|tap| tap.wants(seen)) {
            match tap.stage(seen, self.now, link) {
                Some(staged) => {
                    tap.ring.commit(staged);
                    tap.ring.took(line);
                }
                None => lose(&mut tap.ring, &self.panel.ledger, line, seen.port),
            }
        }
    }
}

/// Counts a packet that nobody will see.
#[cold]
fn lose(ring: &mut Writer<Region, Region>, ledger: &Ledger, line: Line, port: PortId) {
    ring.lost(line);
    ledger.add(port, Counter::CaptureLost, 1);
}

impl<'a> Seen<'a> {
    fn of(point: Point, frame: &'a Frame) -> Self {
        Self {
            point,
            flags: 0,
            reason: None,
            port: frame.port(),
            meta: frame.meta(),
            keys: [None; 2],
            session: None,
            packet: frame.bytes(),
        }
    }

    fn end(self, side: Side) -> Self {
        Self { keys: [ends::of_frame(self.packet, side), None], ..self }
    }
}

impl Tap for Taps {
    const ON: bool = true;

    fn begin(&mut self, now: Nanos, snapshot: &Snapshot) {
        self.now = now;
        if self.generation != snapshot.generation() {
            self.generation = snapshot.generation();
            let ports = &snapshot.tables().ports;
            for (at, link) in self.links.iter_mut().enumerate() {
                *link = ports.link(PortId::new(at as u16));
            }
        }
    }

    fn received(&mut self, frames: &[Frame], env: &Env<'_>) {
        for frame in frames {
            let mut seen = Seen::of(Point::Rx, frame).end(Side::Destination);
            if seen.meta.is_none() {
                seen.meta = parsed(frame, env);
                seen.flags |= if seen.meta.is_none() { flag::UNCLAIMED } else { 0 };
            }
            self.show(&seen);
        }
    }

    fn dropped(&mut self, frame: &Frame, way: Way, reason: Counter) {
        let seen = Seen { reason: Some(reason), ..Seen::of(Point::Drop, frame) };
        self.show(&match way {
            Way::In => seen.end(Side::Destination),
            // The metadata was true of the packet that came, if there was one.
            Way::Out => Seen { flags: flag::OUTBOUND, meta: None, ..seen }.end(Side::Source),
        });
    }

    fn leaving(&mut self, frame: &Frame, port: PortId) {
        let seen = Seen { flags: flag::OUTBOUND, meta: None, port, ..Seen::of(Point::Tx, frame) };
        let seen = seen.end(Side::Source);
        let link = self.link(port);
        let line = Line::of(Point::Tx, link.0);
        for tap in &mut self.taps {
            tap.leaving = match tap.wants(&seen) {
                false => Leaving::Unwanted,
                true => match tap.stage(&seen, self.now, link) {
                    Some(staged) => Leaving::Written(line, staged),
                    None => Leaving::Lost(line, port),
                },
            };
        }
    }

    fn left(&mut self) {
        for tap in &mut self.taps {
            match tap.leaving {
                Leaving::Unwanted => {}
                Leaving::Written(line, staged) => {
                    tap.ring.commit(staged);
                    tap.ring.took(line);
                }
                Leaving::Lost(line, port) => lose(&mut tap.ring, &self.panel.ledger, line, port),
            }
        }
    }

    fn refused(&mut self, refused: &Refused<'_>, port: PortId) {
        let Refused { packet, form, session, reason } = *refused;
        let (key, bare) = match form {
            Form::L3 => (ends::of_packet(packet, Side::Source), flag::BARE),
            Form::L2 => (ends::of_frame(packet, Side::Source), 0),
        };
        self.show(&Seen {
            point: Point::Drop,
            flags: flag::OUTBOUND | bare,
            reason: Some(reason),
            port,
            meta: None,
            keys: [key, None],
            session: Some(session),
            packet,
        });
    }

    fn crossing(&mut self, crossing: &Crossing<'_>) {
        let Crossing { frame, meta, to } = *crossing;
        let [src, dst] = both_ends(frame);
        let (out, flags) = (flag::HAIRPIN | flag::OUTBOUND, flag::HAIRPIN);
        self.show(&Seen { flags: out, meta: None, keys: [src, None], ..Seen::of(Point::Tx, frame) });
        let (meta, session) = (Some(*meta), Some(to.session));
        self.show(&Seen { flags, meta, session, keys: [dst, None], ..Seen::of(Point::Rx, frame) });
    }

    fn crossing_dropped(&mut self, crossing: &Crossing<'_>, reason: Counter) {
        let Crossing { frame, meta, .. } = *crossing;
        let ([src, dst], flags) = (both_ends(frame), flag::HAIRPIN);
        let (reason, meta) = (Some(reason), Some(*meta));
        self.show(&Seen { flags, reason, meta, keys: [dst, src], ..Seen::of(Point::Drop, frame) });
    }

    fn end(&mut self) {
        self.taps.iter_mut().for_each(|tap| tap.ring.publish());
    }
}

/// The tuples of a packet's source and destination.
fn both_ends(frame: &Frame) -> [Option<SteerKey>; 2] {
    [Side::Source, Side::Destination].map(|side| ends::of_frame(frame.bytes(), side))
}

/// Whose a packet without metadata is, found as the stage of steering will find it.
#[cold]
fn parsed(frame: &Frame, env: &Env<'_>) -> Option<RxMeta> {
    let tables = env.snapshot.tables();
    match steer(frame.bytes(), tables.ports.get(frame.port())?, &*tables.mirror) {
        Outcome::Redirect { meta, .. } => Some(meta),
        Outcome::Pass(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
