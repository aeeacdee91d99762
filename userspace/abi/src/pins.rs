//! Names of programs, maps and pins, and the shapes that pinned maps keep for ever.
//!
//! ```text
//! /sys/fs/bpf/octroi/<instance>/            STEER, FRAGS, COUNTERS, LAYOUT      one per instance
//! /sys/fs/bpf/octroi/<instance>/<ifname>/   LINK, JUMP, XSKS, PORT              one per interface
//! ```

/// Directory in bpffs below which every instance keeps its pins.
pub const ROOT: &str = "/sys/fs/bpf/octroi";

/// Hash map [`crate::steer::SteerKey`] → [`crate::steer::Target`], one per instance.
pub const STEER: &str = "STEER";
/// LRU hash map [`crate::fragment::FragKey`] → [`crate::fragment::FragEntry`], one per instance.
pub const FRAGS: &str = "FRAGS";
/// Per-CPU array of `u64`, indexed by [`crate::counter::XdpCounter`], one per instance.
pub const COUNTERS: &str = "COUNTERS";
/// Array with one `u32`, [`crate::LAYOUT`].
pub const LAYOUT: &str = "LAYOUT";
/// The interface's pinned bpf_link.
pub const LINK: &str = "LINK";
/// PROG_ARRAY of [`JUMP_SLOTS`] slots, one per interface.
pub const JUMP: &str = "JUMP";
/// XSKMAP, index = receive queue, one per interface.
pub const XSKS: &str = "XSKS";
/// Array with one [`crate::port::PortConfig`], one per interface.
pub const PORT: &str = "PORT";

/// The attached program.
pub const PROG_INGRESS: &str = "ingress";
/// The program in slot [`SLOT_STEER`].
pub const PROG_STEER: &str = "steer";

/// Slots of `JUMP`.
pub const JUMP_SLOTS: u32 = 4;
/// Slot of the interface's Ruler header program; may be empty.
pub const SLOT_HEADER: u32 = 0;
/// Slot of `steer`; set before `ingress` is attached.
pub const SLOT_STEER: u32 = 1;
/// Entries of `XSKS`: the most receive queues an interface may have.
pub const MAX_QUEUES: u32 = 256;
/// Entries of `COUNTERS`: more than there are counters, so that a new one does not change the shape of a pinned map.
pub const COUNTER_SLOTS: u32 = 64;

/// The lab object's DEVMAP: entry 0 is the interface that `transmit` sends by.
pub const LAB_OUT: &str = "OUT";
/// Entries of [`LAB_OUT`].
pub const LAB_OUT_ENTRIES: u32 = 1;
/// The lab object's XSKMAP, index = receive queue, [`MAX_QUEUES`] entries.
pub const LAB_XSKS: &str = "FLOOR_XSKS";
/// The lab program that passes every frame.
pub const LAB_PASS: &str = "pass";
/// The lab program that sends every frame out of [`LAB_OUT`].
pub const LAB_TRANSMIT: &str = "transmit";
/// The lab program that redirects every frame to [`LAB_XSKS`] unread.
pub const LAB_FLOOR: &str = "floor";
/// The lab object's program array, in whose slot [`SLOT_STEER`] [`LAB_UNMAKE`] stands.
pub const LAB_JUMP: &str = "HAND_JUMP";
/// The lab object's per-CPU counters of what header programs by hand decide.
pub const LAB_RULES: &str = "HAND_RULES";
/// The lab object's hash map of the flows that [`LAB_TUPLES`] accepts.
pub const LAB_FLOWS: &str = "HAND_TUPLES";
/// The lab program that takes a header program's metadata off again.
pub const LAB_UNMAKE: &str = "unmake";
/// The header program by hand that looks for signatures.
pub const LAB_SIGNATURES: &str = "signatures_by_hand";
/// The header program by hand that rewrites what goes to port 80.
pub const LAB_WWW: &str = "www_by_hand";
/// The header program by hand that accepts the flows of a table.
pub const LAB_TUPLES: &str = "tuples_by_hand";
