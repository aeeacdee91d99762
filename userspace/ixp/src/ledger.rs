//! One engine's ledger: its counters by port and by target. The engine alone writes, anybody reads.
//!
//! It never allocates after it was made and keeps a port's numbers when the port goes away: the books of a
//! system do not forget packets.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::{
    counter::{Counter, Counters},
    port::PortId,
    tables::MAX_TARGET_SLOTS,
};

/// Most ports of a system: bound of every ledger.
pub const MAX_PORTS: usize = 256;

/// What one target was handed.
#[derive(Debug, Default)]
struct TargetCounters {
    /// The target's generation plus one; 0 before the first packet.
    owner: AtomicU32,
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// One target's row of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetRow {
    /// The target's slot.
    pub slot: u16,
    /// Which owner of the slot is meant.
    pub generation: u16,
    /// Packets handed to it.
    pub packets: u64,
    /// Their bytes, link-layer header included.
    pub bytes: u64,
}

/// The counters of one engine.
#[derive(Debug)]
pub struct Ledger {
    ports: Box<[Counters]>,
    targets: Box<[TargetCounters]>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            ports: (0..MAX_PORTS).map(|_| Counters::default()).collect(),
            targets: (0..MAX_TARGET_SLOTS).map(|_| TargetCounters::default()).collect(),
        }
    }
}

impl Ledger {
    /// Adds `n` to a port's counter. Only the owning engine may call this.
    #[inline]
    pub fn add(&self, port: PortId, counter: Counter, n: u64) {
        if let Some(counters) = self.ports.get(port.index()) {
            counters.add(counter, n);
        }
    }

    /// Counts a packet of `bytes` for the target in `slot`. Only the owning engine may call this.
    #[inline]
    pub fn target(&self, slot: u16, generation: u16, bytes: usize) {
        let Some(target) = self.targets.get(usize::from(slot)) else { return };
        let owner = u32::from(generation) + 1;
        let (mut packets, mut total) =
            (target.packets.load(Ordering::Relaxed), target.bytes.load(Ordering::Relaxed));
        if target.owner.load(Ordering::Relaxed) != owner {
            // A new owner starts from nothing; what its predecessor had is gone with it.
            (packets, total) = (0, 0);
            target.owner.store(owner, Ordering::Relaxed);
        }
        target.packets.store(packets.wrapping_add(1), Ordering::Relaxed);
        target.bytes.store(total.wrapping_add(bytes as u64), Ordering::Relaxed);
    }

    /// The counters of one port.
    #[must_use]
    pub fn port(&self, port: PortId) -> Option<&Counters> {
        self.ports.get(port.index())
    }

    /// The targets that were handed anything.
    pub fn targets(&self) -> impl Iterator<Item = TargetRow> + '_ {
        self.targets.iter().enumerate().filter_map(|(slot, target)| {
            let owner = target.owner.load(Ordering::Relaxed);
            Some(TargetRow {
                slot: slot as u16,
                generation: owner.checked_sub(1)? as u16,
                packets: target.packets.load(Ordering::Relaxed),
                bytes: target.bytes.load(Ordering::Relaxed),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_owner_of_a_slot_starts_from_nothing() {
        let ledger = Ledger::default();
        ledger.target(3, 1, 60);
        ledger.target(3, 1, 40);
        let row = TargetRow { slot: 3, generation: 1, packets: 2, bytes: 100 };
        assert_eq!(ledger.targets().collect::<Vec<_>>(), [row]);
        ledger.target(3, 2, 60);
        let row = TargetRow { slot: 3, generation: 2, packets: 1, bytes: 60 };
        assert_eq!(ledger.targets().collect::<Vec<_>>(), [row]);
    }

    #[test]
    fn what_is_out_of_range_is_nobodys() {
        let ledger = Ledger::default();
        ledger.add(PortId::new(MAX_PORTS as u16), Counter::Rx, 1);
        ledger.target(MAX_TARGET_SLOTS as u16, 0, 60);
        assert_eq!(ledger.targets().count(), 0);
        assert!(ledger.port(PortId::new(MAX_PORTS as u16)).is_none());
    }
}
