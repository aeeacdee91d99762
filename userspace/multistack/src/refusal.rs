//! Why the registry says no, and the code under which the control protocol reports it.
//!
//! A refusal leaves the registry as it was: nothing was begun, so nothing needs undoing.
use std::fmt;

use crate::registry::Owner;

/// The registry's answer to a request it does not grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The address may not be registered by anybody.
    #[error("{0} addresses cannot be registered")]
    Address(Unregistrable),
    /// Port 0 names no service.
    #[error("port 0 cannot be registered")]
    PortZero,
    /// The protocol is unknown or has no ports.
    #[error("not a protocol with ports")]
    Protocol,
    /// The name of a session is empty, too long or not printable.
    #[error("not a name")]
    Name,
    /// The caller may not.
    #[error("not permitted: {0}")]
    Denied(Denied),
    /// The tuple, or one address of its `any`, has an owner.
    #[error("{0}")]
    Busy(Owner),
    /// The session's own connection is alive; nobody can take it over.
    #[error("the session is in use")]
    InUse,
    /// No such tuple is registered.
    #[error("no such tuple")]
    NoSuch,
    /// No session has this lease, or no longer.
    #[error("the lease is unknown or has expired")]
    Stale,
    /// The address is on no interface that is served.
    #[error("the address is on no served interface")]
    NotLocal,
    /// The interface that has the address is being detached.
    #[error("the interface is being detached")]
    Detaching,
    /// A limit is reached.
    #[error("{given} {resource}, the limit is {limit}")]
    NoSpace {
        /// What there is too much of.
        resource: Resource,
        /// How many the request would have made.
        given: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl Refusal {
    /// The `code` of the control protocol's `err` object.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Address(_) | Self::PortZero | Self::Protocol | Self::Name => "EINVAL",
            Self::Denied(_) => "EACCES",
            Self::Busy(_) | Self::InUse => "EBUSY",
            Self::NoSuch => "ENOENT",
            Self::Stale => "ESTALE",
            Self::NotLocal => "EADDRNOTAVAIL",
            Self::Detaching => "ENETDOWN",
            Self::NoSpace { .. } => "ENOSPC",
        }
    }
}

/// What a caller is not permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No rule names the caller.
    #[error("no policy names this user")]
    Stranger,
    /// The protocol is not in its rule.
    #[error("the protocol")]
    Protocol,
    /// The address is not in its rule.
    #[error("the address")]
    Address,
    /// The port is not in its rule, or privileged.
    #[error("the port")]
    Port,
    /// Its rule does not let it write Ethernet headers.
    #[error("frames with Ethernet headers")]
    L2,
    /// The kernel cannot reserve ports of this protocol, and its rule asks for that.
    #[error("a port that the kernel cannot reserve")]
    Unbound,
    /// Only root may.
    #[error("only root may")]
    NotRoot,
    /// The session is another user's.
    #[error("another user's session")]
    NotYours,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// The kinds of address that nobody may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unregistrable {
    /// `0.0.0.0/8` and `::`: not an address, and not how `any` is spelled.
    Unspecified,
    /// `127/8` and `::1`: such packets never meet a network interface.
    Loopback,
    /// `169.254/16` and `fe80::/10`: the same address may be on every interface.
    LinkLocal,
    /// `224/4` and `ff00::/8`: one tuple, many hosts.
    Multicast,
    /// `240/4`, the broadcast address among them.
    Reserved,
    /// `::ffff:0:0/96`: the second spelling of an IPv4 address.
    Mapped,
}

impl fmt::Display for Unregistrable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::Mapped => "IPv4-mapped",
        })
    }
}

/// What a registry may run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Registrations.
    Slots,
    /// Keys of the steering table.
    Tuples,
    /// Local addresses.
    Addresses,
    /// Sessions.
    Sessions,
    /// Bytes of rings of all sessions.
    Memory,
    /// Tuples of one user.
    UserTuples,
    /// Bytes of rings of one user.
    UserMemory,
    /// Tuples of one session: what a `tuple` number can say.
    SessionTuples,
    /// Ports that could be chosen.
    Ports,
    /// Reservations by the administrator.
    Reservations,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slots => "slots",
            Self::Tuples => "tuples",
            Self::Addresses => "local addresses",
            Self::Sessions => "sessions",
            Self::Memory => "bytes of rings",
            Self::UserTuples => "tuples of this user",
            Self::UserMemory => "bytes of rings of this user",
            Self::SessionTuples => "tuples of this session",
            Self::Ports => "ports",
            Self::Reservations => "reservations",
        })
    }
}
