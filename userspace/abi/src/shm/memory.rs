//! Access to a shared region: loads, stores and copies at offsets, never a slice of what the other side writes.
//!
//! A reference to memory that another process may change is a promise the compiler would believe and nobody keeps.
//! So nothing here returns one: words come as values, bytes are copied out before anybody looks at them.
use core::sync::atomic::{AtomicU32, Ordering, fence};

/// A region that can be read.
///
/// Offsets are in bytes and come from [`super::layout`], which keeps them inside a region of the size it asked for.
/// An access that is outside all the same, or not aligned to its own size, is a mistake of this program: it reads
/// zeros, and debug builds stop there.
pub trait Memory {
    /// Bytes in the region.
    fn size(&self) -> usize;

    /// One atomic load of a word.
    fn load_u32(&self, at: usize, order: Ordering) -> u32;

    /// One relaxed load of eight bytes.
    fn load_u64(&self, at: usize) -> u64;

    /// Two such loads, one after the other: a descriptor.
    #[inline(always)]
    fn load_pair(&self, at: usize) -> [u64; 2] {
        [self.load_u64(at), self.load_u64(at + 8)]
    }

    /// Copies bytes out. They may change meanwhile: the copy is then a mixture, but it is one and stays as it is.
    fn copy_out(&self, at: usize, into: &mut [u8]);

    /// Starts to fetch the cache line at `at`.
    #[inline(always)]
    fn prefetch(&self, at: usize) {
        let _ = at;
    }

    /// The `SeqCst` fence between a store to this memory and a load of what the other side stores.
    #[inline(always)]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// A region that can be written too. Stores outside it, or not aligned, store nothing.
pub trait Writable: Memory {
    /// One atomic store of a word.
    fn store_u32(&self, at: usize, value: u32, order: Ordering);

    /// One relaxed store of eight bytes.
    fn store_u64(&self, at: usize, value: u64);

    /// Two such stores, one after the other: a descriptor.
    #[inline(always)]
    fn store_pair(&self, at: usize, [first, second]: [u64; 2]) {
        self.store_u64(at, first);
        self.store_u64(at + 8, second);
    }

    /// Copies bytes in.
    fn copy_in(&self, at: usize, from: &[u8]);
}

impl<M: Memory + ?Sized> Memory for &M {
    #[inline(always)]
    fn size(&self) -> usize {
        (**self).size()
    }
    #[inline(always)]
    fn load_u32(&self, at: usize, order: Ordering) -> u32 {
        (**self).load_u32(at, order)
    }
    #[inline(always)]
    fn load_u64(&self, at: usize) -> u64 {
        (**self).load_u64(at)
    }
    #[inline(always)]
    fn load_pair(&self, at: usize) -> [u64; 2] {
        (**self).load_pair(at)
    }
    #[inline(always)]
    fn copy_out(&self, at: usize, into: &mut [u8]) {
        (**self).copy_out(at, into);
    }
    #[inline(always)]
    fn prefetch(&self, at: usize) {
        (**self).prefetch(at);
    }
    #[inline(always)]
    fn fence(&self) {
        (**self).fence();
    }
}

impl<M: Writable + ?Sized> Writable for &M {
    #[inline(always)]
    fn store_u32(&self, at: usize, value: u32, order: Ordering) {
        (**self).store_u32(at, value, order);
    }
    #[inline(always)]
    fn store_u64(&self, at: usize, value: u64) {
        (**self).store_u64(at, value);
    }
    #[inline(always)]
    fn store_pair(&self, at: usize, pair: [u64; 2]) {
        (**self).store_pair(at, pair);
    }
    #[inline(always)]
    fn copy_in(&self, at: usize, from: &[u8]) {
        (**self).copy_in(at, from);
    }
}

/// Plain memory as a region, for tests of both ends within one process: slow, safe, the same semantics.
impl Memory for [AtomicU32] {
    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn load_u32(&self, at: usize, order: Ordering) -> u32 {
        debug_assert!(at.is_multiple_of(4) && at < Memory::size(self), "{at} is not a word of this region");
        self.get(at / 4).map_or(0, |word| word.load(order))
    }

    fn load_u64(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        self.copy_out(at, &mut bytes);
        u64::from_ne_bytes(bytes)
    }

    fn copy_out(&self, at: usize, into: &mut [u8]) {
        for (at, byte) in (at..).zip(into) {
            *byte = self.load_u32(at & !3, Ordering::Relaxed).to_ne_bytes()[at % 4];
        }
    }
}

impl Writable for [AtomicU32] {
    fn store_u32(&self, at: usize, value: u32, order: Ordering) {
        debug_assert!(at.is_multiple_of(4) && at < Memory::size(self), "{at} is not a word of this region");
        if let Some(word) = self.get(at / 4) {
            word.store(value, order);
        }
    }

    fn store_u64(&self, at: usize, value: u64) {
        self.copy_in(at, &value.to_ne_bytes());
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        for (at, &byte) in (at..).zip(from) {
            let mut bytes = self.load_u32(at & !3, Ordering::Relaxed).to_ne_bytes();
            bytes[at % 4] = byte;
            self.store_u32(at & !3, u32::from_ne_bytes(bytes), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_memory_is_bytes_in_native_order() {
        let memory = [const { AtomicU32::new(0) }; 4];
        let memory = memory.as_slice();
        assert_eq!(Memory::size(memory), 16);
        memory.store_u32(4, 0x0102_0304, Ordering::Relaxed);
        let mut bytes = [0; 4];
        memory.copy_out(4, &mut bytes);
        assert_eq!(bytes, 0x0102_0304_u32.to_ne_bytes());
        memory.copy_in(6, b"octroi");
        let mut bytes = [0; 8];
        memory.copy_out(5, &mut bytes);
        assert_eq!(&bytes[1..7], b"octroi");
        memory.store_u64(8, u64::MAX - 1);
        assert_eq!((memory.load_u64(8), memory.load_u32(0, Ordering::Acquire)), (u64::MAX - 1, 0));
    }
}
