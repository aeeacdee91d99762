//! A port that always has packets: copies of templates, as fast as they are asked for.
//!
//! For measuring what engines cost, and for counting what they allocate: there is no other end that could be slow.
//! What is sent is counted and comes back as an empty frame at once. It never loses a packet and never waits.
use std::{
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use abi::rxmeta::RxMeta;

use super::{
    Census, Port, PortError, PortId, Receive, RxLosses, Transmit,
    memory::{HEADROOM, MemoryPortError},
};
use crate::{
    frame::{Desc, Frame, Geometry, HeapBacking, Umem, UmemId},
    ring::{Consumer, Producer, ring},
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
    /// Packets it has; then it ends, and says so by [`PortError::Gone`].
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
    umem: Umem,
    free: Vec<u64>,
    templates: Vec<Template>,
    next: usize,
    left: u64,
    sent: Consumer<Frame>,
    sending: Arc<AtomicU32>,
}

/// Its sending half.
pub struct SourceTx {
    id: PortId,
    umem: UmemId,
    sent: Producer<Frame>,
    sending: Arc<AtomicU32>,
    bytes: Arc<AtomicU64>,
}

impl SourcePort {
    /// A port that receives `templates` in turn.
    ///
    /// # Errors
    /// [`MemoryPortError`]; templates longer than a frame are cut to it.
    pub fn new(options: Options, templates: Vec<Template>) -> Result<Self, MemoryPortError> {
        let Options { id, geometry, packets } = options;
        if u64::from(geometry.chunk) <= HEADROOM {
            return Err(MemoryPortError::Chunk { given: geometry.chunk, limit: HEADROOM });
        }
        let backing = HeapBacking::new(geometry).ok_or(MemoryPortError::NoMemory)?;
        let umem = Umem::new(Box::new(backing), geometry, id)?;
        let (producer, consumer) = ring(geometry.frames.next_power_of_two() as usize)?;
        let sending = Arc::<AtomicU32>::default();
        let mut templates = templates;
        for Template { bytes, meta } in &mut templates {
            bytes.truncate(geometry.chunk as usize - HEADROOM as usize);
            if let Some(meta) = meta {
                meta.frame_len = bytes.len() as u16;
            }
        }
        let left = if templates.is_empty() { 0 } else { packets };
        let free = (0..geometry.frames).rev().map(|c| u64::from(c) * u64::from(geometry.chunk)).collect();
        let tx = SourceTx {
            id,
            umem: umem.id(),
            sent: producer,
            sending: Arc::clone(&sending),
            bytes: Arc::default(),
        };
        let rx = SourceRx { id, umem, free, templates, next: 0, left, sent: consumer, sending };
        Ok(Self { rx, tx })
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
    fn park(&mut self, frame: Frame) {
        let chunk = u64::from(self.umem.geometry().chunk);
        self.free.push(frame.into_desc().addr & !(chunk - 1));
    }

    #[inline]
    fn make(&mut self) -> Option<Frame> {
        let mut frame = self.alloc()?;
        let template = self.templates.get(self.next)?;
        self.next = if self.next + 1 < self.templates.len() { self.next + 1 } else { 0 };
        // Templates were cut to the frame's size.
        let _ = frame.set_len(template.bytes.len());
        frame.bytes_mut().copy_from_slice(&template.bytes);
        if let Some(meta) = &template.meta {
            let _ = frame.set_meta(meta);
        }
        Some(frame)
    }
}

impl Receive for SourceRx {
    fn id(&self) -> PortId {
        self.id
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> Result<usize, PortError> {
        if self.left == 0 {
            return Err(PortError::Gone);
        }
        let max = max.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for made in 0..max {
            let Some(frame) = self.make() else {
                self.left -= made as u64;
                return Ok(made);
            };
            into.push(frame);
        }
        self.left -= max as u64;
        Ok(max)
    }

    fn recycle(&mut self, frame: Frame) {
        if frame.umem() == self.umem.id() {
            self.park(frame);
        }
    }

    fn alloc(&mut self) -> Option<Frame> {
        let addr = self.free.pop()?;
        self.umem.claim(Desc { addr: addr + HEADROOM, len: 0 }).ok()
    }

    fn refill(&mut self) -> Result<(), PortError> {
        while let Some(frame) = self.sent.pop() {
            self.park(frame);
            self.sending.fetch_sub(1, Ordering::Relaxed);
        }
        let Self { umem, free, .. } = self;
        umem.reclaim_orphans(|addr| free.push(addr));
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn memory_bytes(&self) -> u64 {
        let Geometry { chunk, frames } = self.umem.geometry();
        u64::from(chunk) * u64::from(frames)
    }

    fn losses(&self) -> RxLosses {
        RxLosses::default()
    }

    fn census(&self) -> Census {
        let tx = self.sending.load(Ordering::Relaxed);
        Census {
            frames: self.umem.geometry().frames,
            free: self.free.len() as u32,
            fill: 0,
            out: self.umem.out().saturating_sub(tx),
            tx,
        }
    }
}

impl Transmit for SourceTx {
    fn id(&self) -> PortId {
        self.id
    }

    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        let len = frame.len() as u64;
        if frame.umem() == self.umem {
            // Counted before it can come back.
            self.sending.fetch_add(1, Ordering::Relaxed);
            self.sent.push(frame).inspect_err(|_| {
                self.sending.fetch_sub(1, Ordering::Relaxed);
            })?;
        }
        self.bytes.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortError> {
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
        assert_eq!(rx.census(), Census { frames: 4, free: 0, fill: 0, out: 0, tx: 4 });
        rx.refill().expect("there");
        assert_eq!(rx.receive(&mut frames, 64).expect("not dry"), 1);
        assert_eq!(rx.census(), Census { frames: 4, free: 3, fill: 0, out: 1, tx: 0 });
        assert!(matches!(rx.receive(&mut frames, 64), Err(PortError::Gone)));
        assert_eq!(tx.bytes.load(Ordering::Relaxed), 16);
    }
}
