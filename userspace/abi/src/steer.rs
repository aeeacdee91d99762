//! The steering table: one key for every packet system, one small value that says where a packet goes.
//!
//! A key never has padding and never has two spellings: IPv4 addresses are always written as `::ffff:a.b.c.d`,
//! ports are big endian as on the wire, and `zero` is zero. That makes a byte comparison (what a BPF hash map
//! does) the same as equality.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries of the steering map; a multiple of nothing, only a bound on memory (20 + 8 bytes an entry).
pub const STEER_ENTRIES: u32 = 65_536;

/// The tuple a packet is steered by: its transport protocol and its *destination* address and port.
///
/// ```text
///  0                              16      18      19     20
/// +--------------------------------+-------+-------+------+
/// | addr (IPv4: ::ffff:a.b.c.d)    | port  | proto | zero |
/// +--------------------------------+-------+-------+------+
/// ```
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SteerKey {
    /// Local address, network byte order.
    pub addr: [u8; 16],
    /// Local port, network byte order.
    pub port: [u8; 2],
    /// IP protocol number.
    pub proto: u8,
    /// Always 0.
    pub zero: u8,
}

impl SteerKey {
    /// The key of an IPv4 tuple.
    #[must_use]
    #[inline(always)]
    pub const fn v4(proto: u8, addr: [u8; 4], port: u16) -> Self {
        Self { addr: mapped(addr), port: port.to_be_bytes(), proto, zero: 0 }
    }

    /// The key of an IPv6 tuple.
    #[must_use]
    #[inline(always)]
    pub const fn v6(proto: u8, addr: [u8; 16], port: u16) -> Self {
        Self { addr, port: port.to_be_bytes(), proto, zero: 0 }
    }

    /// The same tuple with the unspecified address: what a transit service registers.
    #[must_use]
    #[inline(always)]
    pub const fn any(self) -> Self {
        Self { addr: [0; 16], ..self }
    }
}

/// An IPv4 address in its IPv4-mapped IPv6 form (RFC 4291 section 2.5.5.2).
#[must_use]
#[inline(always)]
pub const fn mapped(a: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3]]
}

/// Which packet system a [`Target`] belongs to: the `kind` byte of [`Target`] and of [`crate::rxmeta::RxMeta`].
pub mod kind {
    /// No target: only Ruler's class is meant.
    pub const CLASS_ONLY: u8 = 0;
    /// An application's rings (MultiStack).
    pub const STACK: u8 = 1;
    /// A fastpath's meta-interface (SPP).
    pub const FASTPATH: u8 = 2;
    /// The WASP virtual processor.
    pub const ACTIVE: u8 = 3;
    /// A Click module.
    pub const MODULE: u8 = 4;
    /// An SPP endpoint: translated and passed to the OS, never redirected.
    pub const ENDPOINT: u8 = 5;
    /// A target that the engines themselves implement; `id` is one of [`super::builtin`].
    pub const BUILTIN: u8 = 6;
}

/// The `id` of a builtin target.
pub mod builtin {
    /// Counts the packet as delivered and frees it.
    pub const SINK: u16 = 0;
    /// Swaps addresses and ports and sends the packet back.
    pub const ECHO: u16 = 1;
}

/// The `flags` byte of a [`Target`].
pub mod target_flag {
    /// While no socket serves the queue, packets go to the OS stack instead of being dropped.
    pub const ON_CRASH_PASS: u8 = 1 << 0;
    /// ICMP errors that quote this tuple as their source are delivered too.
    pub const ICMP: u8 = 1 << 1;
}

/// Where the packets of one tuple go.
///
/// # Invariants
/// `generation` is raised each time `id` is given to a new owner, so a packet steered before the change is never
/// delivered to the successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Target {
    /// One of [`kind`].
    pub kind: u8,
    /// Bits of [`target_flag`].
    pub flags: u8,
    /// The target's slot in its packet system.
    pub id: u16,
    /// The slot's generation.
    pub generation: u16,
    /// 0, or what the kind defines.
    pub aux: u16,
}

const _: () = {
    assert!(size_of::<SteerKey>() == 20 && align_of::<SteerKey>() == 1);
    assert!(size_of::<Target>() == 8 && align_of::<Target>() == 2);
    assert!(core::mem::offset_of!(SteerKey, port) == 16 && core::mem::offset_of!(SteerKey, proto) == 18);
    assert!(core::mem::offset_of!(Target, id) == 2 && core::mem::offset_of!(Target, generation) == 4);
};
