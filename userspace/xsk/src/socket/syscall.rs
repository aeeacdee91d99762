//! The calls themselves: one function each, every one behind [`fault::enter`].
//!
//! No call here blocks, and none is repeated here. libxdp makes its own inside xsk-rs; those two places
//! ([`Call::CreateUmem`], [`Call::Bind`]) ask [`fault::enter`] too.
#![allow(unsafe_code, reason = "the C library's calls; each takes memory that lives in the calling function")]

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr,
};

use nix::{
    errno::{Errno, ErrnoSentinel},
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        eventfd::{EfdFlags, EventFd},
        socket::{AddressFamily, SockFlag, SockType, socket},
    },
};

use super::{
    call::{Call, CallError},
    fault,
};

/// Sets the budget of one sending call in copy mode; Linux 6.17 and later.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// A socket to ask about devices of this thread's network namespace.
pub(crate) fn device_socket() -> Result<OwnedFd, CallError> {
    fault::enter(Call::DeviceSocket)
        .and_then(|()| socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None))
        .map_err(|errno| CallError::new(Call::DeviceSocket, errno))
}

/// Asks about a device. `request` carries its name in and the answer out.
pub(crate) fn device_ioctl(
    fd: BorrowedFd<'_>,
    call: Call,
    number: libc::Ioctl,
    request: &mut libc::ifreq,
) -> Result<(), CallError> {
    make(call, || {
        // SAFETY: `fd` is open, and every request number of `Call`'s device variants reads and writes one `ifreq`,
        // which `request` is for the time of the call. A pointer in it was put there by `ethtool`.
        unsafe { libc::ioctl(fd.as_raw_fd(), number, ptr::from_mut(request)) }
    })
    .map_err(|errno| CallError::new(call, errno))
}

/// Asks a device's driver: `command` is one of ethtool's structures, its command number first.
pub(crate) fn ethtool<T: EthtoolCommand>(
    fd: BorrowedFd<'_>,
    call: Call,
    mut request: libc::ifreq,
    command: &mut T,
) -> Result<(), CallError> {
    request.ifr_ifru.ifru_data = ptr::from_mut(command).cast();
    device_ioctl(fd, call, libc::SIOCETHTOOL as libc::Ioctl, &mut request)
}

/// A structure that `SIOCETHTOOL` may read and write whole.
///
/// # Safety
/// `repr(C)`, all of it `u32`s, the first one the command number, and at least as long as that command's structure.
pub(crate) unsafe trait EthtoolCommand {}

/// Has the descriptor closed in every program that this process starts.
pub(crate) fn close_on_exec(fd: BorrowedFd<'_>) -> Result<(), CallError> {
    fault::enter(Call::CloseOnExec)
        .and_then(|()| fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop))
        .map_err(|errno| CallError::new(Call::CloseOnExec, errno))
}

/// The flags of `XDP_OPTIONS`.
pub(crate) fn xdp_options(fd: BorrowedFd<'_>) -> Result<u32, CallError> {
    let mut options = libc::xdp_options { flags: 0 };
    get_option(fd, Call::Options, libc::SOL_XDP, libc::XDP_OPTIONS, &mut options)?;
    Ok(options.flags)
}

/// The kernel's counters of a socket.
pub(crate) fn xdp_statistics(fd: BorrowedFd<'_>) -> Result<libc::xdp_statistics, CallError> {
    // SAFETY: a structure of six numbers; zero is one.
    let mut statistics = unsafe { std::mem::zeroed() };
    get_option(fd, Call::Statistics, libc::SOL_XDP, libc::XDP_STATISTICS, &mut statistics)?;
    Ok(statistics)
}

/// Sets the option that `call` stands for.
pub(crate) fn set_option(fd: BorrowedFd<'_>, call: Call, value: u32) -> Result<(), CallError> {
    let (level, name) = match call {
        Call::TxBudget => (libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET),
        Call::PreferBusyPoll => (libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL),
        Call::BusyPoll => (libc::SOL_SOCKET, libc::SO_BUSY_POLL),
        Call::BusyPollBudget => (libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET),
        _ => return Err(CallError::new(call, Errno::ENOPROTOOPT)),
    };
    let size = size_of::<u32>() as libc::socklen_t;
    make(call, || {
        // SAFETY: `fd` is open; the kernel reads `size` bytes of `value`, which lives until the call returns.
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), size) }
    })
    .map_err(|errno| CallError::new(call, errno))
}

/// Wakes the kernel's sending side; what the kernel says is for the caller to judge.
#[inline]
pub(crate) fn send(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    make(Call::Send, || {
        // SAFETY: `fd` is open; with a length of 0 and no address the kernel reads no memory.
        unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) }
    })
}

/// Wakes the kernel's receiving side; what the kernel says is for the caller to judge.
#[inline]
pub(crate) fn receive(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let (none, flags) = (ptr::null_mut(), libc::MSG_DONTWAIT);
    make(Call::Receive, || {
        // SAFETY: `fd` is open; with a length of 0 and no address the kernel writes no memory.
        unsafe { libc::recvfrom(fd.as_raw_fd(), none, 0, flags, ptr::null_mut(), ptr::null_mut()) }
    })
}

/// Makes `fd` refer to an eventfd that nobody else has: whatever it referred to loses this reference, and the number stays
/// taken. An eventfd, because a worker lets go, and a worker may open no file.
///
/// libxdp closes the number itself, later; closing it here would let it close somebody else's.
pub(crate) fn let_go(fd: RawFd) -> Result<(), CallError> {
    let failed = |errno| CallError::new(Call::LetGo, errno);
    let nothing = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(failed)?;
    make(Call::LetGo, || {
        // SAFETY: two numbers; `fd` is kept open, and its number therefore nobody else's, by the UMEM handle of
        // the one caller.
        unsafe { libc::dup3(nothing.as_fd().as_raw_fd(), fd, libc::O_CLOEXEC) }
    })
    .map_err(failed)
}

fn get_option<T>(
    fd: BorrowedFd<'_>,
    call: Call,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut T,
) -> Result<(), CallError> {
    let mut size = size_of::<T>() as libc::socklen_t;
    let (value, room) = (ptr::from_mut(value).cast(), ptr::from_mut(&mut size));
    make(call, || {
        // SAFETY: `fd` is open; the kernel writes at most `size` bytes to `value`. The two types given here are
        // structures of plain numbers, so whatever it writes is one of them.
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value, room) }
    })
    .map_err(|errno| CallError::new(call, errno))
}

/// Address space that nothing uses yet; given back when dropped.
pub(crate) struct Reservation {
    start: *mut libc::c_void,
    bytes: usize,
}

impl Reservation {
    /// Reserves `bytes` of address space, and a mapping of its own for it.
    pub(crate) fn new(bytes: usize) -> Result<Self, CallError> {
        let refused = |errno| CallError::new(Call::Reserve, errno);
        fault::enter(Call::Reserve).map_err(refused)?;
        // Shared: the kernel must not merge it with a neighbour, as it would not merge what comes in its place.
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: asks for fresh memory, at no fixed place.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
        if start == libc::MAP_FAILED { Err(refused(Errno::last())) } else { Ok(Self { start, bytes }) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and its address was given to nobody.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}

/// Makes one call of the C library, which says by -1 that it failed.
#[inline]
fn make<T: ErrnoSentinel + PartialEq>(call: Call, function: impl FnOnce() -> T) -> Result<(), Errno> {
    fault::enter(call)?;
    Errno::result(function()).map(drop)
}
