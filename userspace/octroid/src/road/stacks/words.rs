//! The control protocol's words for what the registry has words of its own for, and back.
//!
//! Two sets, because neither side may know the other: applications link the protocol without the registry.
use client::control::{
    answer::MAX_LISTED_ADDRS,
    event::{self, Event},
    refusal::{Code, Refusal},
    request::{LocalAddr, OnCrash, Proto},
    stack::{Lease, TupleState},
};
use multistack::{
    refusal::Refusal as Registry,
    registry::{self, Failed, News, Reason, RowState},
    tuple::{self, Address, Tuple},
};

use super::super::steps::StepError;
use super::sockets::is_in_time_wait;

/// The registry's word for a protocol.
#[must_use]
pub const fn proto(proto: Proto) -> tuple::Proto {
    match proto {
        Proto::Tcp => tuple::Proto::Tcp,
        Proto::Udp => tuple::Proto::Udp,
        Proto::Sctp => tuple::Proto::Sctp,
        Proto::Dccp => tuple::Proto::Dccp,
        Proto::UdpLite => tuple::Proto::UdpLite,
    }
}

/// The control protocol's word for a protocol.
#[must_use]
pub const fn said_proto(proto: tuple::Proto) -> Proto {
    match proto {
        tuple::Proto::Tcp => Proto::Tcp,
        tuple::Proto::Udp => Proto::Udp,
        tuple::Proto::Sctp => Proto::Sctp,
        tuple::Proto::Dccp => Proto::Dccp,
        tuple::Proto::UdpLite => Proto::UdpLite,
    }
}

/// The registry's word for an address.
#[must_use]
pub const fn address(addr: LocalAddr) -> Address {
    match addr {
        LocalAddr::Any => Address::Any,
        LocalAddr::Ip(addr) => Address::Is(addr),
    }
}

/// The control protocol's word for an address.
#[must_use]
pub const fn said_address(addr: Address) -> LocalAddr {
    match addr {
        Address::Any => LocalAddr::Any,
        Address::Is(addr) => LocalAddr::Ip(addr),
    }
}

/// The registry's tuple.
///
/// # Errors
/// Nobody may register it.
pub fn tuple(said: Proto, addr: LocalAddr, port: u16) -> Result<Tuple, Refusal> {
    Tuple::new(proto(said), address(addr), port).map_err(|r| refusal(&r))
}

/// The registry's word for what happens without a daemon.
#[must_use]
pub const fn on_crash(said: OnCrash) -> registry::OnCrash {
    match said {
        OnCrash::Drop => registry::OnCrash::Drop,
        OnCrash::Pass => registry::OnCrash::Pass,
    }
}

/// The control protocol's word for it.
#[must_use]
pub const fn said_on_crash(on_crash: registry::OnCrash) -> OnCrash {
    match on_crash {
        registry::OnCrash::Drop => OnCrash::Drop,
        registry::OnCrash::Pass => OnCrash::Pass,
    }
}

/// The registry's lease.
#[must_use]
pub const fn lease(said: Lease) -> registry::Lease {
    registry::Lease::new(said.bits())
}

/// The control protocol's word for how a tuple stands.
#[must_use]
pub const fn said_state(state: RowState) -> TupleState {
    match state {
        RowState::Reserved => TupleState::Reserved,
        RowState::Orphan => TupleState::Orphan,
        RowState::Suspended => TupleState::Suspended,
        RowState::Unreserved => TupleState::Unreserved,
        RowState::Weak => TupleState::Weak,
        RowState::Live => TupleState::Live,
    }
}

/// An event as its application is told.
#[must_use]
pub fn said_event(event: &registry::Event) -> Event {
    match event.news {
        News::TupleRevoked { tuple, reason } => {
            Event::Revoked { tuple: Some(tuple), session: None, reason: said_reason(reason) }
        }
        News::SessionRevoked { reason } => {
            Event::Revoked { tuple: None, session: Some(event.session.slot), reason: said_reason(reason) }
        }
        News::AddressGone { tuple } => Event::AddressGone { tuple },
        News::AddressBack { tuple } => Event::AddressBack { tuple },
    }
}

const fn said_reason(reason: Reason) -> event::Reason {
    match reason {
        Reason::Released => event::Reason::Released,
        Reason::Violation => event::Reason::Violation,
        Reason::PortTaken => event::Reason::PortTaken,
        Reason::InterfaceGone => event::Reason::InterfaceGone,
        Reason::Shutdown => event::Reason::Shutdown,
    }
}

/// The listed part of a tuple's addresses.
#[must_use]
pub fn listed(addrs: Vec<std::net::IpAddr>) -> Vec<std::net::IpAddr> {
    addrs.into_iter().take(MAX_LISTED_ADDRS).collect()
}

/// The registry's refusal.
#[must_use]
pub fn refusal(refusal: &Registry) -> Refusal {
    match refusal {
        Registry::NoSpace { given, limit, .. } => Refusal::limit(refusal, *given as u64, *limit as u64),
        _ => code(refusal.code()).because(refusal),
    }
}

/// A change that could not be carried out, and was undone.
pub fn failed(failed: Failed<StepError>) -> Refusal {
    if !failed.stuck.is_empty() {
        tracing::warn!(steps = failed.stuck.len(), "a change could not be undone whole");
    }
    match failed.cause {
        StepError::Tables(over) => Refusal::limit(over.to_string(), over.given, over.limit),
        StepError::Bind { socket, error } => match error.raw_os_error() {
            Some(nix::libc::EADDRINUSE) if is_in_time_wait(&socket) => Code::Eaddrinuse.because("time_wait"),
            Some(nix::libc::EADDRINUSE) => Code::Eaddrinuse
                .because(format_args!("a socket of the OS holds {} {}", socket.proto, socket.at)),
            Some(nix::libc::EADDRNOTAVAIL) => Code::Eaddrnotavail.because(error),
            _ => Code::Eio.because(error),
        },
        cause => Code::Eio.because(cause),
    }
}

fn code(name: &str) -> Code {
    Code::ALL.into_iter().find(|code| code.name() == name).unwrap_or(Code::Eio)
}

#[cfg(test)]
mod tests {
    use multistack::refusal::{Denied, Resource, Unregistrable};

    use super::*;

    #[test]
    fn every_refusal_of_the_registry_has_its_code() {
        let all = [
            (Registry::Address(Unregistrable::Multicast), Code::Einval),
            (Registry::PortZero, Code::Einval),
            (Registry::Name, Code::Einval),
            (Registry::Denied(Denied::Port), Code::Eacces),
            (Registry::Busy(registry::Owner::Reserved(7)), Code::Ebusy),
            (Registry::InUse, Code::Ebusy),
            (Registry::NoSuch, Code::Enoent),
            (Registry::Stale, Code::Estale),
            (Registry::NotLocal, Code::Eaddrnotavail),
            (Registry::Detaching, Code::Enetdown),
            (Registry::NoSpace { resource: Resource::Tuples, given: 2, limit: 1 }, Code::Enospc),
        ];
        for (refused, code) in all {
            assert_eq!(refusal(&refused).code, code, "{refused:?}");
        }
    }

    #[test]
    fn words_go_there_and_back() {
        for proto in Proto::ALL {
            assert_eq!(said_proto(super::proto(proto)), proto);
        }
        for state in [
            RowState::Reserved,
            RowState::Orphan,
            RowState::Live,
            RowState::Weak,
            RowState::Suspended,
            RowState::Unreserved,
        ] {
            assert_eq!(said_state(state).to_string(), state.name());
        }
    }
}
