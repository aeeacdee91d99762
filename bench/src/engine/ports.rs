//! Ports as both ends of a wire: frames of the plan leave by the first, frames of anybody arrive by all of them.
//!
//! It refuses to lose a planned frame: one that the port has no room for waits here and is the first to leave later.
use std::os::fd::BorrowedFd;

use abi::pktgen::Cursor;
use anyhow::{Context, Result};
use ixp::{
    frame::Frame,
    port::{Receive, Transmit},
};
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};

use super::{Inlet, Left, Outlet, clock::Clock};
use crate::traffic::plan::Plan;

/// Frames taken from a port in one go.
const BURST: usize = 64;

/// The two halves of each port.
pub struct Ports<R, T> {
    halves: Vec<(R, T)>,
    frames: Vec<Frame>,
}

/// Ports, and the plan whose frames leave by the first.
pub struct PlannedPorts<R, T> {
    ports: Ports<R, T>,
    plan: Plan,
    cursor: Cursor,
    stalled: Option<Frame>,
}

impl<R: Receive, T: Transmit> Ports<R, T> {
    /// The ports with these halves; at least one.
    pub fn new(halves: Vec<(R, T)>) -> Self {
        Self { halves, frames: Vec::with_capacity(BURST) }
    }

    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.halves.iter().filter_map(|(rx, _)| rx.fd()).collect()
    }
}

impl<R: Receive, T: Transmit> Inlet for Ports<R, T> {
    fn collect(&mut self, clock: &dyn Clock, each: &mut dyn FnMut(&[u8], u64)) -> Result<u64> {
        let mut count = 0;
        for (rx, tx) in &mut self.halves {
            loop {
                let got = rx.receive(&mut self.frames, BURST)?;
                // A clock read before would make the frames that came meanwhile arrive before they left.
                let now_ns = if got == 0 { 0 } else { clock.now_ns() };
                for frame in self.frames.drain(..) {
                    each(frame.bytes(), now_ns);
                    rx.recycle(frame);
                }
                rx.refill()?;
                count += got as u64;
                if got < BURST {
                    break;
                }
            }
            // Completions come back by the sending half.
            tx.flush()?;
        }
        Ok(count)
    }

    fn wait(&mut self, ns: u64) -> Result<()> {
        let fds = self.fds();
        let mut polled: Vec<_> = fds.iter().map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let limit = TimeSpec::new((ns / 1_000_000_000) as i64, (ns % 1_000_000_000) as i64);
        match ppoll(&mut polled, Some(limit), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("waiting for frames"),
        }
    }

    fn losses(&self) -> u64 {
        self.halves.iter().map(|(rx, _)| rx.losses()).map(|l| l.ring_full + l.no_buffer).sum()
    }
}

impl<R: Receive, T: Transmit> PlannedPorts<R, T> {
    /// Lets the frames of `plan` leave by the first of `ports`.
    pub fn new(ports: Ports<R, T>, plan: Plan) -> Self {
        Self { ports, plan, cursor: Cursor::starting(0), stalled: None }
    }

    /// The next frame with room for it: the one that is waiting, or a newly made one.
    fn next_frame(&mut self, now_ns: u64) -> Result<Option<Frame>> {
        if let Some(frame) = self.stalled.take() {
            return Ok(Some(frame));
        }
        let Some((rx, _)) = self.ports.halves.first_mut() else { return Ok(None) };
        let Some(mut frame) = rx.alloc() else { return Ok(None) };
        let too_long = |limit| anyhow::anyhow!("a frame of the port holds {limit} bytes only");
        frame.set_len(self.plan.longest()).map_err(too_long)?;
        let len = self.plan.next(&mut self.cursor, now_ns, frame.bytes_mut());
        frame.set_len(len).map_err(too_long)?;
        Ok(Some(frame))
    }
}

impl<R: Receive, T: Transmit> Outlet for PlannedPorts<R, T> {
    fn restart(&mut self, start_ns: u64, interval_q: u64) {
        if let (Some(frame), Some((rx, _))) = (self.stalled.take(), self.ports.halves.first_mut()) {
            rx.recycle(frame);
        }
        self.plan.set_interval(interval_q);
        self.cursor = Cursor::starting(start_ns);
    }

    fn offer(&mut self, max: u64, now_ns: u64) -> Result<Left> {
        let mut left = Left::default();
        for _ in 0..max.min(BURST as u64) {
            let Some(frame) = self.next_frame(now_ns)? else { break };
            let bytes = frame.len() as u64;
            let Some((_, tx)) = self.ports.halves.first_mut() else { break };
            if let Err(frame) = tx.send(frame) {
                self.stalled = Some(frame);
                break;
            }
            left.frames += 1;
            left.bytes += bytes;
        }
        if let Some((rx, tx)) = self.ports.halves.first_mut() {
            tx.flush()?;
            rx.refill()?;
        }
        Ok(left)
    }
}

impl<R: Receive, T: Transmit> Inlet for PlannedPorts<R, T> {
    fn collect(&mut self, clock: &dyn Clock, each: &mut dyn FnMut(&[u8], u64)) -> Result<u64> {
        self.ports.collect(clock, each)
    }

    fn wait(&mut self, ns: u64) -> Result<()> {
        self.ports.wait(ns)
    }

    fn losses(&self) -> u64 {
        self.ports.losses()
    }
}
