//! Heap memory behind a UMEM: for ports that no kernel is behind.
#![allow(unsafe_code, reason = "it allocates, and vouches for what it allocated")]

use std::{alloc::Layout, ptr::NonNull};

use super::{Backing, Geometry};

/// Heap memory as a UMEM's backing: for ports that no kernel is behind.
pub struct HeapBacking {
    base: NonNull<u8>,
    layout: Layout,
}

impl HeapBacking {
    /// Zeroed memory for `geometry`, page aligned; `None` if there is not so much.
    #[must_use]
    pub fn new(geometry: Geometry) -> Option<Self> {
        let bytes = (geometry.chunk as usize).checked_mul(geometry.frames as usize)?;
        let layout = Layout::from_size_align(bytes, 4096).ok()?;
        if bytes == 0 {
            return None;
        }
        // SAFETY: the layout has a size above zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
        Some(Self { base, layout })
    }
}

// SAFETY: `base..base + len` is the one allocation made in `new`, freed in `drop`, reachable only from here.
unsafe impl Backing for HeapBacking {
    fn base(&self) -> NonNull<u8> {
        self.base
    }
    fn size(&self) -> usize {
        self.layout.size()
    }
}

// SAFETY: the allocation is owned like a `Box<[u8]>`'s.
unsafe impl Send for HeapBacking {}
// SAFETY: nothing is reached through a shared reference but two numbers.
unsafe impl Sync for HeapBacking {}

impl Drop for HeapBacking {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) };
    }
}
