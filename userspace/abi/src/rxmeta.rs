//! The 16 bytes that XDP leaves directly before a packet: who it is for, and what was already found in it.
//!
//! The AF_XDP descriptor does not say whether metadata is there. A worker therefore believes it only if the
//! magic and the frame's length agree, and clears the magic before the frame returns to the fill ring, so that
//! a stale one is never taken for a new one. Fields are in native byte order: both sides are one machine.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First two bytes of a filled [`RxMeta`]: `'O'`, layout 1.
pub const MAGIC: u16 = 0x4F01;

/// First two bytes of what a header program leaves to `steer`: only `class` and `class_gen` are filled.
pub const MAGIC_CLASS: u16 = 0x4F00;

/// The class of a packet that no header program has judged.
pub const CLASS_NONE: u16 = 0xFFFF;

/// Set in a class that Ruler finally rejected; steering honours it after a hit.
pub const CLASS_REJECT: u16 = 0x8000;

/// The `flags` byte of [`RxMeta`]; all other bits are 0.
pub mod flag {
    /// First fragment: the ports are here, more of the packet is not.
    pub const FRAG_FIRST: u8 = 1 << 0;
    /// Later fragment: no transport header, [`super::RxMeta::l4_off`] is 0.
    pub const FRAG_LATER: u8 = 1 << 1;
    /// An ICMP error that quotes the target's tuple; [`super::RxMeta::l4_off`] is the ICMP header's.
    pub const ICMP_ERROR: u8 = 1 << 2;
    /// The frame carries the interface's VLAN tags.
    pub const TAGGED: u8 = 1 << 3;
    /// The network layer is IPv6.
    pub const IPV6: u8 = 1 << 4;
    /// IPv4 options or IPv6 extension headers, a fragment header's too, stand before what follows the network layer.
    pub const OPTIONS: u8 = 1 << 5;
}

/// What XDP knows of a packet.
///
/// ```text
///  0       2      3       4    6            8       10          11      12       14          16
/// +-------+------+-------+----+------------+-------+-----------+-------+--------+-----------+
/// | magic | kind | flags | id | generation | class | class_gen | l3_off| l4_off | frame_len | packet …
/// +-------+------+-------+----+------------+-------+-----------+-------+--------+-----------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RxMeta {
    /// [`MAGIC`], or [`MAGIC_CLASS`] between a header program and `steer`.
    pub magic: u16,
    /// One of [`crate::steer::kind`].
    pub kind: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// The target's slot.
    pub id: u16,
    /// The slot's generation when XDP looked it up.
    pub generation: u16,
    /// Ruler's class, [`CLASS_NONE`] if none.
    pub class: u16,
    /// The header program's generation modulo 256.
    pub class_gen: u8,
    /// Offset of the network header in the frame: 14, 18 or 22.
    pub l3_off: u8,
    /// Offset of the transport header in the frame; 0 in a later fragment.
    pub l4_off: u16,
    /// Length of the frame; must equal the descriptor's.
    pub frame_len: u16,
}

impl RxMeta {
    /// Size in bytes: what `bpf_xdp_adjust_meta` reserves.
    pub const SIZE: usize = 16;

    /// Whether this is a filled `RxMeta` of a frame of `frame_len` bytes.
    #[must_use]
    #[inline(always)]
    pub const fn is_valid_for(&self, frame_len: usize) -> bool {
        self.magic == MAGIC && self.frame_len as usize == frame_len
    }

    /// The class, if a header program gave one.
    #[must_use]
    #[inline(always)]
    pub const fn class(&self) -> Option<u16> {
        if self.class == CLASS_NONE { None } else { Some(self.class) }
    }
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RxMeta>() == RxMeta::SIZE);
    assert!(offset_of!(RxMeta, kind) == 2 && offset_of!(RxMeta, flags) == 3 && offset_of!(RxMeta, id) == 4);
    assert!(offset_of!(RxMeta, generation) == 6 && offset_of!(RxMeta, class) == 8);
    assert!(offset_of!(RxMeta, class_gen) == 10 && offset_of!(RxMeta, l3_off) == 11);
    assert!(offset_of!(RxMeta, l4_off) == 12 && offset_of!(RxMeta, frame_len) == 14);
};
