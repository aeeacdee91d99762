//! How a port is kept from the OS: placeholder sockets that the daemon binds, or the application's own, lent.
//!
//! A placeholder is bound, never listening, never read, and has both reuse flags clear: while it is there no other
//! `bind(2)` of its port succeeds and no `connect(2)` picks it. Nothing here makes or asks a socket: [`check`] judges
//! what `getsockopt` said.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::SessionId;
use crate::tuple::{Address, Proto, Tuple};

/// A placeholder: what is to be bound where. IPv6 ones have IPV6_V6ONLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    /// The transport protocol.
    pub proto: Proto,
    /// The address; unspecified for `any`.
    pub at: SocketAddr,
}

impl Socket {
    /// Whether datagrams would queue in it: then it takes a filter that keeps nothing, and locks it.
    #[must_use]
    pub const fn queues(&self) -> bool {
        matches!(self.proto, Proto::Udp | Proto::UdpLite)
    }
}

/// A descriptor that an application passed for a tuple, and of which the daemon keeps a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lent {
    /// Whose it is.
    pub session: SessionId,
    /// For which of its tuples.
    pub tuple: u16,
}

/// Which part of a tuple a passed socket reserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cover {
    /// All of it.
    Whole,
    /// The IPv4 half of `any`.
    V4,
    /// The IPv6 half of `any`.
    V6,
}

/// How a tuple's port is kept from the OS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// By placeholders that the daemon binds.
    Daemon,
    /// By the application's own socket, and placeholders where that is only a half.
    Lent(Cover, Strength),
    /// Not at all: the kernel has no such sockets, and policy said that it may be so.
    Unbound,
}

/// What is known of a lent socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// The daemon has a duplicate, and its flags were right when they were last read.
    Sound,
    /// The daemon has a duplicate, but its owner has since made it one that does not reserve the port.
    Weak,
    /// The daemon has none: it restarted, and the application's alone reserves the port, if it is still there.
    Absent,
}

/// The placeholders that a tuple needs when it is held like this.
pub(super) fn placeholders(tuple: &Tuple, hold: Hold) -> Vec<Socket> {
    let at = |addr| Socket { proto: tuple.proto(), at: SocketAddr::new(addr, tuple.port()) };
    let v4 = || at(Ipv4Addr::UNSPECIFIED.into());
    let v6 = || at(Ipv6Addr::UNSPECIFIED.into());
    match (hold, tuple.addr()) {
        (Hold::Unbound, _) | (Hold::Lent(Cover::Whole, _), _) | (Hold::Lent(..), Address::Is(_)) => {
            Vec::new()
        }
        (Hold::Daemon, Address::Is(addr)) => vec![at(addr)],
        (Hold::Daemon, Address::Any) => vec![v4(), v6()],
        (Hold::Lent(Cover::V4, _), Address::Any) => vec![v6()],
        (Hold::Lent(Cover::V6, _), Address::Any) => vec![v4()],
    }
}

/// A flag of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// 0.
    Clear,
    /// 1.
    Set,
}

/// What the kernel says of a passed descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `SO_DOMAIN`.
    pub domain: i32,
    /// `SO_TYPE`.
    pub kind: i32,
    /// `SO_PROTOCOL`.
    pub protocol: i32,
    /// `getsockname()`; `None` where that is no internet address.
    pub local: Option<SocketAddr>,
    /// `SO_REUSEADDR`.
    pub reuse_addr: Flag,
    /// `SO_REUSEPORT`.
    pub reuse_port: Flag,
    /// `SO_ACCEPTCONN`.
    pub listening: Flag,
    /// Whether `getpeername()` succeeds.
    pub connected: Flag,
    /// `IPV6_V6ONLY`; clear for IPv4.
    pub v6_only: Flag,
    /// `SO_NETNS_COOKIE`.
    pub netns: u64,
}

/// The check that a passed descriptor fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Another network namespace than the daemon's.
    #[error("SO_NETNS_COOKIE: another network namespace")]
    Netns,
    /// Neither IPv4 nor IPv6.
    #[error("SO_DOMAIN: not an internet socket")]
    Domain,
    /// Not the protocol's type of socket.
    #[error("SO_TYPE: not a socket of this protocol")]
    Type,
    /// Another protocol.
    #[error("SO_PROTOCOL: another protocol")]
    Protocol,
    /// Not bound, or not to the tuple's address and port, or a wildcard with this port.
    #[error("getsockname: not bound to this tuple")]
    Local,
    /// Others may bind the same address.
    #[error("SO_REUSEADDR is set")]
    ReuseAddr,
    /// Others may bind the same address.
    #[error("SO_REUSEPORT is set")]
    ReusePort,
    /// It serves connections of its own.
    #[error("SO_ACCEPTCONN: the socket listens")]
    Listening,
    /// It has a peer.
    #[error("getpeername: the socket is connected")]
    Connected,
}

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const SOCK_SEQPACKET: i32 = 5;
const SOCK_DCCP: i32 = 6;

/// Whether a passed socket reserves the tuple, and how much of it.
///
/// # Errors
/// The first check that it fails.
pub fn check(facts: &Facts, tuple: &Tuple, our_netns: u64) -> Result<Cover, Unfit> {
    let require = |holds: bool, unfit| if holds { Ok(()) } else { Err(unfit) };
    require(facts.netns == our_netns, Unfit::Netns)?;
    require(matches!(facts.domain, AF_INET | AF_INET6), Unfit::Domain)?;
    let types: &[i32] = match tuple.proto() {
        Proto::Tcp => &[SOCK_STREAM],
        Proto::Udp | Proto::UdpLite => &[SOCK_DGRAM],
        Proto::Sctp => &[SOCK_STREAM, SOCK_SEQPACKET],
        Proto::Dccp => &[SOCK_DCCP],
    };
    require(types.contains(&facts.kind), Unfit::Type)?;
    require(facts.protocol == i32::from(tuple.proto().number()), Unfit::Protocol)?;
    let local = facts.local.filter(|local| local.port() == tuple.port()).ok_or(Unfit::Local)?;
    let cover = cover(local.ip(), facts.v6_only, tuple.addr()).ok_or(Unfit::Local)?;
    require(facts.reuse_addr == Flag::Clear, Unfit::ReuseAddr)?;
    require(facts.reuse_port == Flag::Clear, Unfit::ReusePort)?;
    require(facts.listening == Flag::Clear, Unfit::Listening)?;
    require(facts.connected == Flag::Clear, Unfit::Connected)?;
    Ok(cover)
}

fn cover(local: IpAddr, v6_only: Flag, wanted: Address) -> Option<Cover> {
    // An IPv6 socket writes IPv4 addresses mapped.
    let local = local.to_canonical();
    let dual = v6_only == Flag::Clear;
    match (local, wanted) {
        (IpAddr::V4(own), Address::Any) if own.is_unspecified() => Some(Cover::V4),
        (IpAddr::V6(own), Address::Any) if own.is_unspecified() => {
            Some(if dual { Cover::Whole } else { Cover::V6 })
        }
        (_, Address::Any) => None,
        (own, Address::Is(addr)) => {
            let same_family = own.is_ipv4() == addr.is_ipv4() || (own.is_ipv6() && dual);
            let covers = own == addr || (own.is_unspecified() && same_family);
            covers.then_some(Cover::Whole)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(proto: Proto, addr: &str) -> Tuple {
        let addr = addr.parse().map_or(Address::Any, Address::Is);
        Tuple::new(proto, addr, 443).unwrap()
    }

    fn bound(at: &str) -> Facts {
        let local: SocketAddr = at.parse().unwrap();
        Facts {
            domain: if local.is_ipv4() { AF_INET } else { AF_INET6 },
            kind: SOCK_STREAM,
            protocol: 6,
            local: Some(local),
            reuse_addr: Flag::Clear,
            reuse_port: Flag::Clear,
            listening: Flag::Clear,
            connected: Flag::Clear,
            v6_only: Flag::Clear,
            netns: 7,
        }
    }

    #[test]
    fn each_check_broken_once_is_named() {
        let (good, wanted) = (bound("192.0.2.1:443"), tuple(Proto::Tcp, "192.0.2.1"));
        assert_eq!(check(&good, &wanted, 7), Ok(Cover::Whole));
        let broken = [
            (Facts { netns: 8, ..good }, Unfit::Netns),
            (Facts { domain: 1, ..good }, Unfit::Domain),
            (Facts { kind: SOCK_DGRAM, ..good }, Unfit::Type),
            (Facts { protocol: 132, ..good }, Unfit::Protocol),
            (Facts { local: None, ..good }, Unfit::Local),
            (Facts { local: "192.0.2.1:80".parse().ok(), ..good }, Unfit::Local),
            (Facts { local: "192.0.2.2:443".parse().ok(), ..good }, Unfit::Local),
            (Facts { reuse_addr: Flag::Set, ..good }, Unfit::ReuseAddr),
            (Facts { reuse_port: Flag::Set, ..good }, Unfit::ReusePort),
            (Facts { listening: Flag::Set, ..good }, Unfit::Listening),
            (Facts { connected: Flag::Set, ..good }, Unfit::Connected),
        ];
        for (facts, why) in broken {
            assert_eq!(check(&facts, &wanted, 7), Err(why));
        }
    }

    #[test]
    fn a_wildcard_covers_what_the_kernel_says_it_covers() {
        let only = |at| Facts { v6_only: Flag::Set, ..bound(at) };
        for (facts, wanted, covers) in [
            (bound("0.0.0.0:443"), "192.0.2.1", Some(Cover::Whole)),
            (bound("0.0.0.0:443"), "2001:db8::1", None),
            (bound("0.0.0.0:443"), "any", Some(Cover::V4)),
            (bound("[::]:443"), "192.0.2.1", Some(Cover::Whole)),
            (bound("[::]:443"), "2001:db8::1", Some(Cover::Whole)),
            (bound("[::]:443"), "any", Some(Cover::Whole)),
            (only("[::]:443"), "192.0.2.1", None),
            (only("[::]:443"), "2001:db8::1", Some(Cover::Whole)),
            (only("[::]:443"), "any", Some(Cover::V6)),
            (bound("[::ffff:192.0.2.1]:443"), "192.0.2.1", Some(Cover::Whole)),
            (bound("[2001:db8::1]:443"), "any", None),
            (bound("192.0.2.1:443"), "any", None),
        ] {
            let result = check(&facts, &tuple(Proto::Tcp, wanted), 7);
            assert_eq!(result.ok(), covers, "{:?} for {wanted}", facts.local);
        }
    }

    #[test]
    fn every_protocol_has_its_types_of_socket() {
        for (proto, kinds) in [
            (Proto::Tcp, &[SOCK_STREAM][..]),
            (Proto::Udp, &[SOCK_DGRAM]),
            (Proto::UdpLite, &[SOCK_DGRAM]),
            (Proto::Sctp, &[SOCK_STREAM, SOCK_SEQPACKET]),
            (Proto::Dccp, &[SOCK_DCCP]),
        ] {
            for kind in 1..=6 {
                let protocol = i32::from(proto.number());
                let facts = Facts { kind, protocol, ..bound("192.0.2.1:443") };
                let fits = check(&facts, &tuple(proto, "192.0.2.1"), 7).is_ok();
                assert_eq!(fits, kinds.contains(&kind), "{proto} {kind}");
            }
        }
    }

    #[test]
    fn any_has_two_placeholders_less_what_is_lent() {
        let any = tuple(Proto::Tcp, "any");
        let at = |hold| placeholders(&any, hold).iter().map(|s| s.at.to_string()).collect::<Vec<_>>();
        assert_eq!(at(Hold::Daemon), ["0.0.0.0:443", "[::]:443"]);
        assert_eq!(at(Hold::Lent(Cover::V4, Strength::Sound)), ["[::]:443"]);
        assert_eq!(at(Hold::Lent(Cover::V6, Strength::Sound)), ["0.0.0.0:443"]);
        assert!(at(Hold::Lent(Cover::Whole, Strength::Sound)).is_empty() && at(Hold::Unbound).is_empty());
    }
}
