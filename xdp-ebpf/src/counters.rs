//! One count per outcome, in this CPU's slot: no atomics, no cache line shared with another CPU.
use abi::counter::XdpCounter;

use crate::maps::COUNTERS;

/// Whether this CPU has counted no frame under `outcome` yet.
#[inline(always)]
pub fn is_unmoved(outcome: XdpCounter) -> bool {
    COUNTERS.get(outcome as u32) == Some(&0)
}

/// Counts one frame.
#[inline(always)]
pub fn count(outcome: XdpCounter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(outcome as u32) {
        // SAFETY: the map returned this CPU's slot, 8 bytes and aligned; XDP is not re-entered on a CPU, and
        // userspace only reads.
        unsafe { *slot += 1 };
    }
}
