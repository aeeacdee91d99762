//! Which chunks are on their way out, and whether they come back.
//!
//! What the completion ring says is the kernel's word about addresses that it was given; still each is judged before
//! it is believed, as a chunk that came back twice would be two frames in one place. Time is an argument.
use std::time::{Duration, Instant};

use nix::errno::Errno;

use ixp::port::PortError;

/// How long frames that the device took may stay out without a single one coming back.
///
/// After a reset some never do. The port then reports itself broken, so that whoever owns it opens it anew.
pub const COMPLETION_BOUND: Duration = Duration::from_secs(5);

/// The chunks that are out.
///
/// # Invariants
/// `count` is the number of `true`s in `is_out`.
pub(crate) struct Outgoing {
    is_out: Box<[bool]>,
    chunk_shift: u32,
    count: usize,
    bad: u64,
}

impl Outgoing {
    /// Nothing is out, of `chunks` chunks of `chunk` bytes.
    pub(crate) fn new(chunks: usize, chunk: u32) -> Self {
        let is_out = (0..chunks).map(|_| false).collect();
        Self { is_out, chunk_shift: chunk.trailing_zeros(), count: 0, bad: 0 }
    }

    /// A chunk leaves. It is not out yet: whoever sends it had it.
    #[inline]
    pub(crate) fn leave(&mut self, chunk: u32) {
        if let Some(is_out) = self.is_out.get_mut(chunk as usize) {
            self.count += usize::from(!*is_out);
            *is_out = true;
        }
    }

    /// The chunk that `addr` lies in, back from the device; `None` if there is none such, or it was not out.
    #[inline]
    pub(crate) fn back(&mut self, addr: usize) -> Option<u32> {
        let chunk = addr >> self.chunk_shift;
        let Some(is_out) = self.is_out.get_mut(chunk).filter(|is_out| **is_out) else {
            self.bad += 1;
            return None;
        };
        *is_out = false;
        self.count -= 1;
        Some(chunk as u32)
    }

    /// How many are out.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How often something came back that was not out.
    pub(crate) fn bad(&self) -> u64 {
        self.bad
    }
}

/// Since when nothing has come back that should have.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    since: Option<Instant>,
}

impl Silence {
    /// Something came back, or nothing has to.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.since = None;
    }

    /// Nothing came back although something should.
    ///
    /// # Errors
    /// It has been so for longer than [`COMPLETION_BOUND`].
    pub(crate) fn goes_on(&mut self, now: Instant) -> Result<(), PortError> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) <= COMPLETION_BOUND {
            return Ok(());
        }
        Err(PortError::Kernel { call: "the completion ring", source: Errno::ETIMEDOUT.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_does_not_come_back() {
        let mut outgoing = Outgoing::new(4, 2048);
        outgoing.leave(1);
        outgoing.leave(3);
        assert_eq!(outgoing.count(), 2);
        // Out of the region, never sent, and nonsense.
        for addr in [4 * 2048, 272, usize::MAX] {
            assert_eq!(outgoing.back(addr), None);
        }
        // Anywhere in its chunk, but once.
        assert_eq!(outgoing.back(3 * 2048 + 272), Some(3));
        assert_eq!(outgoing.back(3 * 2048 + 272), None);
        assert_eq!(outgoing.back(2048), Some(1));
        assert_eq!((outgoing.count(), outgoing.bad()), (0, 4));
    }

    #[test]
    fn silence_has_a_bound_that_any_sign_of_life_resets() {
        let start = Instant::now();
        let mut silence = Silence::default();
        assert!(silence.goes_on(start).is_ok());
        assert!(silence.goes_on(start + COMPLETION_BOUND).is_ok());
        let late = start + COMPLETION_BOUND + Duration::from_nanos(1);
        let error = silence.goes_on(late).expect_err("too long");
        assert!(error.to_string().starts_with("the completion ring: "), "{error}");
        silence.end();
        assert!(silence.goes_on(late).is_ok());
    }
}
