//! The way out of an engine: a port's sending half with a bounded backlog before it.
//!
//! Frames leave in the order they were given. What does not fit the port's ring waits here up to a limit and is
//! then handed back to be dropped under its own counter: an engine never waits for a wire.
use std::collections::VecDeque;

use crate::{
    capture::Tap,
    counter::{Counter, Loss},
    frame::Frame,
    port::{PortError, PortId, Transmit},
};

/// Flushes that closing a port may spend on what its ring still holds.
const CLOSING_FLUSHES: usize = 64;

pub(crate) struct Outbox<T> {
    tx: T,
    backlog: VecDeque<Frame>,
    limit: usize,
    failed: bool,
}

impl<T: Transmit> Outbox<T> {
    /// An empty outbox before `tx`, with room for `limit` frames.
    pub(crate) fn new(tx: T, limit: usize) -> Self {
        Self { tx, backlog: VecDeque::with_capacity(limit), limit, failed: false }
    }

    pub(crate) fn id(&self) -> PortId {
        self.tx.id()
    }

    /// Takes a frame, and says whether the port has it already or it waits.
    ///
    /// # Errors
    /// The frame, and the reason for which it must be dropped.
    #[inline(always)]
    pub(crate) fn send(&mut self, frame: Frame, tap: &mut impl Tap) -> Result<Sent, (Frame, Loss)> {
        if self.failed {
            return Err((frame, const { Loss::of(Counter::TxPortGone) }));
        }
        if !self.backlog.is_empty() {
            return self.keep(frame);
        }
        match hand(&mut self.tx, frame, tap) {
            Ok(()) => Ok(Sent::Taken),
            Err(frame) => self.keep(frame),
        }
    }

    /// Lets a frame wait that the port has no room for now.
    #[inline(never)]
    fn keep(&mut self, frame: Frame) -> Result<Sent, (Frame, Loss)> {
        if !self.tx.fits(&frame) {
            // In the backlog it would wait for ever, and all behind it.
            return Err((frame, const { Loss::of(Counter::TxUnfit) }));
        }
        if self.backlog.len() < self.limit {
            self.backlog.push_back(frame);
            return Ok(Sent::Waits);
        }
        Err((frame, const { Loss::of(Counter::TxRingFull) }))
    }

    /// Kicks the port, then moves the backlog into the ring; `taken` is told the home port of each frame moved.
    ///
    /// # Errors
    /// [`PortError`] once, when the port fails; from then on it takes nothing more.
    pub(crate) fn flush(
        &mut self,
        tap: &mut impl Tap,
        mut taken: impl FnMut(PortId),
    ) -> Result<(), PortError> {
        if self.failed {
            return Ok(());
        }
        self.kick()?;
        if self.backlog.is_empty() {
            return Ok(());
        }
        while let Some(frame) = self.backlog.pop_front() {
            let home = frame.port();
            match hand(&mut self.tx, frame, tap) {
                Ok(()) => taken(home),
                Err(frame) => {
                    self.backlog.push_front(frame);
                    break;
                }
            }
        }
        self.kick()
    }

    fn kick(&mut self) -> Result<(), PortError> {
        self.tx.flush().inspect_err(|_| self.failed = true)
    }

    /// Gives the port up: nothing is sent any more.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// Frames waiting here.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Whether the engine must come back soon even if nothing arrives.
    pub(crate) fn is_pending(&self) -> bool {
        !self.failed && (!self.backlog.is_empty() || self.tx.pending() != 0)
    }

    /// Takes every waiting frame whose home is `port` out.
    pub(crate) fn purge(&mut self, port: PortId, mut each: impl FnMut(Frame)) {
        for _ in 0..self.backlog.len() {
            match self.backlog.pop_front() {
                Some(frame) if frame.port() == port => each(frame),
                Some(frame) => self.backlog.push_back(frame),
                None => break,
            }
        }
    }

    /// Tries, within a bound, to get out what the ring holds, and hands back what waits.
    pub(crate) fn close(
        &mut self,
        tap: &mut impl Tap,
        mut left: impl FnMut(Frame),
        mut taken: impl FnMut(PortId),
    ) {
        for _ in 0..CLOSING_FLUSHES {
            if !self.is_pending() || self.flush(tap, &mut taken).is_err() {
                break;
            }
        }
        self.failed = true;
        self.backlog.drain(..).for_each(&mut left);
    }
}

/// Hands a frame to its port, and shows it to those who capture what leaves: once it is gone there is nothing to show.
#[inline(always)]
fn hand<T: Transmit>(tx: &mut T, frame: Frame, tap: &mut impl Tap) -> Result<(), Frame> {
    tap.leaving(&frame, tx.id());
    tx.send(frame)?;
    tap.left();
    Ok(())
}

/// What became of a frame that was given to an [`Outbox`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The port's ring has it.
    Taken,
    /// It waits in the backlog.
    Waits,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::Off,
        port::{
            Port, Receive,
            memory::{Options, memory_port},
        },
    };

    #[test]
    fn nobody_overtakes_who_waits() {
        let options = Options { ring_slots: 2, ..Options::new(PortId::new(0)) };
        let (port, mut far) = memory_port(options).expect("small");
        let (mut rx, tx) = port.split();
        let mut outbox = Outbox::new(tx, 8);
        let mut send = |outbox: &mut Outbox<_>, number: u8| {
            let mut frame = rx.alloc().expect("free");
            frame.set_len(1).expect("room");
            frame.bytes_mut()[0] = number;
            outbox.send(frame, &mut Off).expect("room")
        };
        let fates = [0, 1, 2].map(|number| send(&mut outbox, number));
        assert_eq!(fates, [Sent::Taken, Sent::Taken, Sent::Waits]);
        let mut order = Vec::new();
        far.collect(1, |packet| order.push(packet[0]));
        assert_eq!(send(&mut outbox, 3), Sent::Waits, "there is room in the ring, but 2 was first");
        assert_eq!(send(&mut outbox, 4), Sent::Waits);
        while outbox.is_pending() {
            outbox.flush(&mut Off, |_| {}).expect("there");
            far.collect(1, |packet| order.push(packet[0]));
        }
        far.collect(8, |packet| order.push(packet[0]));
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    /// A sending half whose frames are short.
    struct Narrow<T>(T);

    impl<T: Transmit> Transmit for Narrow<T> {
        fn id(&self) -> PortId {
            self.0.id()
        }

        fn send(&mut self, frame: Frame) -> Result<(), Frame> {
            if self.fits(&frame) { self.0.send(frame) } else { Err(frame) }
        }

        fn fits(&self, frame: &Frame) -> bool {
            frame.len() <= 100
        }

        fn flush(&mut self) -> Result<(), PortError> {
            self.0.flush()
        }

        fn pending(&self) -> usize {
            self.0.pending()
        }
    }

    #[test]
    fn what_never_fits_is_dropped_and_holds_nobody_up() {
        let options = Options { ring_slots: 2, ..Options::new(PortId::new(0)) };
        let (port, mut far) = memory_port(options).expect("small");
        let (mut rx, tx) = port.split();
        let mut outbox = Outbox::new(Narrow(tx), 8);
        let mut send = |outbox: &mut Outbox<_>, len: usize| {
            let mut frame = rx.alloc().expect("free");
            frame.set_len(len).expect("room");
            outbox.send(frame, &mut Off).map_err(|(_, loss)| loss.counter())
        };
        // With room in the ring, and behind others that wait.
        let fates = [100, 101, 100, 100, 101, 99].map(|len| send(&mut outbox, len));
        let (taken, waits, unfit) = (Ok(Sent::Taken), Ok(Sent::Waits), Err(Counter::TxUnfit));
        assert_eq!(fates, [taken, unfit, taken, waits, unfit, waits]);
        let mut lengths = Vec::new();
        while outbox.is_pending() {
            far.collect(8, |packet| lengths.push(packet.len()));
            outbox.flush(&mut Off, |_| {}).expect("there");
        }
        far.collect(8, |packet| lengths.push(packet.len()));
        assert_eq!(lengths, [100, 100, 100, 99]);
    }
}
