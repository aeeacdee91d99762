//! What an application may try on memory that it was given to read: map it writable, or make a mapping so.
//!
//! Each attempt leaves nothing mapped.
#![allow(unsafe_code, reason = "mappings are made and changed by calls that are unsafe by nature")]
use std::{num::NonZeroUsize, os::fd::AsFd};

use nix::{
    errno::Errno,
    sys::mman::{MapFlags, ProtFlags, mmap, mprotect, munmap},
};

const READ_WRITE: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

/// Maps the first page of a file, readable and writable, for all who have it.
///
/// # Errors
/// The kernel's, which is what one hopes for.
pub fn map_writable(fd: impl AsFd) -> Result<(), Errno> {
    mapped(fd, READ_WRITE, |_, _| Ok(()))
}

/// Maps the first page of a file to be read, and then asks to write there.
///
/// # Errors
/// The kernel's, of the second step; [`Errno::EIO`] if the first failed.
pub fn make_writable(fd: impl AsFd) -> Result<(), Errno> {
    mapped(&fd, ProtFlags::PROT_READ, |_, _| Ok(())).map_err(|_| Errno::EIO)?;
    mapped(fd, ProtFlags::PROT_READ, |base, size| {
        // SAFETY: a mapping of this function's caller alone, of `size` bytes; nothing refers to it.
        unsafe { mprotect(base, size, READ_WRITE) }
    })
}

fn mapped(
    fd: impl AsFd,
    protection: ProtFlags,
    deed: impl FnOnce(std::ptr::NonNull<std::ffi::c_void>, usize) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let size = NonZeroUsize::MIN.saturating_add(4095);
    // SAFETY: no address is asked for, so nothing that is mapped is replaced.
    let base = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, fd, 0) }?;
    let done = deed(base, size.get());
    // SAFETY: mapped above with this size, and nothing refers to it.
    unsafe { munmap(base, size.get()) }?;
    done
}
