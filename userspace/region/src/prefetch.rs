//! The one instruction behind the eight contexts: ask for a cache line before it is needed.
//!
//! On targets without such an instruction this does nothing, and the engines are only slower.
#![allow(
    unsafe_code,
    reason = "the intrinsic is an unsafe fn for its pointer argument, which it never follows"
)]

/// Starts to fetch the cache line of `address` for reading, into every level.
///
/// Any address will do: a prefetch that cannot be served is ignored by the processor.
#[inline(always)]
pub fn read(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: PREFETCHT0 never faults and has no architectural effect, whatever the address
        // (AMD64 manual volume 3, "PREFETCHlevel").
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
