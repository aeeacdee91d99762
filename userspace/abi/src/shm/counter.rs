//! What the daemon counts for each channel, in the order in which it lies in the down region.
//!
//! One writer (the channel's worker), any number of readers: the application sees its own, the daemon shows all. The
//! names are the registry's, the same in the command line, JSON and Prometheus.
//!
//! ```text
//! tx_read = tx_sent + tx_hairpin + Σ tx_* drops
//! rx_handed = rx_delivered + rx_ring_full + rx_stale + rx_unclaimed + rx_bad_ip_checksum + rx_too_long
//! ```
use crate::counter::Role;

/// Counters that there is room for in a channel.
pub const SPACE: usize = 64;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $role:ident;)+) => {
        /// A counter of one channel; the discriminant is its place.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ChannelCounter { $($(#[doc = $doc])+ $variant,)+ }

        impl ChannelCounter {
            /// Every counter, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in the registry.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Its place in the books.
            #[must_use]
            pub const fn role(self) -> Role {
                match self { $(Self::$variant => Role::$role,)+ }
            }

            /// One line for people.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }
        }
    };
}

// A macro, so that a counter's name, role and help cannot drift apart from its place.
counters! {
    /// Packets put into the application's ring.
    RxDelivered = "rx_delivered", Delivered;
    /// Packets dropped because the application's ring was full.
    RxRingFull = "rx_ring_full", Dropped;
    /// Packets for a session that was gone when they came.
    RxStale = "rx_stale", Dropped;
    /// Packets that nobody owned when the worker looked.
    RxUnclaimed = "rx_unclaimed", Dropped;
    /// Packets whose IPv4 header checksum is wrong.
    RxBadIpChecksum = "rx_bad_ip_checksum", Dropped;
    /// Packets longer than a slot.
    RxTooLong = "rx_too_long", Dropped;
    /// Packets taken from the application's ring.
    TxRead = "tx_read", Submitted;
    /// Packets that passed every check and went to a port.
    TxSent = "tx_sent", Forwarded;
    /// Packets handed to another stack of this host.
    TxHairpin = "tx_hairpin", Forwarded;
    /// Packets whose descriptor is wrong: bits that must be zero, length.
    TxDesc = "tx_desc", Dropped;
    /// Packets whose Ethernet addresses are not allowed.
    TxMac = "tx_mac", Dropped;
    /// Packets whose tags or EtherType are not the interface's.
    TxVlan = "tx_vlan", Dropped;
    /// Packets whose IP header or length is wrong.
    TxMalformed = "tx_malformed", Dropped;
    /// Fragments.
    TxFragment = "tx_fragment", Dropped;
    /// Packets with IPv6 extension headers.
    TxExtHeader = "tx_ext_header", Dropped;
    /// Packets of a protocol without ports.
    TxProtocol = "tx_protocol", Dropped;
    /// Packets whose source tuple is not the session's.
    TxNotOwner = "tx_not_owner", Dropped;
    /// Packets to a destination that no application may send to.
    TxDestination = "tx_destination", Dropped;
    /// Packets to the OS stack of this host.
    TxLocalOs = "tx_local_os", Dropped;
    /// Packets that no route leads on.
    TxNoRoute = "tx_no_route", Dropped;
    /// Packets whose next hop is not resolved.
    TxNoNeighbour = "tx_no_neighbour", Dropped;
    /// Indices beyond the ring: the session was revoked for it.
    Violation = "violation", Note;
}

impl ChannelCounter {
    /// Number of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> usize {
        self as usize
    }
}

const _: () = assert!(ChannelCounter::COUNT <= SPACE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_order_and_names_unique() {
        for (index, counter) in ChannelCounter::ALL.iter().enumerate() {
            assert_eq!(counter.index(), index);
            let same = ChannelCounter::ALL.iter().filter(|other| other.name() == counter.name());
            assert_eq!(same.count(), 1, "{}", counter.name());
        }
    }
}
