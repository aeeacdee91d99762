//! Packets from one session to another, on their way: out of the one's ring, and not yet in the other's.
//!
//! Such a packet stands where one from a port stands behind steering: whose it is has been found, and filters may still drop
//! it or make another of it. It refuses to become anybody else's.
use multistack::{egress::Hairpin, neighbour::LinkNo};

use crate::{
    counter::Loss,
    frame::Frame,
    program::{Lane, Verdict},
    stage::steer::Steered,
};

/// Packets between sessions that one loop holds: as many as a loop moves.
const HAIRPINS: usize = multistack::drr::LOOP_MOST as usize;

/// What crosses in one loop.
///
/// # Invariants
/// The lists are of equal length. A verdict is [`Verdict::Next`] or a drop.
pub struct Crossings {
    frames: Vec<Frame>,
    lanes: Vec<Lane<Steered>>,
    /// Whose Ethernet header each has.
    links: Vec<LinkNo>,
}

impl Default for Crossings {
    fn default() -> Self {
        Self {
            frames: Vec::with_capacity(HAIRPINS),
            lanes: Vec::with_capacity(HAIRPINS),
            links: Vec::with_capacity(HAIRPINS),
        }
    }
}

impl Crossings {
    #[inline(always)]
    pub(super) fn push(&mut self, pin: &Hairpin, frame: Frame) {
        let context = Steered { meta: pin.meta, tuple: pin.to.tuple, ..Steered::default() };
        self.frames.push(frame);
        self.lanes.push(Lane { context, verdict: Verdict::Next });
        self.links.push(pin.link);
    }

    /// Whether nothing crosses.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The packets, what is known of each, and the link whose Ethernet header it has.
    pub(crate) fn parts(&mut self) -> (&mut [Frame], &mut [Lane<Steered>], &[LinkNo]) {
        (&mut self.frames, &mut self.lanes, &self.links)
    }

    /// Takes all out: each goes on as what is known of it says, or was dropped for this reason.
    #[inline]
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Frame, Steered, Option<Loss>)> {
        self.links.clear();
        self.frames.drain(..).zip(self.lanes.drain(..)).map(|(frame, Lane { context, verdict })| {
            let loss = if let Verdict::Drop(loss) = verdict { Some(loss) } else { None };
            (frame, context, loss)
        })
    }
}
