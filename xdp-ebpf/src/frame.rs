//! A frame as an XDP program sees it: two addresses, and reads that are checked against the second.
//!
//! It refuses to be kept across a helper that moves the packet (`bpf_xdp_adjust_meta`): such a helper invalidates
//! every pointer, so a `Frame` is made after it. All reads begin at even offsets, where headers and their fields do.
//!
//! Offsets that depend on the packet, and subtracting packet pointers, are what makes loading need CAP_PERFMON beside
//! CAP_BPF: without it the verifier allows neither.
use aya_ebpf::programs::XdpContext;

/// The bytes between `data` and `data_end`.
#[derive(Clone, Copy)]
pub struct Frame {
    start: usize,
    end: usize,
    len: usize,
}

impl Frame {
    /// The frame of `ctx` as it is now.
    #[inline(always)]
    pub fn of(ctx: &XdpContext) -> Self {
        let (start, end) = (ctx.data(), ctx.data_end());
        // SAFETY: `ctx.ctx` is the context the kernel handed to this program. Volatile, so that the compiler takes this
        // end for another one: it would prove from the length that a read is inside, and leave out the check that
        // the verifier, which cannot follow such a proof, wants to see.
        let same_end = unsafe { (&raw const (*ctx.ctx).data_end).read_volatile() } as usize;
        Self { start, end, len: same_end - start }
    }

    /// Length in bytes. (A program without frags sees one page at most, so 16 bits hold it.)
    #[inline(always)]
    pub fn len(self) -> usize {
        self.len
    }

    /// A header of `N` 16-bit words at the even offset `at`, if it is there as a whole.
    #[inline(always)]
    pub fn words<const N: usize>(self, at: usize) -> Option<Words<N>> {
        let from = self.start + at;
        if from + 2 * N > self.end {
            return None;
        }
        Some(Words(from as *const [u16; N]))
    }
}

/// `N` consecutive 16-bit words of a frame, inside its bounds.
#[derive(Clone, Copy)]
pub struct Words<const N: usize>(*const [u16; N]);

impl<const N: usize> Words<N> {
    /// Word `I` as it lies in memory: its first byte is the low one.
    #[inline(always)]
    pub fn raw<const I: usize>(self) -> u16 {
        const { assert!(I < N) };
        // SAFETY: `Frame::words` checked that all `N` words lie in the frame, and `I < N`.
        unsafe { (&raw const (*self.0)[I]).read() }
    }

    /// Word `I` as a number in network byte order.
    #[inline(always)]
    pub fn be<const I: usize>(self) -> u16 {
        u16::from_be(self.raw::<I>())
    }

    /// The first byte of word `I`.
    #[inline(always)]
    pub fn first<const I: usize>(self) -> u8 {
        self.raw::<I>() as u8
    }

    /// The second byte of word `I`.
    #[inline(always)]
    pub fn second<const I: usize>(self) -> u8 {
        (self.raw::<I>() >> 8) as u8
    }

    /// Words `I` and `J = I + 1` as they lie in memory.
    #[inline(always)]
    pub fn pair<const I: usize, const J: usize>(self) -> u32 {
        const { assert!(I + 1 == J && J < N) };
        // SAFETY: `Frame::words` checked that all `N` words lie in the frame, and `I < J < N`.
        unsafe { (&raw const (*self.0)[I]).cast::<u32>().read_unaligned() }
    }

    /// Words `I` to `I + 3` as they lie in memory: the first byte is the lowest.
    #[inline(always)]
    pub fn quad<const I: usize>(self) -> u64 {
        const { assert!(I + 4 <= N) };
        // SAFETY: `Frame::words` checked that all `N` words lie in the frame, and `I + 4 <= N`.
        unsafe { (&raw const (*self.0)[I]).cast::<u64>().read_unaligned() }
    }
}
