//! What `steer` must know of the interface it runs on: one value in the interface's `PORT` map.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most VLAN tags that a served interface may carry: one service tag, one customer tag.
pub const MAX_TAGS: usize = 2;

/// [`PortConfig::flags`]: the interface serves transit traffic, so a miss is looked up once more with `::`.
pub const TRANSIT: u8 = 1 << 0;

/// The only entry of an interface's `PORT` array.
///
/// # Invariants
/// `vlan[i]` for `i >= tags` is 0; a VLAN id is 1..=4094, native byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PortConfig {
    /// The interface's MAC address: frames for another one belong to the OS.
    pub mac: [u8; 6],
    /// How many tags a claimed frame must carry, outermost first; VID 0 counts as no tag.
    pub tags: u8,
    /// [`TRANSIT`]; other bits 0.
    pub flags: u8,
    /// The VLAN ids.
    pub vlan: [u16; MAX_TAGS],
}

const _: () = assert!(size_of::<PortConfig>() == 12 && align_of::<PortConfig>() == 2);
