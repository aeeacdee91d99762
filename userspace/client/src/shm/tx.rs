//! Packets to be sent, in a burst: written where the daemon will read them, shown to it all at once.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use abi::shm::{
    desc::{Form, TxDesc},
    layout::{DownChannel, UpChannel, feature},
    memory::Writable,
    ring::{self, Fenced, Producer, Violation, tx_flags},
};
use nix::sys::socket::{MsgFlags, send};
use thiserror::Error;

use super::region::{Down, Regions, Up};

/// The sending half of a channel.
///
/// # Invariants
/// It is the only producer of its ring ([`super::channel::Channel`]).
#[derive(Debug)]
pub struct TxHalf {
    down: Down,
    up: Up,
    at: UpChannel,
    cons_at: usize,
    flags_at: usize,
    ring: Producer,
    slot_size: usize,
    features: u32,
    bell: OwnedFd,
}

/// Room for packets to be sent.
///
/// # Invariants
/// The next `count` Tx slots are free: the daemon is done with them, and was not shown them again.
#[derive(Debug)]
pub struct TxBurst<'c> {
    half: &'c mut TxHalf,
    count: u32,
}

/// Room for one packet. Dropping it leaves the slot free.
#[derive(Debug)]
pub struct TxSlot<'b> {
    /// To be written: the packet from its first byte on. What an earlier packet left is still there.
    pub bytes: &'b mut [u8],
    desc_at: usize,
    up: &'b Up,
    ring: &'b mut Producer,
    count: &'b mut u32,
}

/// A packet longer than its slot was not committed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a packet of {given} bytes in a slot of {limit}")]
pub struct TooLong {
    /// Bytes that were said to be written.
    pub given: usize,
    /// Bytes of a slot.
    pub limit: usize,
}

impl TxHalf {
    pub(super) fn new(
        regions: &Regions,
        down_at: DownChannel,
        at: UpChannel,
        bell: OwnedFd,
        start: u32,
    ) -> Self {
        Self {
            down: regions.down.clone(),
            up: regions.up.clone(),
            at,
            cons_at: down_at.tx_cons(),
            flags_at: down_at.tx_flags(),
            ring: Producer::new(regions.shape.tx_slots(), start),
            slot_size: regions.shape.slot_size().get() as usize,
            features: regions.session.features,
            bell,
        }
    }

    /// Room for at most `max` packets to be sent; what was committed goes out when the burst is dropped.
    #[inline]
    pub fn burst(&mut self, max: usize) -> TxBurst<'_> {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        if self.ring.room_known() < max {
            // Nonsense from the daemon leaves what was known; `Channel::ready` then says that all is over.
            let _ = self.room();
        }
        TxBurst { count: self.ring.room_known().min(max), half: self }
    }

    /// Free slots now.
    pub(super) fn room(&mut self) -> Result<u32, Violation> {
        self.ring.look(&self.down, self.cons_at)
    }

    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Wakes the worker if it sleeps. What it is to find must have been published.
    #[inline]
    fn wake_worker(&self) {
        if self.features & feature::WORKERS_SLEEP == 0 {
            return;
        }
        let fenced = Fenced::by(&self.up);
        if ring::sleeps_for(&self.down, self.flags_at, tx_flags::NEED_WAKEUP, &fenced) != 0 {
            // A full bell is rung enough; a closed one is seen by `Channel::wait`.
            let _ = send(self.bell.as_raw_fd(), &[1], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        }
    }
}

impl TxBurst<'_> {
    /// Slots that are left in this burst.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.count as usize
    }

    /// The next free slot.
    #[inline]
    #[allow(
        clippy::should_implement_trait,
        reason = "a slot borrows from its burst, which an Iterator's item cannot"
    )]
    pub fn next(&mut self) -> Option<TxSlot<'_>> {
        if self.count == 0 {
            return None;
        }
        let half = &mut *self.half;
        let slot = half.ring.peek();
        let first = half.up.inside(half.at.buffer(slot), half.slot_size, 1)?;
        // SAFETY: a whole slot inside the mapping, which is writable and which `half` keeps. The slot is free (type
        // invariant): the daemon never writes here, and nobody else of this process has this half, which the slice
        // keeps borrowed.
        let bytes = unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), half.slot_size) };
        let desc_at = half.at.descriptor(slot);
        Some(TxSlot { bytes, desc_at, up: &half.up, ring: &mut half.ring, count: &mut self.count })
    }

    /// Ends the burst without showing what was committed: the next burst does that, however small it is.
    pub fn hold(self) {
        std::mem::forget(self);
    }

    /// Copies one packet into the next slot and commits it; `None` if there is none left.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn push(&mut self, packet: &[u8], form: Form) -> Result<Option<()>, TooLong> {
        let Some(slot) = self.next() else { return Ok(None) };
        let limit = slot.bytes.len();
        let Some(room) = slot.bytes.get_mut(..packet.len()) else {
            return Err(TooLong { given: packet.len(), limit });
        };
        room.copy_from_slice(packet);
        slot.commit(packet.len(), form).map(Some)
    }
}

impl TxSlot<'_> {
    /// Has the first `len` bytes sent once the burst is dropped.
    ///
    /// # Errors
    /// [`TooLong`]; the slot stays free.
    #[inline]
    pub fn commit(self, len: usize, form: Form) -> Result<(), TooLong> {
        let limit = self.bytes.len();
        let short = u32::try_from(len).ok().filter(|_| len <= limit);
        let Some(short) = short else { return Err(TooLong { given: len, limit }) };
        let [first, second] = TxDesc::new(short, form).words();
        self.up.store_u64(self.desc_at, first);
        self.up.store_u64(self.desc_at + 8, second);
        // There is room: the burst has counted it.
        if self.ring.take().is_some() {
            *self.count -= 1;
        }
        Ok(())
    }
}

impl Drop for TxBurst<'_> {
    fn drop(&mut self) {
        let half = &mut *self.half;
        if half.ring.publish(&half.up, half.at.tx_prod()).is_yes() {
            half.wake_worker();
        }
    }
}
