//! A port that plays a capture file back and records what is sent into another: the same engines, offline.
//!
//! Packets carry no metadata, so that engines parse them again. Each comes when the clock has reached its time of
//! capture, counted from the first: with a clock that the caller moves ([`Playback::next_at`]) a replay is the same
//! every time. A packet longer than a frame is never cut: it is lost, and counted as `no_buffer`.
mod read;
mod write;

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Census, Port, PortError, PortId, Receive, RxLosses, Transmit,
    pool::{Pool, PoolError, Starts, UnderWay},
};
use crate::{
    clock::{Clock, Nanos},
    frame::{Frame, Geometry},
    ring::Producer,
};

pub use read::{Capture, Format, MAX_BLOCK, MAX_INTERFACES, PcapError, Record};
pub use write::Recorder;

/// How a pcap port is made.
pub struct Options {
    /// Its number.
    pub id: PortId,
    /// Its UMEM.
    pub geometry: Geometry,
    /// When packets come, and the time that recorded ones get.
    pub clock: Arc<dyn Clock>,
}

/// A port between two files.
pub struct PcapPort {
    rx: PcapRx,
    tx: PcapTx,
}

/// Its receiving half.
pub struct PcapRx {
    id: PortId,
    pool: Pool,
    capture: Capture,
    clock: Arc<dyn Clock>,
    next: Option<Due>,
    /// When the first packet was captured, and the clock then.
    start: Option<(u64, Nanos)>,
    too_long: u64,
    playback: Arc<Shared>,
}

/// Its sending half.
pub struct PcapTx {
    id: PortId,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    sent: Producer<Frame>,
    under_way: UnderWay,
    /// A failed write, told at the next flush.
    failed: Option<io::Error>,
}

/// A packet in its frame that waits for its time.
struct Due {
    at: Nanos,
    frame: Frame,
}

#[derive(Debug)]
struct Shared {
    next_at: AtomicU64,
}

/// What a caller who moves the clock must know.
#[derive(Clone, Debug)]
pub struct Playback {
    shared: Arc<Shared>,
}

/// [`Shared::next_at`] when nothing waits.
const NEVER: u64 = u64::MAX;

impl Playback {
    /// When the next packet comes; `None` if none waits for its time.
    #[must_use]
    pub fn next_at(&self) -> Option<Nanos> {
        match self.shared.next_at.load(Ordering::Acquire) {
            NEVER => None,
            at => Some(Nanos::new(at)),
        }
    }
}

impl PcapPort {
    /// A port that receives what `capture` holds and records what is sent.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn new(options: Options, capture: Capture, recorder: Recorder) -> Result<Self, PoolError> {
        let Options { id, geometry, clock } = options;
        let slots = geometry.frames.next_power_of_two() as usize;
        let (pool, sent) = Pool::new(id, geometry, slots, Starts::SAME)?;
        let under_way = pool.under_way();
        let tx = PcapTx { id, recorder, clock: Arc::clone(&clock), sent, under_way, failed: None };
        let playback = Arc::new(Shared { next_at: AtomicU64::new(NEVER) });
        let rx = PcapRx { id, pool, capture, clock, next: None, start: None, too_long: 0, playback };
        Ok(Self { rx, tx })
    }

    /// For a caller who moves the clock.
    #[must_use]
    pub fn playback(&self) -> Playback {
        Playback { shared: Arc::clone(&self.rx.playback) }
    }
}

impl Port for PcapPort {
    type Rx = PcapRx;
    type Tx = PcapTx;

    fn split(self) -> (PcapRx, PcapTx) {
        (self.rx, self.tx)
    }
}

impl PcapRx {
    /// The next packet of the file, in a frame; `Ok(None)` if there is no frame for it now.
    fn read(&mut self) -> Result<Option<Due>, PortError> {
        let Some(mut frame) = self.pool.alloc() else { return Ok(None) };
        loop {
            let record = match self.capture.next() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    self.pool.recycle(frame);
                    return Err(PortError::Ended);
                }
                Err(error) => {
                    self.pool.recycle(frame);
                    let source = io::Error::new(io::ErrorKind::InvalidData, error);
                    return Err(PortError::Kernel { call: "capture file", source });
                }
            };
            if frame.set_len(record.bytes.len()).is_err() {
                self.too_long += 1;
                continue;
            }
            frame.bytes_mut().copy_from_slice(record.bytes);
            let (first, began) = *self.start.get_or_insert_with(|| (record.at_ns, self.clock.now()));
            // A file may go back in time; its packets then come at once, in their order.
            let at = Nanos::new(began.get().saturating_add(record.at_ns.saturating_sub(first)));
            return Ok(Some(Due { at, frame }));
        }
    }

    fn announce(&self) {
        let at = self.next.as_ref().map_or(NEVER, |due| due.at.get());
        self.playback.next_at.store(at, Ordering::Release);
    }
}

impl Receive for PcapRx {
    fn id(&self) -> PortId {
        self.id
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> Result<usize, PortError> {
        let now = self.clock.now();
        let mut count = 0;
        while count < max {
            if self.next.is_none() {
                match self.read() {
                    Ok(next) => self.next = next,
                    // What was received before the end comes first.
                    Err(_) if count != 0 => break,
                    Err(error) => {
                        self.announce();
                        return Err(error);
                    }
                }
            }
            match self.next.take_if(|due| due.at <= now) {
                Some(due) => into.push(due.frame),
                None => break,
            }
            count += 1;
        }
        self.announce();
        Ok(count)
    }

    fn recycle(&mut self, frame: Frame) {
        self.pool.recycle(frame);
    }

    fn recycle_all(&mut self, frames: &mut Vec<Frame>) {
        self.pool.recycle_all(frames);
    }

    fn alloc(&mut self) -> Option<Frame> {
        self.pool.alloc()
    }

    fn refill(&mut self) -> Result<(), PortError> {
        self.pool.take_back();
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn memory_bytes(&self) -> u64 {
        self.pool.memory_bytes()
    }

    fn losses(&self) -> RxLosses {
        RxLosses { no_buffer: self.too_long, ..RxLosses::default() }
    }

    fn census(&self) -> Census {
        // A packet that waits for its time is what the kernel would still have.
        self.pool.census(u32::from(self.next.is_some()), 0)
    }
}

impl Transmit for PcapTx {
    fn id(&self) -> PortId {
        self.id
    }

    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.failed.is_some() {
            return Err(frame);
        }
        if let Err(error) = self.recorder.write(self.clock.now(), frame.bytes()) {
            self.failed = Some(error);
            return Err(frame);
        }
        if self.under_way.owns(&frame) {
            self.under_way.leaves(&frame);
            if self.sent.push(frame).is_err() {
                // It is dropped, and its pool takes it up as an orphan.
                self.under_way.stays();
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortError> {
        let failed = self.failed.take().map_or_else(|| self.recorder.flush(), Err);
        failed.map_err(|source| PortError::Kernel { call: "recording", source })
    }

    fn pending(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;
