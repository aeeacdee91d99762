//! Layout `pipeline`: one engine receives, one sends, all between judge; scratch rings join them.
//!
//! ```text
//!                    ┌─ scratch ─► ME 0 ─ scratch ─┐
//!   ports ─► Rx ─────┤                             ├────► Tx ─► ports
//!            ▲       └─ scratch ─► ME n ─ scratch ─┘       │
//!            │                      │                      │
//!            └───── freed ──────────┴──────── freed ───────┘
//! ```
//!
//! A flow always goes through the same microengine and so keeps its order. Nobody waits for a full ring: what does
//! not fit is dropped where it was to be put in, as `scratch_ring_full`. A frame that is done with returns to `Rx`,
//! which owns the receiving halves; only when even that ring is full is it dropped, and its port finds it again.
mod flow;
mod me;
mod rx;
mod tx;

use std::sync::Arc;

use crate::{
    engine::Limits,
    engines::EngineId,
    frame::Frame,
    panel::Panel,
    port::{Port, PortId},
    program::Program,
    ring::{Consumer, Level, Producer, RingSize, ring},
    tables::Published,
    wakeup::Bell,
};

pub(crate) use {me::MicroEngine, rx::RxEngine, tx::TxEngine};

/// Where an engine will sit: made before it, because its neighbours need its bell.
pub(crate) struct Station {
    pub(crate) id: EngineId,
    pub(crate) bell: Arc<Bell>,
    pub(crate) panel: Arc<Panel>,
}

/// A scratch ring between two engines, to be looked at.
pub(crate) struct Joint {
    pub(crate) from: EngineId,
    pub(crate) to: EngineId,
    pub(crate) level: Box<dyn Look>,
}

/// A ring's level, whatever its items are.
pub(crate) trait Look: Send + Sync {
    /// Items waiting, most that ever waited, slots.
    fn look(&self) -> (usize, usize, usize);
}

impl<T: Send> Look for Level<T> {
    fn look(&self) -> (usize, usize, usize) {
        (self.waiting(), self.high_water(), self.capacity())
    }
}

/// The engines of a pipeline, joined, without threads.
pub(crate) struct Pipeline<P: Port> {
    pub(crate) rx: RxEngine<P>,
    pub(crate) engines: Vec<MicroEngine>,
    pub(crate) tx: TxEngine<P>,
    pub(crate) joints: Vec<Joint>,
}

/// Slots of all rings of a pipeline with so many microengines.
pub(crate) fn ring_slots(engines: usize, limits: &Limits) -> usize {
    // In, out and back for each, and back from Tx.
    (3 * engines + 1) * limits.scratch_slots
}

/// Builds the engines of a pipeline and the rings between them.
pub(crate) fn assemble<P: Port>(
    first: &Station,
    between: &[Station],
    last: &Station,
    published: &Published,
    limits: Limits,
    programs: &dyn Fn(EngineId) -> Box<dyn Program>,
) -> Result<Pipeline<P>, RingSize> {
    let (mut outlets, mut inlets, mut freed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut engines, mut joints) = (Vec::new(), Vec::new());
    for station in between {
        let (to_me, inlet) = scratch(limits.scratch_slots, first, station, &mut joints)?;
        let (outlet, to_tx) = scratch(limits.scratch_slots, station, last, &mut joints)?;
        let (back, from_me) = scratch(limits.scratch_slots, station, first, &mut joints)?;
        outlets.push(to_me);
        inlets.push(to_tx);
        freed.push(from_me);
        let panel = Arc::clone(&station.panel);
        engines.push(MicroEngine {
            inlet,
            outlet,
            freed: back,
            program: programs(station.id),
            tables: published.reader(),
            panel,
            limits,
            frames: Vec::with_capacity(limits.batch),
            verdicts: Vec::with_capacity(limits.batch),
        });
    }
    let (back, from_tx) = scratch(limits.scratch_slots, last, first, &mut joints)?;
    freed.push(from_tx);
    let rx = RxEngine {
        inboxes: Vec::new(),
        outlets,
        freed,
        tables: published.reader(),
        panel: Arc::clone(&first.panel),
        limits,
        frames: Vec::with_capacity(limits.batch * rx::TAKE_BACK),
        failures: Vec::new(),
    };
    let tx = TxEngine {
        inlets,
        outboxes: Vec::new(),
        freed: back,
        tables: published.reader(),
        panel: Arc::clone(&last.panel),
        limits,
        leaving: Vec::with_capacity(limits.batch),
        failures: Vec::new(),
    };
    Ok(Pipeline { rx, engines, tx, joints })
}

/// Makes the scratch ring from one engine to another.
fn scratch<T: Send + 'static>(
    slots: usize,
    from: &Station,
    to: &Station,
    joints: &mut Vec<Joint>,
) -> Result<(Outlet<T>, Consumer<T>), RingSize> {
    let (producer, consumer) = ring(slots)?;
    joints.push(Joint { from: from.id, to: to.id, level: Box::new(producer.level()) });
    let staged = Vec::with_capacity(slots);
    Ok((Outlet { ring: producer, staged, bell: Arc::clone(&to.bell) }, consumer))
}

/// A packet on its way to the port that it leaves by.
pub(crate) struct Leaving {
    frame: Frame,
    port: PortId,
}

/// The filling half of a scratch ring, what is to go into it at the end of the round, and who is woken then.
pub(crate) struct Outlet<T> {
    ring: Producer<T>,
    staged: Vec<T>,
    bell: Arc<Bell>,
}

impl<T> Outlet<T> {
    #[inline]
    fn stage(&mut self, item: T) {
        self.staged.push(item);
    }

    /// Moves what is staged into the ring, wakes the reader, and hands back what did not fit.
    #[inline]
    fn flush(&mut self, left: impl FnMut(T)) {
        if self.staged.is_empty() {
            return;
        }
        if self.ring.push_burst(&mut self.staged) != 0 {
            self.bell.ring();
        }
        self.staged.drain(..).for_each(left);
    }
}

/// The way back to `Rx` for frames that are done with. What does not fit is dropped, and so becomes an orphan that
/// its port reclaims: slower, never lost.
pub(crate) type Freed = Outlet<Frame>;

impl Outlet<Frame> {
    #[inline]
    fn give_back(&mut self) {
        self.flush(drop);
    }
}

#[cfg(test)]
mod tests;
