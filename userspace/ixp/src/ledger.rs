//! One engine's ledger: its counters by port and by target. The engine alone writes, anybody reads.
//!
//! It never allocates after it was made and keeps a port's numbers when the port goes away: the books of a
//! system do not forget packets.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use multistack::slots::{MAX_SLOTS, TupleId};

use crate::{
    counter::{Counter, Counters},
    port::PortId,
};

/// Most ports of a system: bound of every ledger.
pub const MAX_PORTS: usize = 256;

/// What one target was handed.
#[derive(Debug, Default)]
struct TargetCounters {
    /// The registration's number plus one; 0 before the first packet.
    owner: AtomicU32,
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// One target's row of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetRow {
    /// Whose target it is. An earlier holder of the slot may still be shown: see [`Ledger::targets`].
    pub tuple: TupleId,
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
            targets: (0..MAX_SLOTS).map(|_| TargetCounters::default()).collect(),
        }
    }
}

impl Ledger {
    /// What one takes of the SRAM account.
    pub(crate) const BYTES: usize =
        MAX_PORTS * size_of::<Counters>() + MAX_SLOTS * size_of::<TargetCounters>();

    /// Adds `n` to a port's counter. Only the owning engine may call this.
    #[inline]
    pub fn add(&self, port: PortId, counter: Counter, n: u64) {
        if let Some(counters) = self.ports.get(port.index()) {
            counters.add(counter, n);
        }
    }

    /// Counts a packet of `bytes` for a target. Only the owning engine may call this.
    #[inline]
    pub fn target(&self, tuple: TupleId, bytes: usize) {
        let Some(target) = self.targets.get(tuple.slot()) else { return };
        let owner = u32::from(tuple.raw()) + 1;
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

    /// The targets that were handed anything. A slot whose new holder had no packet yet still shows the old one.
    pub fn targets(&self) -> impl Iterator<Item = TargetRow> + '_ {
        self.targets.iter().filter_map(|target| {
            let owner = target.owner.load(Ordering::Relaxed).checked_sub(1)?;
            Some(TargetRow {
                tuple: TupleId::from_raw(owner as u16),
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
        let (old, new) = (TupleId::from_raw(3), TupleId::from_raw(3 + MAX_SLOTS as u16));
        ledger.target(old, 60);
        ledger.target(old, 40);
        let row = TargetRow { tuple: old, packets: 2, bytes: 100 };
        assert_eq!(ledger.targets().collect::<Vec<_>>(), [row]);
        ledger.target(new, 60);
        let row = TargetRow { tuple: new, packets: 1, bytes: 60 };
        assert_eq!(ledger.targets().collect::<Vec<_>>(), [row]);
    }

    #[test]
    fn what_is_out_of_range_is_nobodys() {
        let ledger = Ledger::default();
        ledger.add(PortId::new(MAX_PORTS as u16), Counter::Rx, 1);
        assert_eq!(ledger.targets().count(), 0);
        assert!(ledger.port(PortId::new(MAX_PORTS as u16)).is_none());
    }
}
