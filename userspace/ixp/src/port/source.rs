//! A port that always has packets: copies of templates, as fast as they are asked for.
//!
//! For measuring what engines cost, and for counting what they allocate: there is no other end that could be slow.
//! What is sent is counted and comes back as an empty frame at once. It never loses a packet and never waits.
use std::{
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use abi::rxmeta::RxMeta;

use super::{
    Census, Port, PortError, PortId, Receive, RxLosses, Transmit,
    pool::{Pool, PoolError, Starts, UnderWay},
};
use crate::{
    frame::{Frame, Geometry},
    ring::Producer,
};

/// A packet to be received again and again.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What XDP would leave before it; its frame length is set to the packet's.
    pub meta: Option<RxMeta>,
}

/// How a source is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Its number.
    pub id: PortId,
    /// Its UMEM.
    pub geometry: Geometry,
    /// Packets it has; then it ends, and says so by [`PortError::Ended`].
    pub packets: u64,
}

/// A port whose packets come from templates and go nowhere.
pub struct SourcePort {
    rx: SourceRx,
    tx: SourceTx,
}

/// Its receiving half.
pub struct SourceRx {
    id: PortId,
    pool: Pool,
    templates: Vec<Template>,
    next: usize,
    left: u64,
}

/// Its sending half.
pub struct SourceTx {
    id: PortId,
    /// Frames that were sent since the last flush.
    out: Vec<Frame>,
    sent: Producer<Frame>,
    under_way: UnderWay,
    /// Bytes since the last flush.
    new_bytes: u64,
    bytes: Arc<AtomicU64>,
}

impl SourcePort {
    /// A port that receives `templates` in turn; without any it never receives, and never ends: it is there to send.
    ///
    /// # Errors
    /// [`PoolError`]; templates longer than a frame are cut to it.
    pub fn new(options: Options, mut templates: Vec<Template>) -> Result<Self, PoolError> {
        let Options { id, geometry, packets } = options;
        let slots = geometry.frames.next_power_of_two() as usize;
        // What it costs to receive is not what is measured here.
        let (pool, sent) = Pool::new(id, geometry, slots, Starts::staggered(geometry.chunk))?;
        for Template { bytes, meta } in &mut templates {
            bytes.truncate(pool.capacity());
            if let Some(meta) = meta {
                meta.frame_len = bytes.len() as u16;
            }
        }
        let left = if templates.is_empty() { u64::MAX } else { packets };
        let tx = SourceTx {
            id,
            out: Vec::with_capacity(geometry.frames as usize),
            sent,
            under_way: pool.under_way(),
            new_bytes: 0,
            bytes: Arc::default(),
        };
        Ok(Self { rx: SourceRx { id, pool, templates, next: 0, left }, tx })
    }

    /// Counts the bytes sent, also after the port was attached.
    #[must_use]
    pub fn bytes_sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.tx.bytes)
    }
}

impl Port for SourcePort {
    type Rx = SourceRx;
    type Tx = SourceTx;

    fn split(self) -> (SourceRx, SourceTx) {
        (self.rx, self.tx)
    }
}

impl SourceRx {
    /// Makes an empty frame the next packet.
    #[inline]
    fn write(&mut self, frame: &mut Frame) {
        let Some(template) = self.templates.get(self.next) else { return };
        self.next = if self.next + 1 < self.templates.len() { self.next + 1 } else { 0 };
        // Templates were cut to the frame's size.
        let _ = frame.set_len(template.bytes.len());
        frame.bytes_mut().copy_from_slice(&template.bytes);
        if let Some(meta) = &template.meta {
            let _ = frame.set_meta(meta);
        }
    }
}

impl Receive for SourceRx {
    fn id(&self) -> PortId {
        self.id
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> Result<usize, PortError> {
        if self.left == 0 {
            return Err(PortError::Ended);
        }
        if self.templates.is_empty() {
            return Ok(0);
        }
        let before = into.len();
        let count = self.pool.alloc_burst(into, max.min(usize::try_from(self.left).unwrap_or(usize::MAX)));
        into.iter_mut().skip(before).for_each(|frame| self.write(frame));
        self.left -= count as u64;
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
        RxLosses::default()
    }

    fn census(&self) -> Census {
        self.pool.census(0, 0)
    }
}

impl Transmit for SourceTx {
    fn id(&self) -> PortId {
        self.id
    }

    #[inline]
    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        self.new_bytes += frame.len() as u64;
        // A frame of another port goes home by being dropped.
        if self.under_way.owns(&frame) {
            self.out.push(frame);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortError> {
        self.under_way.leave_all(self.out.len() as u32);
        // It has a slot for each frame there is.
        self.sent.push_burst(&mut self.out);
        // Nobody else writes it.
        let bytes = self.bytes.load(Ordering::Relaxed) + std::mem::take(&mut self.new_bytes);
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn pending(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_come_in_turn_until_the_source_is_dry() {
        let geometry = Geometry { chunk: 2048, frames: 4 };
        let options = Options { id: PortId::new(0), geometry, packets: 5 };
        let templates = [b"one".to_vec(), b"other".to_vec()].map(|bytes| Template { bytes, meta: None });
        let (mut rx, mut tx) = SourcePort::new(options, templates.to_vec()).expect("small").split();
        let mut frames = Vec::new();
        assert_eq!(rx.receive(&mut frames, 64).expect("not dry"), 4, "as many as it has frames");
        assert_eq!(
            frames.iter().map(Frame::bytes).collect::<Vec<_>>(),
            [&b"one"[..], b"other", b"one", b"other"]
        );
        for frame in frames.drain(..) {
            tx.send(frame).expect("room");
        }
        tx.flush().expect("there");
        assert_eq!(rx.census(), Census { frames: 4, free: 0, fill: 0, out: 0, tx: 4 });
        rx.refill().expect("there");
        assert_eq!(rx.receive(&mut frames, 64).expect("not dry"), 1);
        assert_eq!(rx.census(), Census { frames: 4, free: 3, fill: 0, out: 1, tx: 0 });
        assert!(matches!(rx.receive(&mut frames, 64), Err(PortError::Ended)));
        assert_eq!(tx.bytes.load(Ordering::Relaxed), 16);
    }
}
