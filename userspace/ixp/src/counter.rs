//! What became of every packet on the engines: one counter per outcome, one registry for all who show them.
//!
//! Each engine owns one [`Counters`] block per port and is its only writer, so an increment is a load, an add and
//! a store of one cache line that nobody else writes. Readers add blocks up and may see a batch half counted;
//! they never see a number go back.
use std::sync::atomic::{AtomicU64, Ordering};

use abi::{
    counter::{Desc, Role},
    shm::counter::ChannelCounter,
};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $role:ident;)+) => {
        /// An outcome of a packet on an engine.
        // A macro, because variant, name, help and role of one counter must not drift apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Counter { $($(#[doc = $doc])+ $variant,)+ }

        impl Counter {
            /// Every counter, in index order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name, help and role.
            #[must_use]
            pub const fn desc(self) -> Desc {
                match self {
                    $(Self::$variant => Desc { name: $name, help: concat!($($doc),+).trim_ascii(), role: Role::$role },)+
                }
            }
        }
    };
}

counters! {
    /// Frames taken from ports.
    Rx = "rx", Rx;
    /// Frames whose metadata was valid.
    FromMeta = "rx_from_meta", Note;
    /// Frames parsed again because their metadata was missing or invalid.
    Reparsed = "rx_reparsed", Note;
    /// Packets that a sink consumed.
    Delivered = "delivered", Delivered;
    /// Packets handed to a port's transmit ring.
    Transmitted = "transmitted", Transmitted;
    /// No valid metadata, and no tuple matches any more.
    RxUnclaimed = "rx_unclaimed", Dropped;
    /// Steered to a target that has been removed or replaced since.
    RxStale = "rx_stale", Dropped;
    /// The IPv4 header checksum is wrong.
    RxBadIpChecksum = "rx_bad_ip_checksum", Dropped;
    /// A target kind that no stage of this program serves.
    RxNoStage = "rx_no_stage", Dropped;
    /// Echo: not UDP, or nobody a reply may go to: a group, nobody, port 0, another echo, a source route.
    EchoRefused = "echo_refused", Dropped;
    /// A filter rejected it.
    RulerReject = "ruler_reject", Dropped;
    /// No rule of a filter matches it.
    RulerNoMatch = "ruler_no_match", Dropped;
    /// A filter made it longer than its port sends, or than its frame.
    RulerTooLong = "ruler_too_long", Dropped;
    /// A filter made it shorter than an Ethernet header.
    RulerTooShort = "ruler_too_short", Dropped;
    /// A filter set a field to a value that does not fit.
    RulerField = "ruler_field", Dropped;
    /// Packets that a filter judged from the class that the header program found.
    RulerFromClass = "ruler_from_class", Note;
    /// Packets that a filter judged from their first byte.
    RulerFromZero = "ruler_from_zero", Note;
    /// Checksums that a filter could not make and set to 0.
    RulerCsumSkipped = "ruler_csum_skipped", Note;
    /// An application's ring was full.
    RxRingFull = "rx_ring_full", Dropped;
    /// The packet is longer than a slot of the application's ring.
    RxTooLong = "rx_too_long", Dropped;
    /// Packets taken from applications.
    Submitted = "submitted", Submitted;
    /// Its descriptor is wrong: bits that must be zero, length.
    TxDesc = "tx_desc", Dropped;
    /// Its Ethernet addresses are not allowed.
    TxMac = "tx_mac", Dropped;
    /// Its tags or EtherType are not the interface's.
    TxVlan = "tx_vlan", Dropped;
    /// Its IP header or length is wrong.
    TxMalformed = "tx_malformed", Dropped;
    /// A fragment from an application.
    TxFragment = "tx_fragment", Dropped;
    /// IPv6 extension headers from an application.
    TxExtHeader = "tx_ext_header", Dropped;
    /// A protocol without ports from an application.
    TxProtocol = "tx_protocol", Dropped;
    /// Its source tuple is not the session's.
    TxNotOwner = "tx_not_owner", Dropped;
    /// A destination that no application may send to.
    TxDestination = "tx_destination", Dropped;
    /// From an application to the OS stack of this host.
    TxLocalOs = "tx_local_os", Dropped;
    /// No route leads on.
    TxNoRoute = "tx_no_route", Dropped;
    /// Its next hop is not resolved.
    TxNoNeighbour = "tx_no_neighbour", Dropped;
    /// The transmit ring stayed full beyond the engine's backlog limit.
    TxRingFull = "tx_ring_full", Dropped;
    /// A scratch ring between engines was full.
    ScratchRingFull = "scratch_ring_full", Dropped;
    /// The port can never send it: it is longer than the port's frames, or foreign where none are copied.
    TxUnfit = "tx_unfit", Dropped;
    /// The port went away with packets still to be sent.
    TxPortGone = "tx_port_gone", Dropped;
    /// Packets that a capture was not shown, because whoever captures was too slow.
    CaptureLost = "capture_lost", Note;
}

/// A counter whose role is `Dropped`: the only thing a drop may be counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss(Counter);

impl Loss {
    /// The drop that `counter` counts.
    ///
    /// # Panics
    /// If its role is not `Dropped`. Made for constants, where that is an error of compilation.
    #[must_use]
    pub const fn of(counter: Counter) -> Self {
        assert!(matches!(counter.desc().role, Role::Dropped), "only a dropping counter is a loss");
        Self(counter)
    }

    /// The counter.
    #[must_use]
    #[inline]
    pub const fn counter(self) -> Counter {
        self.0
    }

    /// What it is called in the books of the application that a packet was for; `None` for drops that befall none.
    #[must_use]
    pub const fn of_channel(self) -> Option<ChannelCounter> {
        Some(match self.0 {
            Counter::RxStale => ChannelCounter::RxStale,
            Counter::RxUnclaimed => ChannelCounter::RxUnclaimed,
            Counter::RxBadIpChecksum => ChannelCounter::RxBadIpChecksum,
            Counter::RxRingFull => ChannelCounter::RxRingFull,
            Counter::RxTooLong => ChannelCounter::RxTooLong,
            _ => return None,
        })
    }
}

/// One engine's counters for one port. Cache-line aligned: no two writers share a line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    values: [AtomicU64; Counter::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self { values: [const { AtomicU64::new(0) }; Counter::ALL.len()] }
    }
}

impl Counters {
    /// Adds `n`. Only the owning engine may call this: it is not an atomic addition.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        let value = &self.values[counter as usize];
        value.store(value.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_snake_case() {
        let mut names: Vec<_> = Counter::ALL.iter().map(|c| c.desc().name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn adding_moves_one_counter() {
        let block = Counters::default();
        block.add(Counter::RxStale, 3);
        for &c in Counter::ALL {
            assert_eq!(block.get(c), if c == Counter::RxStale { 3 } else { 0 }, "{}", c.desc().name);
        }
    }
}
