//! A port around a port that behaves badly: loses, doubles, damages, delays and reorders what it receives.
//!
//! Seeded and on a given clock, so that the same run misbehaves in the same way every time. It touches the receiving
//! direction only; for both, wrap both ends. What it did is counted in [`Mischief`], apart from the port's own
//! losses: the books of a test know what to expect.
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Census, Port, PortError, PortId, Receive, RxLosses};
use crate::{
    clock::{Clock, Nanos},
    frame::Frame,
};

/// How often something happens: in so many of a million packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerMillion(pub u32);

/// What goes wrong. By default nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Where the random numbers begin.
    pub seed: u64,
    /// Packets that never arrive.
    pub loss: PerMillion,
    /// Packets that arrive twice.
    pub duplication: PerMillion,
    /// Packets with one bit flipped.
    pub corruption: PerMillion,
    /// Packets that come [`Faults::late_by`] later than the others, which overtake them.
    pub reordering: PerMillion,
    /// How much later.
    pub late_by: Duration,
    /// How long every packet takes.
    pub delay: Duration,
}

/// What was done to the packets of a port.
#[derive(Debug, Default)]
pub struct Mischief {
    lost: AtomicU64,
    doubled: AtomicU64,
    corrupted: AtomicU64,
    reordered: AtomicU64,
}

impl Mischief {
    /// Packets that never arrived.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Copies that arrived besides their packets.
    #[must_use]
    pub fn doubled(&self) -> u64 {
        self.doubled.load(Ordering::Relaxed)
    }

    /// Packets with a bit flipped, copies included.
    #[must_use]
    pub fn corrupted(&self) -> u64 {
        self.corrupted.load(Ordering::Relaxed)
    }

    /// Packets that were made late.
    #[must_use]
    pub fn reordered(&self) -> u64 {
        self.reordered.load(Ordering::Relaxed)
    }
}

/// A port that behaves badly.
pub struct FaultPort<P> {
    inner: P,
    faults: Faults,
    clock: Arc<dyn Clock>,
    mischief: Arc<Mischief>,
}

/// Its receiving half.
pub struct FaultRx<R> {
    inner: R,
    faults: Faults,
    clock: Arc<dyn Clock>,
    mischief: Arc<Mischief>,
    random: Random,
    arrived: Vec<Frame>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    number: u64,
}

/// A packet on its way.
struct Waiting {
    due: Nanos,
    number: u64,
    frame: Frame,
}

impl<P: Port> FaultPort<P> {
    /// Wraps a port.
    pub fn new(inner: P, faults: Faults, clock: Arc<dyn Clock>) -> Self {
        Self { inner, faults, clock, mischief: Arc::default() }
    }

    /// What was done, also after the port was attached.
    #[must_use]
    pub fn mischief(&self) -> Arc<Mischief> {
        Arc::clone(&self.mischief)
    }
}

impl<P: Port> Port for FaultPort<P> {
    type Rx = FaultRx<P::Rx>;
    type Tx = P::Tx;

    fn split(self) -> (Self::Rx, P::Tx) {
        let Self { inner, faults, clock, mischief } = self;
        let (rx, tx) = inner.split();
        let random = Random::new(faults.seed);
        let (arrived, waiting) = (Vec::new(), BinaryHeap::new());
        (FaultRx { inner: rx, faults, clock, mischief, random, arrived, waiting, number: 0 }, tx)
    }
}

impl<R: Receive> FaultRx<R> {
    /// Decides a packet's fate. The numbers are drawn in a fixed order, whatever comes of them.
    fn befall(&mut self, mut frame: Frame, now: Nanos) {
        let Faults { loss, duplication, corruption, reordering, late_by, delay, .. } = self.faults;
        let [lost, doubled, corrupted, late] =
            [loss, duplication, corruption, reordering].map(|chance| self.random.hits(chance));
        if lost {
            self.mischief.lost.fetch_add(1, Ordering::Relaxed);
            return self.inner.recycle(frame);
        }
        if corrupted {
            self.flip(&mut frame);
        }
        let due = now + delay;
        if doubled && let Some(copy) = self.copy(&frame) {
            self.mischief.doubled.fetch_add(1, Ordering::Relaxed);
            self.mischief.corrupted.fetch_add(u64::from(corrupted), Ordering::Relaxed);
            self.queue(due, copy);
        }
        if late {
            self.mischief.reordered.fetch_add(1, Ordering::Relaxed);
        }
        self.queue(if late { due + late_by } else { due }, frame);
    }

    fn queue(&mut self, due: Nanos, frame: Frame) {
        self.waiting.push(Reverse(Waiting { due, number: self.number, frame }));
        self.number += 1;
    }

    fn flip(&mut self, frame: &mut Frame) {
        let bits = frame.len() as u64 * 8;
        let at = self.random.below(bits.max(1));
        if let Some(byte) = frame.bytes_mut().get_mut((at / 8) as usize) {
            *byte ^= 1 << (at % 8);
            self.mischief.corrupted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A second frame with the same bytes and metadata, if the port has an empty one.
    fn copy(&mut self, frame: &Frame) -> Option<Frame> {
        let mut copy = self.inner.alloc()?;
        if copy.set_len(frame.len()).is_err() {
            self.inner.recycle(copy);
            return None;
        }
        copy.bytes_mut().copy_from_slice(frame.bytes());
        if let Some(meta) = frame.meta() {
            let _ = copy.set_meta(&meta);
        }
        Some(copy)
    }
}

impl<R: Receive> Receive for FaultRx<R> {
    fn id(&self) -> PortId {
        self.inner.id()
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> Result<usize, PortError> {
        let now = self.clock.now();
        let mut arrived = std::mem::take(&mut self.arrived);
        let end = self.inner.receive(&mut arrived, max);
        arrived.drain(..).for_each(|frame| self.befall(frame, now));
        self.arrived = arrived;
        let mut count = 0;
        while count < max
            && self.waiting.peek().is_some_and(|next| next.0.due <= now)
            && let Some(Reverse(next)) = self.waiting.pop()
        {
            into.push(next.frame);
            count += 1;
        }
        match end {
            // What is on its way arrives before the end does.
            Err(error) if self.waiting.is_empty() && count == 0 => Err(error),
            _ => Ok(count),
        }
    }

    fn recycle(&mut self, frame: Frame) {
        self.inner.recycle(frame);
    }

    fn alloc(&mut self) -> Option<Frame> {
        self.inner.alloc()
    }

    fn refill(&mut self) -> Result<(), PortError> {
        self.inner.refill()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        // Nobody rings when a packet's time has come.
        if self.waiting.is_empty() { self.inner.fd() } else { None }
    }

    fn memory_bytes(&self) -> u64 {
        self.inner.memory_bytes()
    }

    fn losses(&self) -> RxLosses {
        self.inner.losses()
    }

    fn census(&self) -> Census {
        self.inner.census()
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// xorshift64* (Vigna 2016): good enough for mischief.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Zero is the one state that it never leaves.
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    fn hits(&mut self, PerMillion(chance): PerMillion) -> bool {
        self.below(1_000_000) < u64::from(chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Virtual,
        port::memory::{FarEnd, MemoryRx, Options, memory_port},
    };

    const MS: Duration = Duration::from_millis(1);

    struct Rig {
        rx: FaultRx<MemoryRx>,
        far: FarEnd,
        clock: Arc<Virtual>,
        mischief: Arc<Mischief>,
    }

    fn rig(faults: Faults) -> Rig {
        let (port, far) = memory_port(Options::new(PortId::new(0))).expect("small");
        let clock = Arc::new(Virtual::default());
        let port = FaultPort::new(port, faults, clock.clone());
        let mischief = port.mischief();
        Rig { rx: port.split().0, far, clock, mischief }
    }

    impl Rig {
        fn send(&mut self, numbers: std::ops::Range<u16>) {
            for number in numbers {
                self.far.inject(&number.to_be_bytes(), None).expect("room");
            }
        }

        fn receive(&mut self) -> Vec<u16> {
            let mut frames = Vec::new();
            while self.rx.receive(&mut frames, 64).expect("there") != 0 {}
            let numbers = frames.iter().map(|f| u16::from_be_bytes([f.bytes()[0], f.bytes()[1]])).collect();
            frames.into_iter().for_each(|frame| self.rx.recycle(frame));
            self.rx.refill().expect("there");
            numbers
        }
    }

    #[test]
    fn without_faults_nothing_happens() {
        let mut rig = rig(Faults::default());
        rig.send(0..100);
        assert!(rig.receive().into_iter().eq(0..100));
    }

    #[test]
    fn the_same_seed_is_the_same_mischief() {
        let faults = Faults {
            seed: 7,
            loss: PerMillion(100_000),
            duplication: PerMillion(100_000),
            corruption: PerMillion(100_000),
            reordering: PerMillion(100_000),
            late_by: MS,
            delay: Duration::ZERO,
        };
        let run = |seed| {
            let mut rig = rig(Faults { seed, ..faults });
            rig.send(0..500);
            let mut got = rig.receive();
            rig.clock.advance(MS);
            got.extend(rig.receive());
            let Rig { mischief, rx, .. } = rig;
            let (lost, doubled) = (mischief.lost(), mischief.doubled());
            assert_eq!(got.len() as u64, 500 - lost + doubled);
            assert!(lost != 0 && doubled != 0 && mischief.corrupted() != 0 && mischief.reordered() != 0);
            assert_eq!((rx.census().missing(), rx.census().out), (0, 0));
            got
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn a_delay_is_exact() {
        let mut rig = rig(Faults { delay: MS * 5, ..Faults::default() });
        rig.send(0..3);
        assert_eq!(rig.receive(), []);
        assert!(rig.rx.fd().is_none(), "nobody would ring");
        rig.clock.advance(MS * 5 - Duration::from_nanos(1));
        assert_eq!(rig.receive(), []);
        rig.clock.advance(Duration::from_nanos(1));
        assert_eq!(rig.receive(), [0, 1, 2]);
        assert!(rig.rx.fd().is_some());
    }

    #[test]
    fn late_packets_are_overtaken() {
        let all = PerMillion(1_000_000);
        let mut rig = rig(Faults { reordering: all, late_by: MS, ..Faults::default() });
        rig.send(0..1);
        assert_eq!(rig.receive(), []);
        rig.rx.faults.reordering = PerMillion(0);
        rig.send(1..3);
        assert_eq!(rig.receive(), [1, 2]);
        rig.clock.advance(MS);
        assert_eq!(rig.receive(), [0]);
    }

    #[test]
    fn damage_is_one_bit() {
        let mut rig = rig(Faults { corruption: PerMillion(1_000_000), ..Faults::default() });
        rig.send(0..50);
        for (sent, got) in rig.receive().into_iter().enumerate() {
            assert_eq!((sent as u16 ^ got).count_ones(), 1);
        }
        assert_eq!(rig.mischief.corrupted(), 50);
    }
}
