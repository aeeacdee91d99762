//! What is asked of one queue of an interface, and whether it can be had at all.
//!
//! Nothing here looks at a device or the kernel: a configuration is judged by its own numbers, before anything is
//! opened. Every refusal says what was given and what the limit is.
use std::fmt;

use ixp::{frame::MAX_CHUNKS, port::PortId};
use thiserror::Error;

/// Bytes that the kernel keeps before the packet for XDP programs.
#[doc(alias = "XDP_PACKET_HEADROOM")]
pub const XDP_HEADROOM: u32 = 256;

/// Frames a queue has by default: a UMEM beyond the L2 cache and the TLB costs a third of the rate.
pub const DEFAULT_FRAMES: u32 = 2048;

/// Slots of each of the four rings by default.
pub const DEFAULT_RING: u32 = 1024;

/// Frames kept by default for copies of frames that live in other UMEMs.
pub const DEFAULT_COPIES: u32 = 256;

/// Bytes before the packet by default: `RxMeta` and the first 48 packet bytes share a cache line.
pub const DEFAULT_HEADROOM: u32 = 16;

/// Frames that one call may hand to the device in copy mode, where the kernel lets us say so.
pub const DEFAULT_TX_BUDGET: u32 = 64;

/// Most slots of a ring.
pub const MAX_RING: u32 = 1 << 16;

/// The kernel's own budget for one sending call in copy mode, and the least that can be asked for.
#[doc(alias = "TX_BATCH_SIZE")]
pub const KERNEL_TX_BUDGET: u32 = 32;

/// Longest headroom: a whole Ethernet, VLAN and tunnel header fits into it several times.
const MAX_HEADROOM: u32 = 512;

/// Bytes of an interface name, as the kernel counts them, without the closing zero.
const MAX_NAME: usize = 15;

/// The name of a network interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterfaceName {
    bytes: [u8; MAX_NAME],
    len: u8,
}

/// How packets get between the device and the UMEM. There is no "whatever works": the kernel's silent choice
/// would make two machines differ by a factor without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMode {
    /// The kernel copies. Works with every driver.
    #[doc(alias = "XDP_COPY")]
    Copy,
    /// The device reads and writes the UMEM. Refused where the driver cannot.
    #[doc(alias = "XDP_ZEROCOPY")]
    ZeroCopy,
}

/// Serve the device's interrupts from our own calls instead of from softirq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one call may poll the device, in microseconds.
    pub timeout_us: u32,
    /// Most packets one call takes from the device.
    pub budget: u16,
}

/// What is asked of one (interface, queue) pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The interface, in the network namespace of the calling thread.
    pub interface: InterfaceName,
    /// Its receive and transmit queue.
    pub queue: u32,
    /// What the engines call this pair.
    pub port: PortId,
    /// Bytes of a chunk: 2048 or 4096.
    pub chunk: u32,
    /// Chunks for receiving, and for sending what was received or allocated here.
    pub frames: u32,
    /// Chunks for copies of frames from other UMEMs; with 0 such frames are refused.
    pub copies: u32,
    /// Bytes before the packet, beyond the kernel's [`XDP_HEADROOM`].
    pub headroom: u32,
    /// Slots of each of the four rings.
    pub ring: u32,
    /// How packets get to and from the device.
    pub mode: CopyMode,
    /// Poll the device from our calls; `None` leaves it to softirq.
    pub busy_poll: Option<BusyPoll>,
    /// Frames one sending call may hand over in copy mode, on kernels that let us say so.
    pub tx_budget: u32,
    /// Most VLAN tags on a frame of this interface: each takes 4 bytes beyond the MTU.
    pub vlan_tags: u32,
}

/// Why a configuration is impossible on any device.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// An interface name is empty, too long, or has a byte that names cannot have.
    #[error(
        "an interface name has 1 to {limit} bytes, none of them '/', a space or a zero; {given} were given"
    )]
    Name {
        /// Bytes given.
        given: usize,
        /// Most bytes.
        limit: usize,
    },
    /// AF_XDP knows two chunk sizes here.
    #[error("chunk = {given}: a chunk has 2048 or 4096 bytes")]
    Chunk {
        /// Bytes given.
        given: u32,
    },
    /// The headroom leaves no sensible room, or puts metadata across words.
    #[error("headroom = {given}: a multiple of 16 up to {limit} is possible")]
    Headroom {
        /// Bytes given.
        given: u32,
        /// Most bytes.
        limit: u32,
    },
    /// A ring is no power of two, or too large.
    #[error("ring = {given}: a power of two from 64 to {limit} is possible")]
    Ring {
        /// Slots given.
        given: u32,
        /// Most slots.
        limit: u32,
    },
    /// With fewer frames the fill ring would take them all, and none could be sent.
    #[error("frames = {given}: with rings of {ring} at least {least} frames are needed")]
    TooFewFrames {
        /// Frames given.
        given: u32,
        /// Slots of a ring.
        ring: u32,
        /// Least frames.
        least: u32,
    },
    /// Chunk numbers would not fit the rings that carry them.
    #[error("frames + copies = {given}: at most {limit} are possible")]
    TooManyFrames {
        /// Frames given.
        given: u64,
        /// Most frames.
        limit: u32,
    },
    /// The kernel takes budgets in this range only.
    #[error("tx_budget = {given}: {least} to {limit} (the ring) are possible")]
    TxBudget {
        /// Frames given.
        given: u32,
        /// [`KERNEL_TX_BUDGET`].
        least: u32,
        /// Slots of the transmit ring.
        limit: u32,
    },
}

impl InterfaceName {
    /// Checks a name as the kernel does.
    ///
    /// # Errors
    /// [`ConfigError::Name`] if no device can have it.
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        let refused = ConfigError::Name { given: name.len(), limit: MAX_NAME };
        let legal = |b: &u8| b.is_ascii_graphic() && *b != b'/' && *b != b':';
        if name.is_empty()
            || MAX_NAME < name.len()
            || name == "."
            || name == ".."
            || !name.as_bytes().iter().all(legal)
        {
            return Err(refused);
        }
        let mut bytes = [0; MAX_NAME];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Self { bytes, len: name.len() as u8 })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII was let in by `new`.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for CopyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "copy",
            Self::ZeroCopy => "zero-copy",
        })
    }
}

impl QueueConfig {
    /// The defaults for a queue: what was measured to be fast with a 2-core virtual machine and veth.
    #[must_use]
    pub const fn new(interface: InterfaceName, queue: u32, port: PortId) -> Self {
        Self {
            interface,
            queue,
            port,
            chunk: 2048,
            frames: DEFAULT_FRAMES,
            copies: DEFAULT_COPIES,
            headroom: DEFAULT_HEADROOM,
            ring: DEFAULT_RING,
            mode: CopyMode::Copy,
            busy_poll: None,
            tx_budget: DEFAULT_TX_BUDGET,
            vlan_tags: 0,
        }
    }

    /// Most bytes of a packet in one chunk.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.chunk.saturating_sub(XDP_HEADROOM + self.headroom)
    }

    /// Where in its chunk a packet begins.
    #[must_use]
    pub const fn data_offset(&self) -> u32 {
        XDP_HEADROOM + self.headroom
    }

    /// Bytes of the whole UMEM.
    #[must_use]
    pub const fn umem_bytes(&self) -> u64 {
        (self.frames as u64 + self.copies as u64) * self.chunk as u64
    }

    /// Judges the numbers.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !matches!(self.chunk, 2048 | 4096) {
            return Err(ConfigError::Chunk { given: self.chunk });
        }
        if MAX_HEADROOM < self.headroom || !self.headroom.is_multiple_of(16) {
            return Err(ConfigError::Headroom { given: self.headroom, limit: MAX_HEADROOM });
        }
        if !self.ring.is_power_of_two() || !(64..=MAX_RING).contains(&self.ring) {
            return Err(ConfigError::Ring { given: self.ring, limit: MAX_RING });
        }
        if self.frames < 2 * self.ring {
            return Err(ConfigError::TooFewFrames {
                given: self.frames,
                ring: self.ring,
                least: 2 * self.ring,
            });
        }
        let all = u64::from(self.frames) + u64::from(self.copies);
        if u64::from(MAX_CHUNKS) < all {
            return Err(ConfigError::TooManyFrames { given: all, limit: MAX_CHUNKS });
        }
        if !(KERNEL_TX_BUDGET..=self.ring).contains(&self.tx_budget) {
            let (given, least, limit) = (self.tx_budget, KERNEL_TX_BUDGET, self.ring);
            return Err(ConfigError::TxBudget { given, least, limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> QueueConfig {
        QueueConfig::new(InterfaceName::new("veth0").expect("a name"), 0, PortId::new(0))
    }

    #[test]
    fn the_defaults_are_possible() {
        assert_eq!(config().check(), Ok(()));
        assert_eq!((config().capacity(), config().data_offset()), (1776, 272));
        assert_eq!(config().umem_bytes(), (2048 + 256) * 2048);
    }

    #[test]
    fn names_are_judged_as_the_kernel_does() {
        assert_eq!(InterfaceName::new("a23456789012345").expect("15 bytes").as_str(), "a23456789012345");
        for bad in ["", "a234567890123456", "a/b", "a b", ".", "..", "a:1", "a\0", "straße"] {
            assert_eq!(
                InterfaceName::new(bad),
                Err(ConfigError::Name { given: bad.len(), limit: 15 }),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn each_impossible_number_is_refused_with_its_limit() {
        let base = config();
        let cases = [
            (QueueConfig { chunk: 1024, ..base }, ConfigError::Chunk { given: 1024 }),
            (QueueConfig { headroom: 24, ..base }, ConfigError::Headroom { given: 24, limit: 512 }),
            (QueueConfig { headroom: 528, ..base }, ConfigError::Headroom { given: 528, limit: 512 }),
            (QueueConfig { ring: 1000, ..base }, ConfigError::Ring { given: 1000, limit: MAX_RING }),
            (QueueConfig { ring: 32, ..base }, ConfigError::Ring { given: 32, limit: MAX_RING }),
            (
                QueueConfig { frames: 2047, ..base },
                ConfigError::TooFewFrames { given: 2047, ring: 1024, least: 2048 },
            ),
            (
                QueueConfig { frames: MAX_CHUNKS, copies: 1, ..base },
                ConfigError::TooManyFrames { given: u64::from(MAX_CHUNKS) + 1, limit: MAX_CHUNKS },
            ),
            (
                QueueConfig { tx_budget: 31, ..base },
                ConfigError::TxBudget { given: 31, least: 32, limit: 1024 },
            ),
            (
                QueueConfig { tx_budget: 1025, ..base },
                ConfigError::TxBudget { given: 1025, least: 32, limit: 1024 },
            ),
        ];
        for (config, error) in cases {
            assert_eq!(config.check(), Err(error));
        }
    }
}
