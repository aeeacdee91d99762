//! Slot 0 of an interface's chain: the header program that Ruler generates, or nothing.
//!
//! Such a program is loaded as raw instructions, outside aya, and aya's program arrays take only aya's programs: the
//! slot is therefore set by descriptor. It refuses nothing itself; the kernel refuses a program whose type, attach
//! type or frags flag differs from the chain's.
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use abi::pins::SLOT_HEADER;

use super::{BpfError, map::Map};

/// A handle on slot 0.
#[derive(Debug)]
pub struct HeaderSlot {
    jump: Map,
}

impl HeaderSlot {
    pub(super) fn new(jump: &Map) -> Result<Self, BpfError> {
        Ok(Self { jump: jump.try_clone()? })
    }

    /// Runs `program` before `steer`, from the next frame on, in place of the one that was there.
    ///
    /// The slot keeps the program; its descriptor may be closed.
    ///
    /// # Errors
    /// The program does not fit the chain.
    pub fn set(&self, program: impl AsFd) -> Result<(), BpfError> {
        let (slot, program) = (SLOT_HEADER, program.as_fd().as_raw_fd());
        let (map, key, value) = (self.jump.fd().as_raw_fd(), &raw const slot, &raw const program);
        // SAFETY: `key` and `value` point to the four bytes each that `MapShape::JUMP` declares, and outlive the call.
        let result = unsafe { libbpf_sys::bpf_map_update_elem(map, key.cast(), value.cast(), 0) };
        checked(result, "setting the header program")
    }

    /// Leaves the slot empty. An empty one is no error.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn clear(&self) -> Result<(), BpfError> {
        let slot = SLOT_HEADER;
        let (map, key) = (self.jump.fd().as_raw_fd(), &raw const slot);
        // SAFETY: `key` points to the four bytes that `MapShape::JUMP` declares, and outlives the call.
        let result = unsafe { libbpf_sys::bpf_map_delete_elem(map, key.cast()) };
        if result == -libc::ENOENT { Ok(()) } else { checked(result, "clearing the header program") }
    }
}

/// The program array: what a header program must name to go on to `steer`.
impl AsFd for HeaderSlot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.jump.fd()
    }
}

/// libbpf returns 0 or a negated errno.
fn checked(result: i32, what: &'static str) -> Result<(), BpfError> {
    if result < 0 {
        Err(BpfError::System { what, source: io::Error::from_raw_os_error(-result) })
    } else {
        Ok(())
    }
}
