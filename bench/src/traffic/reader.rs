//! A received frame: ours and whole, ours but damaged, or somebody else's.
//!
//! It knows one thing, at which offset the generator's payload begins, and refuses to look at addresses: a reply
//! has them swapped.
use abi::pktgen::{STAMP_LEN, Stamp, check};
use thiserror::Error;

use super::plan::filler_sum;

/// Reads stamps at one offset.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    payload_off: usize,
    flows: u32,
}

/// Why a frame has no stamp.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unread {
    /// Not generated: it has no magic, or is too short for one.
    #[error("not a generated frame")]
    Foreign,
    /// Generated, and changed since: the check does not hold, or the flow does not exist.
    #[error("a generated frame that was changed on its way")]
    Corrupt,
}

impl Reader {
    /// A reader of frames of `shape` (`abi::pktgen::shape`) that belong to the first `flows` flows.
    #[must_use]
    pub const fn new(shape: u8, flows: u32) -> Self {
        Self { payload_off: abi::pktgen::shape::payload_off(shape), flows }
    }

    /// The stamp of `frame`.
    ///
    /// # Errors
    /// [`Unread`] if there is none, or it is not to be believed.
    #[inline]
    pub fn read(&self, frame: &[u8]) -> Result<Stamp, Unread> {
        let payload = frame.get(self.payload_off..).ok_or(Unread::Foreign)?;
        let (head, filler) = payload.split_first_chunk::<STAMP_LEN>().ok_or(Unread::Foreign)?;
        let (stamp, said) = Stamp::parse(head).ok_or(Unread::Foreign)?;
        let len = u16::try_from(frame.len()).map_err(|_| Unread::Corrupt)?;
        if said != check(&stamp, len, filler_sum(filler)) || self.flows <= stamp.flow {
            return Err(Unread::Corrupt);
        }
        Ok(stamp)
    }
}
