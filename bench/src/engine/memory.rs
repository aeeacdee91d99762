//! A wire of nothing but memory: the generator at one end, a reflector at the other.
//!
//! It needs no privilege. What it measures is the generator itself, and what engines on a memory port are driven
//! by: [`Far`] is that end alone.
use abi::pktgen::Cursor;
use anyhow::{Context, Result};
use ixp::{
    frame::Frame,
    port::{
        Port, PortId, Receive, Transmit,
        memory::{FarEnd, MemoryRx, MemoryTx, Options, memory_port},
    },
};

use super::{Inlet, Left, Outlet, clock::Clock};
use crate::traffic::plan::Plan;

/// Frames moved in one go.
const BURST: usize = 64;

/// The wire's end of a memory port, and the plan whose frames are injected there.
///
/// Like a wire, it does not ask whether there is room: what the port cannot take is lost, and the port counts it.
pub struct Far {
    far: FarEnd,
    plan: Plan,
    cursor: Cursor,
    frame: Vec<u8>,
}

/// A memory port whose frames all come back.
pub struct Reflector {
    far: Far,
    rx: MemoryRx,
    tx: MemoryTx,
    frames: Vec<Frame>,
}

impl Far {
    /// Injects the frames of `plan` at `far`.
    #[must_use]
    pub fn new(far: FarEnd, plan: Plan) -> Self {
        let frame = vec![0; plan.longest()];
        Self { far, plan, cursor: Cursor::starting(0), frame }
    }

    /// Frames that can be injected now without one being lost.
    #[must_use]
    pub fn room(&self) -> usize {
        self.far.room()
    }
}

impl Outlet for Far {
    fn restart(&mut self, start_ns: u64, interval_q: u64) {
        self.plan.set_interval(interval_q);
        self.cursor = Cursor::starting(start_ns);
    }

    fn offer(&mut self, max: u64, now_ns: u64) -> Result<Left> {
        let mut left = Left::default();
        for _ in 0..max.min(BURST as u64) {
            let len = self.plan.next(&mut self.cursor, now_ns, &mut self.frame);
            // Refused or not, it has left: a wire does not wait. The port counts what it had no room for.
            let _ = self.far.inject(&self.frame[..len], None);
            left.frames += 1;
            left.bytes += len as u64;
        }
        Ok(left)
    }
}

impl Inlet for Far {
    fn collect(&mut self, clock: &dyn Clock, each: &mut dyn FnMut(&[u8], u64)) -> Result<u64> {
        let mut count = 0;
        loop {
            let now_ns = clock.now_ns();
            let got = self.far.collect(BURST, |frame| each(frame, now_ns));
            count += got as u64;
            if got < BURST {
                return Ok(count);
            }
        }
    }

    fn wait(&mut self, _ns: u64) -> Result<()> {
        std::thread::yield_now();
        Ok(())
    }

    fn losses(&self) -> u64 {
        0
    }
}

impl Reflector {
    /// A wire for the frames of `plan`.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(plan: Plan) -> Result<Self> {
        let (port, far) = memory_port(Options::new(PortId::new(0))).context("a memory port")?;
        let (rx, tx) = port.split();
        Ok(Self { far: Far::new(far, plan), rx, tx, frames: Vec::with_capacity(BURST) })
    }

    /// Sends back what has arrived.
    fn reflect(&mut self) -> Result<()> {
        loop {
            let got = self.rx.receive(&mut self.frames, BURST)?;
            for frame in self.frames.drain(..) {
                if let Err(frame) = self.tx.send(frame) {
                    self.rx.recycle(frame);
                }
            }
            self.tx.flush()?;
            self.rx.refill()?;
            if got < BURST {
                return Ok(());
            }
        }
    }
}

impl Outlet for Reflector {
    fn restart(&mut self, start_ns: u64, interval_q: u64) {
        self.far.restart(start_ns, interval_q);
    }

    fn offer(&mut self, max: u64, now_ns: u64) -> Result<Left> {
        self.far.offer(max.min(self.far.room() as u64), now_ns)
    }
}

impl Inlet for Reflector {
    fn collect(&mut self, clock: &dyn Clock, each: &mut dyn FnMut(&[u8], u64)) -> Result<u64> {
        self.reflect()?;
        self.far.collect(clock, each)
    }

    fn wait(&mut self, ns: u64) -> Result<()> {
        self.far.wait(ns)
    }

    fn losses(&self) -> u64 {
        let losses = self.rx.losses();
        losses.ring_full + losses.no_buffer
    }
}
