//! Why the registry says no, and the code under which the control protocol reports it.
//!
//! A refusal leaves the registry as it was: nothing was begun, so nothing needs undoing.
use std::fmt;

use crate::slots::TupleId;

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
    /// The tuple, or one address of its `any`, has an owner.
    #[error("belongs to tuple {0}")]
    Busy(TupleId),
    /// No such tuple is registered.
    #[error("no such tuple")]
    NoSuch,
    /// The address is on no interface that is served.
    #[error("the address is on no served interface")]
    NotLocal,
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
            Self::Address(_) | Self::PortZero | Self::Protocol => "EINVAL",
            Self::Busy(_) => "EBUSY",
            Self::NoSuch => "ENOENT",
            Self::NotLocal => "EADDRNOTAVAIL",
            Self::NoSpace { .. } => "ENOSPC",
        }
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
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slots => "slots",
            Self::Tuples => "tuples",
            Self::Addresses => "local addresses",
        })
    }
}
