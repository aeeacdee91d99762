//! One packet that an application wants sent: its descriptor, read once, and bytes that can only be copied.
//!
//! It refuses to judge: the egress checks look at the descriptor before the copy and at the copy after it. The bytes
//! are only ever seen in the copy, which the application cannot reach.
use abi::shm::counter::ChannelCounter;
use abi::shm::desc::TxDesc;
use abi::shm::memory::Memory;

/// A packet on offer.
#[derive(Debug)]
pub struct Offer<'a, U> {
    up: &'a U,
    at: usize,
    slot_size: usize,
    desc: TxDesc,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done with, for good or bad, as this counter says: a packet of this tuple, or of
    /// [`NO_TUPLE`](crate::books::NO_TUPLE).
    Taken(ChannelCounter, u16),
    /// It stays in the ring, and the visit ends: no frame, no Tx slot or no credit.
    Stay,
}

impl<'a, U: Memory> Offer<'a, U> {
    pub(super) const fn new(up: &'a U, at: usize, slot_size: usize, desc: TxDesc) -> Self {
        Self { up, at, slot_size, desc }
    }

    /// Its descriptor. Nothing of it has been judged.
    #[must_use]
    #[inline]
    pub const fn desc(&self) -> &TxDesc {
        &self.desc
    }

    /// Copies as many bytes as the descriptor says into the first of `frame`, and returns those: what is checked and
    /// sent.
    ///
    /// `None` if they are more than `frame` or a slot has; nothing was copied then. A second call copies anew, and may
    /// see other bytes.
    #[must_use]
    #[inline]
    pub fn copy_to<'f>(&self, frame: &'f mut [u8]) -> Option<&'f mut [u8]> {
        let len = usize::try_from(self.desc.len).ok().filter(|&len| len <= self.slot_size)?;
        let room = frame.get_mut(..len)?;
        self.up.copy_out(self.at, room);
        Some(room)
    }
}
