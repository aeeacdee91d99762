//! Received packets, in a burst: read where they lie, given back all at once.
//!
//! To keep a packet, copy it: nothing of a burst outlives it.
use abi::{
    rxmeta::CLASS_NONE,
    shm::{
        desc::RxDesc,
        layout::{DownChannel, UpChannel},
        memory::Memory,
        ring::{Consumer, Violation},
    },
};

use super::region::{Down, Regions, Up};

/// The receiving half of a channel.
///
/// # Invariants
/// It is the only consumer of its ring ([`super::channel::Channel`]).
#[derive(Debug)]
pub struct RxHalf {
    down: Down,
    up: Up,
    at: DownChannel,
    cons_at: usize,
    ring: Consumer,
    slot_size: usize,
}

/// Packets that were received, in order.
///
/// # Invariants
/// The next `count` Rx slots are filled and the daemon does not touch them before they are given back, which happens
/// when this is dropped and no frame of it can be left.
#[derive(Debug)]
pub struct RxBurst<'c> {
    half: &'c mut RxHalf,
    count: u32,
}

/// One received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxFrame<'b> {
    /// The frame from its Ethernet header on.
    pub bytes: &'b [u8],
    /// The number of the tuple that it is for.
    pub tuple: u16,
    /// Offset of the network header.
    pub l3: usize,
    /// Offset of the transport header; 0 in a later fragment.
    pub l4: usize,
    /// Bits of `abi::rxmeta::flag` and `abi::shm::desc::rx_flag`.
    pub flags: u16,
    /// Ruler's class.
    pub class: Option<u16>,
}

impl RxHalf {
    pub(super) fn new(regions: &Regions, at: DownChannel, up_at: UpChannel, start: u32) -> Self {
        Self {
            down: regions.down.clone(),
            up: regions.up.clone(),
            at,
            cons_at: up_at.rx_cons(),
            ring: Consumer::new(regions.shape.rx_slots(), start),
            slot_size: regions.shape.slot_size().get() as usize,
        }
    }

    /// At most `max` received packets; their slots are given back when the burst is dropped.
    #[inline]
    pub fn burst(&mut self, max: usize) -> RxBurst<'_> {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        if self.ring.waiting_known() < max {
            // Nonsense from the daemon leaves what was known; `Channel::ready` then says that all is over.
            let _ = self.waiting();
        }
        RxBurst { count: self.ring.waiting_known().min(max), half: self }
    }

    /// Packets that wait now.
    pub(super) fn waiting(&mut self) -> Result<u32, Violation> {
        self.ring.look(&self.down, self.at.rx_prod())
    }
}

impl RxBurst<'_> {
    /// Packets in this burst.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether nothing was received.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The packet with this number.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<RxFrame<'_>> {
        let ahead = u32::try_from(index).ok().filter(|&ahead| ahead < self.count)?;
        let half = &*self.half;
        let slot = half.ring.peek(ahead);
        let at = half.at.descriptor(slot);
        let desc = RxDesc::from_words([half.down.load_u64(at), half.down.load_u64(at + 8)]);
        let len = (desc.len as usize).min(half.slot_size);
        let first = half.down.inside(half.at.buffer(slot), len, 1)?;
        // SAFETY: `len` bytes inside the mapping, which `half` keeps. The slot is filled and not given back (type
        // invariant), so the daemon does not write to it while `self`, which the slice borrows from, lives.
        let bytes = unsafe { std::slice::from_raw_parts(first.as_ptr(), len) };
        Some(RxFrame {
            bytes,
            tuple: desc.tuple,
            l3: usize::from(desc.l3_off),
            l4: usize::from(desc.l4_off),
            flags: desc.flags,
            class: (desc.class != CLASS_NONE).then_some(desc.class),
        })
    }

    /// All packets, in order.
    pub fn iter(&self) -> impl Iterator<Item = RxFrame<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Keeps the packets from number `count` on in the ring: they come again in the next burst.
    pub fn truncate(&mut self, count: usize) {
        self.count = u32::try_from(count).map_or(self.count, |count| self.count.min(count));
    }
}

impl<'b> RxFrame<'b> {
    /// The packet from its network header on.
    #[must_use]
    pub fn packet(&self) -> &'b [u8] {
        self.bytes.get(self.l3..).unwrap_or_default()
    }
}

impl Drop for RxBurst<'_> {
    fn drop(&mut self) {
        let half = &mut *self.half;
        half.ring.take(self.count);
        // Nobody waits for room: a full ring drops.
        let _ = half.ring.publish(&half.up, half.cons_at);
    }
}
