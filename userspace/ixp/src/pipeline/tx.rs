//! The sending engine: takes packets from all microengines and hands them to the ports they leave by.
//!
//! A packet whose port is not here, or no longer, is dropped as `tx_port_gone`.
use std::sync::Arc;

use super::{Freed, Leaving};
use crate::{
    capture::{Tap, Way},
    clock::Nanos,
    counter::{Counter, Loss},
    engine::Limits,
    outbox::{Outbox, Sent},
    panel::Panel,
    port::{Port, PortId},
    ring::Consumer,
    role::{AlwaysReady, Command, Failure, OpenChannelError, Role, Turn},
    tables::{Generation, Reader},
    wakeup::PollSet,
};

pub(crate) struct TxEngine<P: Port> {
    pub(crate) inlets: Vec<Consumer<Leaving>>,
    pub(crate) outboxes: Vec<Outbox<P::Tx>>,
    pub(crate) freed: Freed,
    pub(crate) tables: Reader,
    pub(crate) panel: Arc<Panel>,
    pub(crate) limits: Limits,
    pub(crate) leaving: Vec<Leaving>,
    pub(crate) failures: Vec<Failure>,
}

impl<P: Port> TxEngine<P> {
    fn dispatch(&mut self, tap: &mut impl Tap) -> usize {
        let Self { inlets, outboxes, freed, panel, limits, leaving, .. } = self;
        let mut taken = 0;
        for inlet in inlets {
            taken += inlet.pop_burst(leaving, limits.batch);
            for Leaving { frame, port } in leaving.drain(..) {
                let home = frame.port();
                let sent = match outboxes.iter_mut().find(|o| o.id() == port) {
                    Some(outbox) => outbox.send(frame, tap),
                    None => Err((frame, const { Loss::of(Counter::TxPortGone) })),
                };
                match sent {
                    Ok(Sent::Taken) => panel.ledger.add(home, Counter::Transmitted, 1),
                    Ok(Sent::Waits) => {}
                    Err((frame, loss)) => {
                        tap.dropped(&frame, Way::Out, loss.counter());
                        panel.ledger.add(home, loss.counter(), 1);
                        freed.stage(frame);
                    }
                }
            }
        }
        taken
    }

    fn close(&mut self, port: PortId, tap: &mut impl Tap) {
        let Self { outboxes, freed, panel, .. } = self;
        let Some(at) = outboxes.iter().position(|o| o.id() == port) else { return };
        let mut left = Vec::new();
        let mut outbox = outboxes.swap_remove(at);
        let sent = |home| panel.ledger.add(home, Counter::Transmitted, 1);
        outbox.close(tap, |frame| left.push(frame), sent);
        for other in outboxes {
            other.purge(port, |frame| left.push(frame));
        }
        for frame in left {
            tap.dropped(&frame, Way::Out, Counter::TxPortGone);
            panel.ledger.add(frame.port(), Counter::TxPortGone, 1);
            freed.stage(frame);
        }
        tap.end();
        freed.give_back();
    }
}

impl<P: Port> Role<P> for TxEngine<P> {
    fn refresh(&mut self) -> Generation {
        self.tables.newest().generation()
    }

    fn newest(&self) -> Generation {
        self.tables.peek()
    }

    fn turn<T: Tap>(&mut self, now: Nanos, tap: &mut T) -> Turn {
        if T::ON {
            tap.begin(now, self.tables.newest());
        }
        let pending = Role::<P>::is_pending(self);
        let mut moved = self.dispatch(tap);
        let mut held = self.inlets.iter().map(Consumer::len).sum();
        let Self { outboxes, freed, panel, failures, .. } = self;
        for outbox in outboxes {
            let taken = |home| {
                moved += 1;
                panel.ledger.add(home, Counter::Transmitted, 1);
            };
            if let Err(error) = outbox.flush(tap, taken) {
                failures.push(Failure { port: outbox.id(), error });
            }
            held += outbox.backlog();
        }
        tap.end();
        freed.give_back();
        if pending || moved != 0 {
            // What the wire gave back lies inside the port, and the receiving engine may sleep for want of it.
            freed.bell.ring();
        }
        Turn { moved, held }
    }

    fn obey(&mut self, command: Command<P>, tap: &mut impl Tap) {
        match command {
            Command::Add { tx: Some(tx), .. } => {
                self.outboxes.push(Outbox::new(tx, self.limits.backlog_frames));
            }
            Command::Close(port, answer) => {
                self.close(port, tap);
                // Whoever asked may have given up waiting; the answer is then nobody's.
                let _ = answer.send(None);
            }
            Command::Report(answer) => _ = answer.send(Vec::new()),
            Command::Open(_, answer) => _ = answer.send(Err(OpenChannelError::NoStage)),
            Command::Shut(_, answer) => _ = answer.send(false),
            Command::Add { .. } | Command::Quiesce(_) => {}
            Command::Tap(..) | Command::Untap(..) | Command::Stop => {}
        }
    }

    fn work_waits(&self) -> bool {
        self.inlets.iter().any(|ring| !ring.is_empty())
    }

    fn is_pending(&self) -> bool {
        self.outboxes.iter().any(Outbox::is_pending)
    }

    fn listen<'a>(&'a self, _: &mut PollSet<'a>) -> Result<(), AlwaysReady> {
        Ok(())
    }

    fn broken(&mut self, _: usize) {}

    fn failures(&mut self, each: &mut dyn FnMut(Failure)) {
        self.failures.drain(..).for_each(each);
    }
}
