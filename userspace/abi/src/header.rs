//! What a generated header program and its loader agree on: the maps that it names by number.
//!
//! A program is made without descriptors, so the same filter gives the same program; the loader hands the maps over in
//! the order of [`HeaderMap::ALL`] when the kernel takes it.

/// A map that a header program names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum HeaderMap {
    /// The interface's program array, [`crate::pins::JUMP`].
    Jump,
    /// The program's own per-CPU array of `u64`: how often it decided what.
    Rules,
    /// [`crate::pins::COUNTERS`]: what ends in a header program is in the books like every other frame.
    Counters,
}

impl HeaderMap {
    /// Every map, in order.
    pub const ALL: [Self; 3] = [Self::Jump, Self::Rules, Self::Counters];
}

const _: () = {
    let mut i = 0;
    while i < HeaderMap::ALL.len() {
        assert!(HeaderMap::ALL[i] as usize == i);
        i += 1;
    }
};
