//! The functions that C calls. Their comments are `octroi.h`'s.
//!
//! Each checks its pointers for null, catches panics, and hands over to code that is safe.
#![allow(
    clippy::missing_safety_doc,
    reason = "the comments are for C programs; what all functions ask of their callers is in the module's page"
)]

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_uint},
    mem::MaybeUninit,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use nix::{errno::Errno, libc};

use super::{
    end::End,
    said,
    session::octroi_stack,
    types::{OCTROI_CONTROL, octroi_event, octroi_frame, octroi_options, octroi_slot, octroi_tuple},
};
use crate::stack::Reserve;

/// Connects to the daemon that listens at `path` and opens a session.
///
/// Returns 0 and the session, which octroi_close() ends, or
/// -EFAULT for a null pointer, also in the options; -EINVAL for a number or a name that cannot be;
/// -ECONNREFUSED if no daemon listens there; -EACCES if this user may not; -ENOSPC if a limit of this user's is reached;
/// -EPROTO if the daemon does not speak as this library does; -ETIMEDOUT if it does not answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_open(
    path: *const c_char,
    options: *const octroi_options,
    stack: *mut *mut octroi_stack,
) -> c_int {
    border(|| {
        // SAFETY: the caller's promise: null, or room for a pointer.
        let stack = unsafe { room(stack) }?;
        // SAFETY: the caller's promise: null, or options.
        let options = unsafe { options.as_ref() }.ok_or(Errno::EFAULT)?;
        // SAFETY: the caller's promise: null, or a string.
        let path = unsafe { text(path) }?;
        // SAFETY: the same.
        let name = unsafe { text(options.name) }?.to_str().map_err(|_| Errno::EINVAL)?;
        let options = said::options(name, options.rx_slots, options.tx_slots, options.frames)?;
        let opened = octroi_stack::open(Path::new(OsStr::from_bytes(path.to_bytes())), &options)?;
        stack.write(Box::into_raw(Box::new(opened)));
        Ok(0)
    })
}

/// Ends a session: all its tuples are released, and everything that was lent of it is gone. No other call may be under
/// way or follow. A null pointer is no session, and nothing happens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_close(stack: *mut octroi_stack) {
    border(|| {
        if !stack.is_null() {
            // SAFETY: made in `octroi_open`, and the caller's promise: closed once, and not used any more.
            drop(unsafe { Box::from_raw(stack) });
        }
        Ok(0)
    });
}

/// Channels of the session, numbered from 0. There may be more or fewer after OCTROI_EVENT_RECONNECTED.
///
/// Returns their number, or -EFAULT for a null pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_channels(stack: *mut octroi_stack) -> c_int {
    // SAFETY: the caller's promise.
    border(|| Ok(unsafe { handle(stack) }?.channels().cast_signed()))
}

/// Registers a tuple: from now on its packets come to the channels, and packets from it may be sent.
///
/// `fd` is -1, and the daemon keeps the port from the OS, or it is a socket of this program's that is bound to the tuple
/// and neither connected nor listening: the daemon keeps a duplicate of it, and the caller may close its own.
///
/// Returns 0 and the tuple's number within the session, or
/// -EFAULT for a null pointer; -EINVAL for a number that is not listed, port 0, an address that cannot be registered, a
/// socket that does not fit; -EBADF if `fd` is no descriptor; -EACCES if the daemon's policy says no; -EBUSY if it is
/// somebody else's; -EADDRINUSE if a socket of the OS has it; -EADDRNOTAVAIL if no served interface has the address;
/// -ENETDOWN if it is going; -ENOSPC if a limit is reached; -ENOTCONN, -ESHUTDOWN, -ETIMEDOUT, -EPROTO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_register(
    stack: *mut octroi_stack,
    tuple: *const octroi_tuple,
    fd: c_int,
    id: *mut u16,
) -> c_int {
    border(|| {
        // SAFETY: the caller's promise.
        let stack = unsafe { handle(stack) }?;
        // SAFETY: the caller's promise: null, or a tuple.
        let tuple = unsafe { tuple.as_ref() }.ok_or(Errno::EFAULT)?;
        // SAFETY: the caller's promise: null, or room for a number.
        let id = unsafe { room(id) }?;
        let tuple = said::tuple(tuple)?;
        let reserve = if fd == -1 { Reserve::Daemon } else { Reserve::Socket(duplicate(fd)?) };
        id.write(stack.register(&tuple, reserve)?);
        Ok(0)
    })
}

/// Gives a tuple back: after this nothing of it is delivered.
///
/// Returns 0, or -EFAULT for a null pointer; -ENOENT if the session has no such tuple, or none any more; -ENOTCONN,
/// -ESHUTDOWN, -ETIMEDOUT, -EPROTO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_release(stack: *mut octroi_stack, id: u16) -> c_int {
    // SAFETY: the caller's promise.
    border(|| unsafe { handle(stack) }?.release(id).map(|()| 0))
}

/// The next received packet of channel `c`. It stays readable until octroi_rx_release().
///
/// Returns 0 and the packet, or -EAGAIN if none has come; -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN,
/// -ESHUTDOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_rx_next(
    stack: *mut octroi_stack,
    c: c_uint,
    frame: *mut octroi_frame,
) -> c_int {
    border(|| {
        // SAFETY: the caller's promise.
        let stack = unsafe { handle(stack) }?;
        // SAFETY: the caller's promise: null, or room for a frame.
        let frame = unsafe { room(frame) }?;
        frame.write(stack.end(c, End::rx_next)?);
        Ok(0)
    })
}

/// Gives back every packet that octroi_rx_next() has handed out on channel `c`, so that others can come. To keep one,
/// copy it.
///
/// Returns 0, also if there is none to give back, or -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_rx_release(stack: *mut octroi_stack, c: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    border(|| unsafe { handle(stack) }?.end(c, End::rx_release).map(|()| 0))
}

/// What to poll(2) for reading, to be rung: see OCTROI_ARM of octroi_wait(). With OCTROI_CONTROL instead of a channel:
/// readable when octroi_event() may have something to say. The library closes it, and it is another after
/// OCTROI_EVENT_RECONNECTED.
///
/// Returns the descriptor, or -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_fd(stack: *mut octroi_stack, c: c_uint) -> c_int {
    border(|| {
        // SAFETY: the caller's promise.
        let stack = unsafe { handle(stack) }?;
        if c == OCTROI_CONTROL { stack.control_fd() } else { stack.end(c, |end| end.fd()) }
    })
}

/// Room for the next packet to be sent on channel `c`: to be written, then committed. It stays writable until then; to
/// give it up, leave it, and the next call returns it again.
///
/// Returns 0 and the room, or -EAGAIN if the ring is full: flush, and wait for OCTROI_TX; -EFAULT for a null pointer;
/// -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_tx_next(
    stack: *mut octroi_stack,
    c: c_uint,
    slot: *mut octroi_slot,
) -> c_int {
    border(|| {
        // SAFETY: the caller's promise.
        let stack = unsafe { handle(stack) }?;
        // SAFETY: the caller's promise: null, or room for a slot.
        let slot = unsafe { room(slot) }?;
        slot.write(stack.end(c, End::tx_next)?);
        Ok(0)
    })
}

/// Has the first `len` bytes of what octroi_tx_next() returned sent at the next octroi_flush() or octroi_wait().
/// `form` says how they begin: OCTROI_IP, or OCTROI_ETHERNET in a session that was opened with it. Checksums must be
/// complete: nothing fills them in.
///
/// Returns 0, or -EBADSLT if there is no such room; -EMSGSIZE if it is smaller, and stays; -EINVAL for another form;
/// -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN. What the daemon does not let out it counts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_tx_commit(
    stack: *mut octroi_stack,
    c: c_uint,
    len: usize,
    form: c_uint,
) -> c_int {
    border(|| {
        // SAFETY: the caller's promise.
        let stack = unsafe { handle(stack) }?;
        let form = said::form(form)?;
        stack.end(c, |end| end.tx_commit(len, form)).map(|()| 0)
    })
}

/// Shows the daemon what was committed on channel `c`, and wakes it if it sleeps. Once for many packets.
///
/// Returns 0, or -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_flush(stack: *mut octroi_stack, c: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    border(|| unsafe { handle(stack) }?.end(c, End::flush).map(|()| 0))
}

/// Flushes channel `c`, then sleeps until there is something of `what` (OCTROI_RX, OCTROI_TX or both) or `ms`
/// milliseconds are over; a negative `ms` is for ever. A signal does not end it.
///
/// With OCTROI_ARM in `what` it does not sleep: if it returns 0, octroi_fd() becomes readable once there is something.
/// Call it before each poll(2).
///
/// Returns what there is, 0 if nothing, or -EINVAL for another `what`; -EFAULT for a null pointer; -ECHRNG, -EBUSY,
/// -ESHUTDOWN; -ENOTCONN, after 10 ms at most while the daemon is away: call octroi_event() meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_wait(stack: *mut octroi_stack, c: c_uint, what: c_uint, ms: c_int) -> c_int {
    border(|| {
        // SAFETY: the caller's promise.
        let stack = unsafe { handle(stack) }?;
        let (interest, how) = said::wait(what, ms)?;
        let ready = stack.end(c, |end| end.wait(interest, how))?;
        Ok(said::ready(what, ready).cast_signed())
    })
}

/// The next thing that happened to the session. Never waits for the daemon to speak. While there is no daemon it tries
/// to come back, after 10 ms at first and at last once a second: call it now and then.
///
/// Returns 0 and the event, or -EAGAIN if nothing happened; -ESHUTDOWN if nothing ever will, after OCTROI_EVENT_OVER;
/// -EFAULT for a null pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn octroi_event(stack: *mut octroi_stack, event: *mut octroi_event) -> c_int {
    border(|| {
        // SAFETY: the caller's promise.
        let stack = unsafe { handle(stack) }?;
        // SAFETY: the caller's promise: null, or room for an event.
        let event = unsafe { room(event) }?;
        event.write(stack.event()?);
        Ok(0)
    })
}

/// What C is told: a number, or the negative of an errno. A panic is one: it stays on this side, and whatever it
/// interrupted is not used again.
fn border(call: impl FnOnce() -> Result<c_int, Errno>) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(number)) => number,
        Ok(Err(errno)) => -(errno as c_int),
        Err(_) => -(Errno::ENOTRECOVERABLE as c_int),
    }
}

/// The session of a handle.
///
/// # Safety
/// It is null, or came from `octroi_open` and is not closed before the reference is gone.
unsafe fn handle<'a>(stack: *mut octroi_stack) -> Result<&'a octroi_stack, Errno> {
    // SAFETY: a session that is there, by the caller's word. It is shared: all that changes in it is behind locks.
    unsafe { stack.as_ref() }.ok_or(Errno::EFAULT)
}

/// Where a result goes.
///
/// # Safety
/// It is null, or aligned room for a `T` that nobody else uses meanwhile.
unsafe fn room<'a, T>(at: *mut T) -> Result<&'a mut MaybeUninit<T>, Errno> {
    // SAFETY: room for a `T`, by the caller's word, and nothing is assumed of what is in it.
    unsafe { at.cast::<MaybeUninit<T>>().as_mut() }.ok_or(Errno::EFAULT)
}

/// A string.
///
/// # Safety
/// It is null, or ends with a zero byte and does not change meanwhile.
unsafe fn text<'a>(at: *const c_char) -> Result<&'a CStr, Errno> {
    if at.is_null() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: a string, by the caller's word.
    Ok(unsafe { CStr::from_ptr(at) })
}

/// A descriptor of our own for what the caller's is open on.
fn duplicate(fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_DUPFD_CLOEXEC takes any number, and refuses one that is no descriptor.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    let copy = Errno::result(copy)?;
    // SAFETY: the kernel has just made it, and nobody else has heard of it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_does_not_cross_the_border() {
        assert_eq!(border(|| panic!("on purpose")), -(Errno::ENOTRECOVERABLE as c_int));
        assert_eq!((border(|| Ok(7)), border(|| Err(Errno::EAGAIN))), (7, -(Errno::EAGAIN as c_int)));
    }
}
