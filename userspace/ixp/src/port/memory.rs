//! A port of nothing but memory: what AF_XDP does with a kernel, done with four rings and a [`FarEnd`].
//!
//! ```text
//!                 fill ring ─────►                         (empty frames)
//!   MemoryRx                              FarEnd  inject
//!                 ◄───── receive ring                      (packets)
//!
//!                 transmit ring ─────►                     (packets)
//!   MemoryTx                              FarEnd  collect
//!                 ◄───── completion ring (to MemoryRx)     (empty frames)
//! ```
//!
//! It exists for tests, which need neither privilege nor a kernel for whole systems then, and loses packets only
//! where AF_XDP would, under the same names. A frame of another port's UMEM is sent like its own and goes home
//! when the far end has read it. The port is gone when its far end is dropped.
use std::{
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use abi::rxmeta::RxMeta;
use thiserror::Error;

use super::{
    Census, Port, PortError, PortId, Receive, RxLosses, Transmit,
    pool::{Pool, PoolError, Starts, UnderWay},
};
use crate::{
    frame::{Frame, Geometry},
    ring::{Consumer, Producer, ring},
    wakeup::Bell,
};

/// How a memory port is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Its number.
    pub id: PortId,
    /// Its UMEM.
    pub geometry: Geometry,
    /// Slots of each of its four rings.
    pub ring_slots: usize,
}

impl Options {
    /// 2048 chunks of 2048 bytes and rings of 1024, as an AF_XDP port has by default.
    #[must_use]
    pub const fn new(id: PortId) -> Self {
        Self { id, geometry: Geometry { chunk: 2048, frames: 2048 }, ring_slots: 1024 }
    }
}

/// Why the far end could not get a packet in. The port counts it as the kernel would.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// The port had no empty frame in its fill ring.
    #[error("no empty frame")]
    NoBuffer,
    /// The receive ring is full.
    #[error("receive ring full")]
    RingFull,
    /// The packet is longer than a frame; nothing is counted, for the device would not have taken it.
    #[error("{given} bytes, a frame holds {limit}")]
    TooLong {
        /// The packet's length.
        given: usize,
        /// The frame's.
        limit: usize,
    },
}

/// What the far end tells the port.
#[derive(Debug, Default)]
struct Far {
    ring_full: AtomicU64,
    no_buffer: AtomicU64,
    /// Said before the bell is rung for the last time, so that who is woken by it knows.
    gone: AtomicBool,
}

/// A port whose other end is a [`FarEnd`].
pub struct MemoryPort {
    rx: MemoryRx,
    tx: MemoryTx,
}

/// Its receiving half.
pub struct MemoryRx {
    id: PortId,
    pool: Pool,
    fill: Producer<Frame>,
    /// An empty frame that did not fit the fill ring.
    spare: Option<Frame>,
    filled: u32,
    packets: Consumer<Frame>,
    shared: Arc<Far>,
    bell: Arc<Bell>,
}

/// Its sending half.
pub struct MemoryTx {
    id: PortId,
    shared: Arc<Far>,
    packets: Producer<Frame>,
    under_way: UnderWay,
}

/// The wire's end of a memory port: what injects packets and collects what was sent.
pub struct FarEnd {
    fill: Consumer<Frame>,
    /// An empty frame taken from the fill ring and not used.
    spare: Option<Frame>,
    packets: Producer<Frame>,
    sent: Consumer<Frame>,
    completed: Producer<Frame>,
    under_way: UnderWay,
    shared: Arc<Far>,
    bell: Arc<Bell>,
}

/// Makes a port and its far end.
///
/// # Errors
/// [`PoolError`].
pub fn memory_port(options: Options) -> Result<(MemoryPort, FarEnd), PoolError> {
    let Options { id, geometry, ring_slots } = options;
    let (pool, completed) = Pool::new(id, geometry, ring_slots, Starts::SAME)?;
    let (fill, far_fill) = ring(ring_slots)?;
    let (far_packets, packets) = ring(ring_slots)?;
    let (out, sent) = ring(ring_slots)?;
    let (shared, bell) = (Arc::<Far>::default(), Arc::new(Bell::new()?));
    let tx = MemoryTx { id, shared: Arc::clone(&shared), packets: out, under_way: pool.under_way() };
    let far = FarEnd {
        fill: far_fill,
        spare: None,
        packets: far_packets,
        sent,
        completed,
        under_way: pool.under_way(),
        shared: Arc::clone(&shared),
        bell: Arc::clone(&bell),
    };
    let mut rx = MemoryRx { id, pool, fill, spare: None, filled: 0, packets, shared, bell };
    rx.stock();
    Ok((MemoryPort { rx, tx }, far))
}

impl Port for MemoryPort {
    type Rx = MemoryRx;
    type Tx = MemoryTx;

    fn split(self) -> (MemoryRx, MemoryTx) {
        (self.rx, self.tx)
    }
}

impl MemoryRx {
    /// Fills the fill ring from the free list.
    fn stock(&mut self) {
        loop {
            let Some(frame) = self.alloc() else { return };
            if let Err(frame) = self.fill.push(frame) {
                self.spare = Some(frame);
                return;
            }
            self.filled += 1;
        }
    }

    fn take(&mut self, into: &mut Vec<Frame>, max: usize) -> usize {
        let count = self.packets.pop_burst(into, max);
        self.filled -= count as u32;
        count
    }
}

impl Receive for MemoryRx {
    fn id(&self) -> PortId {
        self.id
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> Result<usize, PortError> {
        let count = self.take(into, max);
        if count != 0 {
            return Ok(count);
        }
        // Before the second look: a far end that leaves after it is noticed next time.
        let gone = self.shared.gone.load(Ordering::Acquire);
        self.bell.arm();
        match self.take(into, max) {
            0 if gone => Err(PortError::Gone),
            count => Ok(count),
        }
    }

    fn recycle(&mut self, frame: Frame) {
        self.pool.recycle(frame);
    }

    fn recycle_all(&mut self, frames: &mut Vec<Frame>) {
        self.pool.recycle_all(frames);
    }

    fn alloc(&mut self) -> Option<Frame> {
        self.spare.take().or_else(|| self.pool.alloc())
    }

    fn refill(&mut self) -> Result<(), PortError> {
        self.pool.take_back();
        self.stock();
        Ok(())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.fd())
    }

    fn memory_bytes(&self) -> u64 {
        self.pool.memory_bytes()
    }

    fn losses(&self) -> RxLosses {
        RxLosses {
            ring_full: self.shared.ring_full.load(Ordering::Relaxed),
            no_buffer: self.shared.no_buffer.load(Ordering::Relaxed),
            bad_descriptor: 0,
        }
    }

    fn census(&self) -> Census {
        self.pool.census(self.filled, u32::from(self.spare.is_some()))
    }
}

impl Transmit for MemoryTx {
    fn id(&self) -> PortId {
        self.id
    }

    fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        self.under_way.leaves(&frame);
        self.packets.push(frame).inspect_err(|frame| {
            if self.under_way.owns(frame) {
                self.under_way.stays();
            }
        })
    }

    fn flush(&mut self) -> Result<(), PortError> {
        if self.shared.gone.load(Ordering::Acquire) { Err(PortError::Gone) } else { Ok(()) }
    }

    fn pending(&self) -> usize {
        0
    }
}

impl FarEnd {
    /// Sends a packet to the port, with what XDP would have found out about it.
    ///
    /// # Errors
    /// [`Refused`]; the packet is lost.
    pub fn inject(&mut self, packet: &[u8], meta: Option<&RxMeta>) -> Result<(), Refused> {
        let Some(mut frame) = self.spare.take().or_else(|| self.fill.pop()) else {
            self.shared.no_buffer.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::NoBuffer);
        };
        if let Err(limit) = frame.set_len(packet.len()) {
            self.spare = Some(frame);
            return Err(Refused::TooLong { given: packet.len(), limit });
        }
        frame.bytes_mut().copy_from_slice(packet);
        if let Some(meta) = meta {
            // Cannot fail: `HEADROOM` has room for it.
            let _ = frame.set_meta(meta);
        }
        if let Err(frame) = self.packets.push(frame) {
            self.shared.ring_full.fetch_add(1, Ordering::Relaxed);
            self.spare = Some(frame);
            return Err(Refused::RingFull);
        }
        self.bell.ring();
        Ok(())
    }

    /// Takes at most `max` packets that the port sent, in order, and returns how many.
    pub fn collect(&mut self, max: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < max
            && let Some(frame) = self.sent.pop()
        {
            each(frame.bytes());
            taken += 1;
            // A frame that finds no way back is dropped here, and its pool takes it up as an orphan.
            if self.under_way.owns(&frame) && self.completed.push(frame).is_err() {
                self.under_way.stays();
            }
        }
        if taken != 0 {
            // The receiving half may sleep for want of empty frames.
            self.bell.ring();
        }
        taken
    }

    /// Empty frames that the port has waiting for packets.
    #[must_use]
    pub fn room(&self) -> usize {
        self.fill.len() + usize::from(self.spare.is_some())
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Release);
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::pool::HEADROOM;

    const SMALL: Options =
        Options { id: PortId::new(5), geometry: Geometry { chunk: 2048, frames: 8 }, ring_slots: 4 };

    fn check(rx: &MemoryRx, free: u32, fill: u32, out: u32, tx: u32) {
        assert_eq!(rx.census(), Census { frames: 8, free, fill, out, tx });
    }

    #[test]
    fn a_frame_goes_all_the_way_round() {
        let (port, mut far) = memory_port(SMALL).expect("small");
        let (mut rx, mut tx) = port.split();
        check(&rx, 4, 4, 0, 0);
        far.inject(b"question", None).expect("room");
        let mut frames = Vec::new();
        assert_eq!(rx.receive(&mut frames, 64).expect("there"), 1);
        check(&rx, 4, 3, 1, 0);
        let mut frame = frames.pop().expect("one");
        frame.bytes_mut().copy_from_slice(b"answer!!");
        tx.send(frame).expect("room");
        check(&rx, 4, 3, 0, 1);
        let mut got = Vec::new();
        assert_eq!(far.collect(64, |packet| got.push(packet.to_vec())), 1);
        assert_eq!(got, [b"answer!!"]);
        rx.refill().expect("there");
        check(&rx, 4, 4, 0, 0);
        assert_eq!(rx.losses(), RxLosses::default());
    }

    #[test]
    fn losses_have_the_kernels_names() {
        let (port, mut far) = memory_port(SMALL).expect("small");
        let (mut rx, _tx) = port.split();
        for n in 0..4 {
            far.inject(&[n], None).expect("room");
        }
        assert_eq!(far.inject(&[4], None), Err(Refused::NoBuffer));
        rx.refill().expect("there");
        assert_eq!(far.inject(&[5], None), Err(Refused::RingFull));
        assert_eq!(rx.losses(), RxLosses { ring_full: 1, no_buffer: 1, bad_descriptor: 0 });
        let limit = 2048 - HEADROOM as usize;
        assert_eq!(far.inject(&[0; 2048], None), Err(Refused::TooLong { given: 2048, limit }));
        let mut frames = Vec::new();
        assert_eq!(rx.receive(&mut frames, 64).expect("there"), 4);
        frames.drain(..).for_each(|frame| rx.recycle(frame));
        rx.refill().expect("there");
        // One empty frame is the far end's spare.
        check(&rx, 3, 5, 0, 0);
    }

    #[test]
    fn a_full_transmit_ring_gives_the_frame_back() {
        let (port, mut far) = memory_port(SMALL).expect("small");
        let (mut rx, mut tx) = port.split();
        for n in 0..4 {
            let mut frame = rx.alloc().expect("free");
            frame.set_len(1).expect("room");
            frame.bytes_mut()[0] = n;
            tx.send(frame).expect("room");
        }
        far.inject(&[9], None).expect("room");
        let mut frames = Vec::new();
        rx.receive(&mut frames, 1).expect("there");
        let back = tx.send(frames.pop().expect("one")).expect_err("full");
        assert_eq!(back.bytes(), [9]);
        rx.recycle(back);
        check(&rx, 1, 3, 0, 4);
        let mut got = Vec::new();
        far.collect(2, |packet| got.push(packet[0]));
        far.collect(64, |packet| got.push(packet[0]));
        assert_eq!(got, [0, 1, 2, 3]);
    }

    #[test]
    fn the_port_is_gone_when_its_far_end_is() {
        let (port, mut far) = memory_port(SMALL).expect("small");
        let (mut rx, mut tx) = port.split();
        far.inject(b"last", None).expect("room");
        drop(far);
        let mut frames = Vec::new();
        assert_eq!(rx.receive(&mut frames, 64).expect("what is there comes first"), 1);
        assert!(matches!(rx.receive(&mut frames, 64), Err(PortError::Gone)));
        assert!(matches!(tx.flush(), Err(PortError::Gone)));
    }

    #[test]
    fn a_strangers_frame_is_sent_and_goes_home() {
        let (port, _far) = memory_port(SMALL).expect("small");
        let (other, mut far) = memory_port(Options { id: PortId::new(6), ..SMALL }).expect("small");
        let ((mut home, _), (_, mut tx)) = (port.split(), other.split());
        let frame = home.alloc().expect("free");
        tx.send(frame).expect("room");
        check(&home, 3, 4, 1, 0);
        assert_eq!(far.collect(64, |_| {}), 1);
        home.refill().expect("there");
        check(&home, 4, 4, 0, 0);
    }
}
