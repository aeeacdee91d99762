//! A microengine of the pipeline: takes packets from one scratch ring, judges them, passes them on or frees them.
//!
//! It knows no port. Where a packet goes is the sending engine's affair, where a frame is at home the receiving one's.
use std::sync::Arc;

use super::{Freed, Leaving, Outlet};
use crate::{
    capture::{Tap, Way},
    clock::Nanos,
    counter::Counter,
    engine::Limits,
    frame::Frame,
    panel::Panel,
    port::Port,
    program::{Env, Out, Program, Verdict},
    ring::Consumer,
    role::{AlwaysReady, Command, Failure, OpenChannelError, Role, Turn},
    tables::{Generation, Reader},
    wakeup::PollSet,
};

pub(crate) struct MicroEngine {
    pub(crate) inlet: Consumer<Frame>,
    pub(crate) outlet: Outlet<Leaving>,
    pub(crate) freed: Freed,
    pub(crate) program: Box<dyn Program>,
    pub(crate) tables: Reader,
    pub(crate) panel: Arc<Panel>,
    pub(crate) limits: Limits,
    pub(crate) frames: Vec<Frame>,
    pub(crate) verdicts: Vec<Verdict>,
}

impl MicroEngine {
    fn round<T: Tap>(&mut self, now: Nanos, tap: &mut T) -> usize {
        let Self { inlet, outlet, freed, program, tables, panel, limits, frames, verdicts } = self;
        let ledger = &panel.ledger;
        let taken = inlet.pop_burst(frames, limits.batch);
        if taken == 0 {
            return 0;
        }
        if T::ON {
            tap.begin(now, tables.newest());
        }
        program.run(frames, verdicts, &Env { now, snapshot: tables.newest(), ledger });
        for (frame, verdict) in frames.drain(..).zip(verdicts.drain(..)) {
            let home = frame.port();
            let counter = match verdict {
                Verdict::Transmit(out) => {
                    let port = match out {
                        Out::Back => home,
                        Out::Port(port) => port,
                    };
                    outlet.stage(Leaving { frame, port });
                    continue;
                }
                Verdict::Deliver => Counter::Delivered,
                Verdict::Drop(loss) => drop(tap, &frame, loss.counter()),
                // A program never ends in it; were it so, this would be its meaning.
                Verdict::Next => drop(tap, &frame, Counter::RxNoStage),
            };
            ledger.add(home, counter, 1);
            freed.stage(frame);
        }
        let staged = &mut freed.staged;
        outlet.flush(|Leaving { frame, .. }| {
            tap.dropped(&frame, Way::Out, Counter::ScratchRingFull);
            ledger.add(frame.port(), Counter::ScratchRingFull, 1);
            staged.push(frame);
        });
        freed.give_back();
        tap.end();
        taken
    }
}

/// Shows a packet that ends here, and why.
#[inline]
fn drop(tap: &mut impl Tap, frame: &Frame, reason: Counter) -> Counter {
    tap.dropped(frame, Way::In, reason);
    reason
}

impl<P: Port> Role<P> for MicroEngine {
    fn refresh(&mut self) -> Generation {
        self.tables.newest().generation()
    }

    fn newest(&self) -> Generation {
        self.tables.peek()
    }

    fn turn<T: Tap>(&mut self, now: Nanos, tap: &mut T) -> Turn {
        let moved = self.round(now, tap);
        Turn { moved, held: self.inlet.len() }
    }

    fn obey(&mut self, command: Command<P>, _: &mut impl Tap) {
        match command {
            // An application's packets need frames, and those are the receiving engine's.
            Command::Open(_, answer) => _ = answer.send(Err(OpenChannelError::NoStage)),
            Command::Shut(_, answer) => _ = answer.send(false),
            _ => {}
        }
    }

    fn work_waits(&self) -> bool {
        !self.inlet.is_empty()
    }

    fn is_pending(&self) -> bool {
        false
    }

    fn listen<'a>(&'a self, _: &mut PollSet<'a>) -> Result<(), AlwaysReady> {
        Ok(())
    }

    fn broken(&mut self, _: usize) {}

    fn failures(&mut self, _: &mut dyn FnMut(Failure)) {}
}
