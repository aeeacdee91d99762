//! Every call that the sockets make to the kernel, by name.
//!
//! [`Call`] is closed: what is not in it, this module does not do. Each error names the call and, where the kernel's
//! number means a limit, the limit, its value and what to change. No call here blocks, none is repeated here.
#![allow(unsafe_code, reason = "the C library's calls; each takes memory that lives in the calling function")]

use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::{
        resource::{Resource, getrlimit},
        socket::{AddressFamily, SockFlag, SockType, socket},
        stat::Mode,
    },
};
use thiserror::Error;

/// Sets the budget of one sending call in copy mode; Linux 6.17 and later.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// A call to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket(AF_INET)`, for questions about a device.
    DeviceSocket,
    /// `ioctl(SIOCGIFINDEX)`
    DeviceIndex,
    /// `ioctl(SIOCGIFMTU)`
    DeviceMtu,
    /// `ioctl(SIOCGIFHWADDR)`
    DeviceAddress,
    /// `ioctl(SIOCGIFFLAGS)`
    DeviceFlags,
    /// `ioctl(SIOCETHTOOL)`, `ETHTOOL_GCHANNELS`
    DeviceChannels,
    /// `ioctl(SIOCETHTOOL)`, `ETHTOOL_GFLAGS`
    DeviceOffloads,
    /// `ioctl(SIOCETHTOOL)`, `ETHTOOL_SFLAGS`
    SetDeviceOffloads,
    /// `socket(AF_XDP)`, `mmap` and `setsockopt(XDP_UMEM_REG)` and its two rings, by libxdp.
    CreateUmem,
    /// `setsockopt` and `mmap` of the two rings, then `bind`, by libxdp.
    Bind,
    /// `fcntl(F_SETFD, FD_CLOEXEC)`
    CloseOnExec,
    /// `getsockopt(XDP_OPTIONS)`
    Options,
    /// `getsockopt(XDP_STATISTICS)`
    Statistics,
    /// `setsockopt(XDP_MAX_TX_SKB_BUDGET)`
    TxBudget,
    /// `setsockopt(SO_PREFER_BUSY_POLL)`
    PreferBusyPoll,
    /// `setsockopt(SO_BUSY_POLL)`
    BusyPoll,
    /// `setsockopt(SO_BUSY_POLL_BUDGET)`
    BusyPollBudget,
    /// `sendto`, to wake the kernel's sending side.
    Send,
    /// `recvfrom`, to wake the kernel's receiving side.
    Receive,
    /// `open("/dev/null")` and `dup3`, to let go of a socket.
    LetGo,
}

impl Call {
    /// The call as it is called in C.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeviceSocket => "socket(AF_INET)",
            Self::DeviceIndex => "ioctl(SIOCGIFINDEX)",
            Self::DeviceMtu => "ioctl(SIOCGIFMTU)",
            Self::DeviceAddress => "ioctl(SIOCGIFHWADDR)",
            Self::DeviceFlags => "ioctl(SIOCGIFFLAGS)",
            Self::DeviceChannels => "ioctl(ETHTOOL_GCHANNELS)",
            Self::DeviceOffloads => "ioctl(ETHTOOL_GFLAGS)",
            Self::SetDeviceOffloads => "ioctl(ETHTOOL_SFLAGS)",
            Self::CreateUmem => "socket(AF_XDP) and setsockopt(XDP_UMEM_REG)",
            Self::Bind => "mmap of the rings and bind(AF_XDP)",
            Self::CloseOnExec => "fcntl(FD_CLOEXEC)",
            Self::Options => "getsockopt(XDP_OPTIONS)",
            Self::Statistics => "getsockopt(XDP_STATISTICS)",
            Self::TxBudget => "setsockopt(XDP_MAX_TX_SKB_BUDGET)",
            Self::PreferBusyPoll => "setsockopt(SO_PREFER_BUSY_POLL)",
            Self::BusyPoll => "setsockopt(SO_BUSY_POLL)",
            Self::BusyPollBudget => "setsockopt(SO_BUSY_POLL_BUDGET)",
            Self::Send => "sendto(AF_XDP)",
            Self::Receive => "recvfrom(AF_XDP)",
            Self::LetGo => "dup3(/dev/null)",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A limit of this machine that a call ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The memory that a process may lock: a UMEM is locked.
    Memlock {
        /// Bytes asked for.
        need: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The descriptors that a process may have.
    OpenFiles {
        /// Descriptors allowed.
        limit: u64,
    },
    /// The descriptors that the whole machine may have.
    AllOpenFiles,
    /// Memory or mappings: of the machine, of this control group, or of this process.
    Memory,
    /// A capability that the process lacks.
    Capability {
        /// Its name.
        name: &'static str,
    },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memlock { need, limit } => write!(
                f,
                "RLIMIT_MEMLOCK is {limit} bytes, the UMEM needs {need}: raise it (LimitMEMLOCK=, ulimit -l) or \
                 grant CAP_IPC_LOCK"
            ),
            Self::OpenFiles { limit } => {
                write!(f, "RLIMIT_NOFILE is {limit}: raise it (LimitNOFILE=, ulimit -n)")
            }
            Self::AllOpenFiles => f.write_str("the machine has no descriptor left: raise fs.file-max"),
            Self::Memory => f.write_str(
                "no memory or mapping left: see the control group's memory.max, RLIMIT_AS and vm.max_map_count",
            ),
            Self::Capability { name } => write!(f, "{name} is missing"),
        }
    }
}

/// A call that the kernel refused.
#[derive(Debug, Error)]
#[error("{call}: {source}{}", Because(.limit))]
pub struct CallError {
    /// The call.
    pub call: Call,
    /// What the kernel said.
    pub source: io::Error,
    /// The limit behind it, where the number has only one meaning.
    pub limit: Option<Limit>,
}

struct Because<'a>(&'a Option<Limit>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |limit| write!(f, " ({limit})"))
    }
}

impl CallError {
    /// An error of a call that locks no memory.
    pub(crate) fn new(call: Call, source: impl Into<io::Error>) -> Self {
        Self::locking(call, source, 0)
    }

    /// An error of a call that locks `bytes`.
    pub(crate) fn locking(call: Call, source: impl Into<io::Error>, bytes: u64) -> Self {
        let source = source.into();
        let limit = source.raw_os_error().and_then(|number| limit(call, Errno::from_raw(number), bytes));
        Self { call, source, limit }
    }

    /// What the kernel said, as its number.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        self.source.raw_os_error().map(Errno::from_raw)
    }
}

/// Which limit `errno` means for `call`, if that is certain.
fn limit(call: Call, errno: Errno, bytes: u64) -> Option<Limit> {
    match (call, errno) {
        // `xdp_umem_account_pages` says ENOBUFS, and nothing else on this way does.
        (Call::CreateUmem, Errno::ENOBUFS) => {
            Some(Limit::Memlock { need: bytes, limit: soft(Resource::RLIMIT_MEMLOCK) })
        }
        (_, Errno::EMFILE) => Some(Limit::OpenFiles { limit: soft(Resource::RLIMIT_NOFILE) }),
        (_, Errno::ENFILE) => Some(Limit::AllOpenFiles),
        (_, Errno::ENOMEM) => Some(Limit::Memory),
        (Call::CreateUmem | Call::Bind, Errno::EPERM | Errno::EACCES) => {
            Some(Limit::Capability { name: "CAP_NET_RAW" })
        }
        (
            Call::PreferBusyPoll | Call::BusyPoll | Call::BusyPollBudget | Call::SetDeviceOffloads,
            Errno::EPERM,
        ) => Some(Limit::Capability { name: "CAP_NET_ADMIN" }),
        _ => None,
    }
}

fn soft(resource: Resource) -> u64 {
    getrlimit(resource).map_or(0, |(soft, _)| soft)
}

/// A socket to ask about devices of this thread's network namespace.
pub(crate) fn device_socket() -> Result<OwnedFd, CallError> {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| CallError::new(Call::DeviceSocket, errno))
}

/// Asks about a device. `request` carries its name in and the answer out.
pub(crate) fn device_ioctl(
    fd: BorrowedFd<'_>,
    call: Call,
    number: libc::Ioctl,
    request: &mut libc::ifreq,
) -> Result<(), CallError> {
    // SAFETY: `fd` is open, and every request number of `Call`'s device variants reads and writes one `ifreq`,
    // which `request` is for the time of the call. A pointer in it was put there by `ethtool`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), number, ptr::from_mut(request)) };
    Errno::result(result).map(drop).map_err(|errno| CallError::new(call, errno))
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
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map(drop)
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
    // SAFETY: `fd` is open; the kernel reads `size` bytes of `value`, which lives until the call returns.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), size) };
    Errno::result(result).map(drop).map_err(|errno| CallError::new(call, errno))
}

/// Wakes the kernel's sending side; what the kernel says is for the caller to judge.
#[inline]
pub(crate) fn send(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: `fd` is open; with a length of 0 and no address the kernel reads no memory.
    let result = unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
    Errno::result(result).map(drop)
}

/// Wakes the kernel's receiving side; what the kernel says is for the caller to judge.
#[inline]
pub(crate) fn receive(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let (none, flags) = (ptr::null_mut(), libc::MSG_DONTWAIT);
    // SAFETY: `fd` is open; with a length of 0 and no address the kernel writes no memory.
    let result = unsafe { libc::recvfrom(fd.as_raw_fd(), none, 0, flags, ptr::null_mut(), ptr::null_mut()) };
    Errno::result(result).map(drop)
}

/// Makes `fd` refer to `/dev/null`: whatever it referred to loses this reference, and the number stays taken.
///
/// libxdp closes the number itself, later; closing it here would let it close somebody else's.
pub(crate) fn let_go(fd: RawFd) -> Result<(), CallError> {
    let failed = |errno| CallError::new(Call::LetGo, errno);
    let null =
        nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
    // SAFETY: two numbers; `fd` is kept open, and its number therefore nobody else's, by the UMEM handle of the
    // one caller.
    let result = unsafe { libc::dup3(null.as_raw_fd(), fd, libc::O_CLOEXEC) };
    Errno::result(result).map(drop).map_err(failed)
}

fn get_option<T>(
    fd: BorrowedFd<'_>,
    call: Call,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut T,
) -> Result<(), CallError> {
    let mut size = size_of::<T>() as libc::socklen_t;
    // SAFETY: `fd` is open; the kernel writes at most `size` bytes to `value`. The two types given here are
    // structures of plain numbers, so whatever it writes is one of them.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, ptr::from_mut(value).cast(), ptr::from_mut(&mut size))
    };
    Errno::result(result).map(drop).map_err(|errno| CallError::new(call, errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f10_a_limit_is_named_with_its_value() {
        let error = CallError::locking(Call::CreateUmem, Errno::ENOBUFS, 4_194_304);
        let Some(Limit::Memlock { need: 4_194_304, .. }) = error.limit else { panic!("{error}") };
        let text = error.to_string();
        assert!(text.starts_with("socket(AF_XDP) and setsockopt(XDP_UMEM_REG): "), "{text}");
        assert!(text.contains("RLIMIT_MEMLOCK is ") && text.contains("CAP_IPC_LOCK"), "{text}");

        let text = CallError::new(Call::DeviceSocket, Errno::EMFILE).to_string();
        assert!(text.contains("RLIMIT_NOFILE is "), "{text}");
        let text = CallError::new(Call::Bind, Errno::EPERM).to_string();
        assert!(text.contains("CAP_NET_RAW is missing"), "{text}");
    }

    #[test]
    fn f10_a_number_with_several_meanings_names_none() {
        assert_eq!(CallError::new(Call::Send, Errno::ENOBUFS).limit, None);
        assert_eq!(CallError::new(Call::Options, Errno::EPERM).limit, None);
    }
}
