//! The calls that the sockets make to the kernel, by name, and the limits that refuse them.
//!
//! [`Call`] is closed: what is not in it, the sockets do not do. Each error names the call and, where the kernel's
//! number has only one meaning, the limit behind it, its value and what to change.
use std::{fmt, io};

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit},
};
use thiserror::Error;

/// A call to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `socket(AF_INET)`, for questions about a device.
    DeviceSocket,
    /// `ioctl(SIOCGIFINDEX)`
    DeviceIndex,
    /// `ioctl(SIOCGIFMTU)`
    DeviceMtu,
    /// `ioctl(SIOCETHTOOL)`, `ETHTOOL_GCHANNELS`
    DeviceChannels,
    /// `mmap`, to see whether what the next two calls map has room.
    Reserve,
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
    /// `eventfd` and `dup3`, to let go of a socket.
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
            Self::DeviceChannels => "ioctl(ETHTOOL_GCHANNELS)",
            Self::Reserve => "mmap",
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
            Self::LetGo => "dup3(eventfd)",
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
        (Call::PreferBusyPoll | Call::BusyPoll | Call::BusyPollBudget, Errno::EPERM) => {
            Some(Limit::Capability { name: "CAP_NET_ADMIN" })
        }
        _ => None,
    }
}

fn soft(resource: Resource) -> u64 {
    getrlimit(resource).map_or(0, |(soft, _)| soft)
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
