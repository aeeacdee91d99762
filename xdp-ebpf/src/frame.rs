//! A frame as an XDP program sees it: two addresses, and reads that are checked against the second.
//!
//! It refuses to be kept across a helper that moves the packet (`bpf_xdp_adjust_meta`): such a helper invalidates
//! every pointer, so a `Frame` is made after it. All reads are of 16 bits: each header starts at an even offset,
//! while wider fields need not be aligned.
//!
//! The length is asked of the kernel: subtracting packet pointers needs CAP_PERFMON. It also keeps the compiler from
//! proving that a read is inside the packet where the verifier cannot follow, and from leaving out its check.
use aya_ebpf::{helpers::generated::bpf_xdp_get_buff_len, programs::XdpContext};

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
        // SAFETY: `ctx.ctx` is the context the kernel handed to this program.
        let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as usize;
        Self { start: ctx.data(), end: ctx.data_end(), len }
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
        const { assert!(I + 1 == J) };
        u32::from(self.raw::<I>()) | u32::from(self.raw::<J>()) << 16
    }
}
