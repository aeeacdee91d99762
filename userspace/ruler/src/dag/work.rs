//! The work of a walk, counted: how many steps it goes, and how often it reads.
//!
//! Judging counts nothing; it is the same code with nobody who counts.

/// Who counts.
pub(super) trait Tally {
    /// One more step of a walker.
    fn step(&mut self);
    /// So many more reads of at most eight bytes of the packet.
    fn read(&mut self, times: u32);
}

/// How much work a walk was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Steps of the walker.
    pub steps: u32,
    /// Reads of at most eight bytes of the packet, by steps or to find bases.
    pub reads: u32,
}

impl Tally for Work {
    fn step(&mut self) {
        self.steps += 1;
    }

    fn read(&mut self, times: u32) {
        self.reads += times;
    }
}

/// Nobody.
impl Tally for () {
    #[inline(always)]
    fn step(&mut self) {}

    #[inline(always)]
    fn read(&mut self, _: u32) {}
}
