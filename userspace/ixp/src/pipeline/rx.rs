//! The receiving engine: takes packets from all ports and shares them out among the microengines, flow by flow.
//!
//! It judges nothing. It also takes every frame that is done with back to its port, because the receiving half is
//! the only one that can receive into it again.
use std::sync::Arc;

use abi::rxmeta::RxMeta;
use region::prefetch;

use super::{Outlet, flow};
use crate::{
    capture::{Tap, Way},
    clock::Nanos,
    counter::Counter,
    engine::{Inbox, Limits},
    frame::Frame,
    panel::Panel,
    port::{Port, PortError, PortId, Receive},
    program::Env,
    ring::Consumer,
    role::{AlwaysReady, Command, Failure, OpenChannelError, PortReport, Role, Turn},
    tables::{Generation, Reader},
    wakeup::PollSet,
};

/// Batches of frames taken back from one ring in a round: more than a round can free, so that none piles up.
pub(super) const TAKE_BACK: usize = 4;

pub(crate) struct RxEngine<P: Port> {
    pub(crate) inboxes: Vec<Inbox<P::Rx>>,
    pub(crate) outlets: Vec<Outlet<Frame>>,
    pub(crate) freed: Vec<Consumer<Frame>>,
    pub(crate) tables: Reader,
    pub(crate) panel: Arc<Panel>,
    pub(crate) limits: Limits,
    pub(crate) frames: Vec<Frame>,
    pub(crate) failures: Vec<Failure>,
}

impl<P: Port> RxEngine<P> {
    /// Gives frames that the others are done with back to their ports.
    fn take_back(&mut self) -> usize {
        let mut count = 0;
        for ring in &mut self.freed {
            count += ring.pop_burst(&mut self.frames, self.limits.batch * TAKE_BACK);
            for frame in self.frames.drain(..) {
                recycle::<P>(&mut self.inboxes, frame);
            }
        }
        count
    }

    /// Receives one batch from a port and stages it for the microengines.
    pub(super) fn share_out<T: Tap>(&mut self, at: usize, now: Nanos, tap: &mut T) -> usize {
        let Self { inboxes, outlets, tables, panel, limits, frames, failures, .. } = self;
        let Some(inbox) = inboxes.get_mut(at) else { return 0 };
        let received = inbox.receive(frames, limits.batch, failures);
        if received == 0 {
            return 0;
        }
        let port = inbox.rx.id();
        panel.ledger.add(port, Counter::Rx, received as u64);
        let snapshot = tables.newest();
        if T::ON {
            tap.begin(now, snapshot);
            tap.received(frames, &Env { now, snapshot, ledger: &panel.ledger });
        }
        let config = snapshot.tables().ports.get(port);
        for frame in frames.iter() {
            prefetch::read(frame.as_ptr().wrapping_sub(RxMeta::SIZE));
        }
        let count = outlets.len();
        for frame in frames.drain(..) {
            let nth = if count == 1 { 0 } else { flow::share(flow::hash(&frame, config), count) };
            if let Some(outlet) = outlets.get_mut(nth) {
                outlet.stage(frame);
            }
        }
        received
    }

    /// Hands the staged packets over; what does not fit is dropped.
    pub(super) fn hand_over(&mut self, tap: &mut impl Tap) {
        let Self { inboxes, outlets, panel, .. } = self;
        for outlet in outlets {
            outlet.flush(|frame| {
                tap.dropped(&frame, Way::In, Counter::ScratchRingFull);
                panel.ledger.add(frame.port(), Counter::ScratchRingFull, 1);
                recycle::<P>(inboxes, frame);
            });
        }
    }

    fn reports(&self) -> Vec<PortReport> {
        self.inboxes.iter().map(Inbox::report).collect()
    }

    fn close(&mut self, port: PortId) -> Option<PortReport> {
        let at = self.inboxes.iter().position(|i| i.rx.id() == port)?;
        let mut inbox = self.inboxes.swap_remove(at);
        inbox.refill(&mut self.failures);
        Some(inbox.report())
    }
}

/// Gives a frame to its port; one of a port that is closed is dropped.
#[inline]
fn recycle<P: Port>(inboxes: &mut [Inbox<P::Rx>], frame: Frame) {
    let home = frame.port();
    if let Some(inbox) = inboxes.iter_mut().find(|i| i.rx.id() == home) {
        inbox.rx.recycle(frame);
    }
}

impl<P: Port> Role<P> for RxEngine<P> {
    fn refresh(&mut self) -> Generation {
        self.tables.newest().generation()
    }

    fn newest(&self) -> Generation {
        self.tables.peek()
    }

    fn turn<T: Tap>(&mut self, now: Nanos, tap: &mut T) -> Turn {
        let mut moved = self.take_back();
        for at in 0..self.inboxes.len() {
            moved += self.share_out(at, now, tap);
            self.hand_over(tap);
        }
        tap.end();
        for inbox in &mut self.inboxes {
            inbox.refill(&mut self.failures);
        }
        // Packets that wait in the rings it fills are counted by those who read them.
        Turn { moved, held: 0 }
    }

    fn obey(&mut self, command: Command<P>, _: &mut impl Tap) {
        match command {
            Command::Add { rx: Some(rx), .. } => self.inboxes.push(Inbox::new(rx)),
            Command::Quiesce(port) => {
                self.inboxes.iter_mut().filter(|i| i.rx.id() == port).for_each(Inbox::quiesce);
            }
            // Whoever asked may have given up waiting; the answer is then nobody's.
            Command::Close(port, answer) => _ = answer.send(self.close(port)),
            Command::Report(answer) => _ = answer.send(self.reports()),
            Command::Open(_, answer) => _ = answer.send(Err(OpenChannelError::NoStage)),
            Command::Shut(_, answer) => _ = answer.send(false),
            Command::Add { .. } | Command::Tap(..) | Command::Untap(..) | Command::Stop => {}
        }
    }

    fn work_waits(&self) -> bool {
        self.freed.iter().any(|ring| !ring.is_empty())
    }

    fn is_pending(&self) -> bool {
        false
    }

    fn listen<'a>(&'a self, set: &mut PollSet<'a>) -> Result<(), AlwaysReady> {
        for inbox in self.inboxes.iter().filter(|i| i.listens()) {
            set.add(inbox.rx.fd().ok_or(AlwaysReady)?);
        }
        Ok(())
    }

    fn broken(&mut self, nth: usize) {
        let mut running = self.inboxes.iter_mut().filter(|i| i.listens());
        if let Some(inbox) = running.nth(nth) {
            inbox.fail(PortError::Gone, &mut self.failures);
        }
    }

    fn failures(&mut self, each: &mut dyn FnMut(Failure)) {
        self.failures.drain(..).for_each(each);
    }
}
