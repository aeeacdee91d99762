//! The sockets that keep ports from the OS: placeholders that the daemon binds, and copies of those that applications lend.
//!
//! A placeholder is bound and nothing else: never listening, never read, and both reuse flags stay clear from its
//! first moment on. Setting one for the bind and clearing it after would bind beside connections of the OS that still
//! live, whose packets the daemon would then take; a port in TIME_WAIT is reported instead, and free in a minute.
use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use multistack::{
    policy::Kernel,
    registry::{Facts, Flag, Lent, Socket, Strength},
    tuple::Proto,
};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{SockaddrLike, SockaddrStorage, bind, getpeername, getsockname, setsockopt, sockopt},
};
use xsk::inet::{self, SocketOption};

/// Every socket that keeps a port.
#[derive(Debug)]
pub struct Sockets {
    bound: BTreeMap<Socket, OwnedFd>,
    lent: BTreeMap<Lent, OwnedFd>,
    /// Our network namespace, as sockets say it.
    netns: u64,
}

impl Sockets {
    /// None yet.
    ///
    /// # Errors
    /// The kernel does not say in which network namespace a socket is (5.14 and later do).
    pub fn new() -> io::Result<Self> {
        let any = inet::open(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP)?;
        Ok(Self { bound: BTreeMap::new(), lent: BTreeMap::new(), netns: inet::netns_cookie(any)? })
    }

    /// Our network namespace.
    #[must_use]
    pub fn netns(&self) -> u64 {
        self.netns
    }

    /// Binds a placeholder.
    ///
    /// # Errors
    /// What the kernel says: `EADDRINUSE` above all.
    pub fn bind(&mut self, socket: Socket) -> io::Result<()> {
        let fd = bound(&socket)?;
        self.bound.insert(socket, fd);
        Ok(())
    }

    /// Lets a placeholder queue nothing.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn silence(&mut self, socket: &Socket) -> io::Result<()> {
        self.bound.get(socket).map_or(Ok(()), inet::silence)
    }

    /// Closes a placeholder.
    pub fn close(&mut self, socket: &Socket) {
        self.bound.remove(socket);
    }

    /// Keeps a socket that was lent.
    pub fn keep(&mut self, lent: Lent, fd: OwnedFd) {
        self.lent.insert(lent, fd);
    }

    /// Gives up the copy of a socket that was lent.
    pub fn forget(&mut self, lent: &Lent) -> Option<OwnedFd> {
        self.lent.remove(lent)
    }

    /// How sound each lent socket is now: its owner has the same one, and may have changed it.
    #[must_use]
    pub fn strengths(&self) -> Vec<(Lent, Strength)> {
        let strength = |(&lent, fd): (&Lent, &OwnedFd)| {
            let clear = |option| inet::option(fd, option).is_ok_and(|value| value == 0);
            let sound = clear(SocketOption::ReuseAddr)
                && clear(SocketOption::ReusePort)
                && clear(SocketOption::AcceptConn)
                && !is_connected(fd.as_fd());
            (lent, if sound { Strength::Sound } else { Strength::Weak })
        };
        self.lent.iter().map(strength).collect()
    }
}

/// What the kernel says of a descriptor that an application passed.
///
/// # Errors
/// It is no socket.
pub fn facts(fd: BorrowedFd<'_>) -> io::Result<Facts> {
    let flag = |option| Ok::<_, io::Error>(flag_of(inet::option(fd, option)? != 0));
    let domain = inet::option(fd, SocketOption::Domain)?;
    let v6_only = domain == libc::AF_INET6 && nix::sys::socket::getsockopt(&fd, sockopt::Ipv6V6Only)?;
    Ok(Facts {
        domain,
        kind: inet::option(fd, SocketOption::Type)?,
        protocol: inet::option(fd, SocketOption::Protocol)?,
        local: local(fd),
        reuse_addr: flag(SocketOption::ReuseAddr)?,
        reuse_port: flag(SocketOption::ReusePort)?,
        listening: flag(SocketOption::AcceptConn)?,
        connected: flag_of(is_connected(fd)),
        v6_only: flag_of(v6_only),
        netns: inet::netns_cookie(fd)?,
    })
}

/// What the kernel says of ports now. Whether it has sockets of a protocol is asked for `wanted` alone: asking may load
/// a module.
#[must_use]
pub fn kernel(wanted: Proto) -> Kernel {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
    let range = |text: String| {
        let (first, last) = text.trim().split_once(char::is_whitespace)?;
        Some(number(first)?..=number(last)?)
    };
    Kernel {
        unprivileged_port_start: sysctl("ip_unprivileged_port_start")
            .and_then(|t| number(&t))
            .unwrap_or(1024),
        ephemeral: sysctl("ip_local_port_range").and_then(range).unwrap_or(32_768..=60_999),
        protocols: if is_known(wanted) { vec![wanted] } else { Vec::new() },
    }
}

/// Whether a port that the OS has is taken by nothing but connections in TIME_WAIT.
#[must_use]
pub fn is_in_time_wait(socket: &Socket) -> bool {
    if socket.proto != Proto::Tcp {
        return false;
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let mut states = tables.iter().flat_map(|table| states(table, socket.at)).peekable();
    states.peek().is_some() && states.all(|state| state == TIME_WAIT)
}

/// TCP_TIME_WAIT of `net/tcp_states.h`.
const TIME_WAIT: u8 = 6;

/// States of the sockets in a table of `/proc/net` that may meet `at`.
fn states(table: &str, at: SocketAddr) -> impl Iterator<Item = u8> + '_ {
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (addr, port) = words.next()?.split_once(':')?;
        let state = u8::from_str_radix(words.nth(1)?, 16).ok()?;
        let meets = u16::from_str_radix(port, 16).ok()? == at.port() && meets(proc_address(addr)?, at.ip());
        meets.then_some(state)
    })
}

/// An address as `/proc/net/tcp` writes it: 32-bit words of the host's byte order.
fn proc_address(text: &str) -> Option<IpAddr> {
    let words =
        text.as_bytes().chunks_exact(8).map(|word| u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    match bytes.len() {
        4 => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).to_canonical()),
        _ => None,
    }
}

fn meets(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

const fn flag_of(set: bool) -> Flag {
    if set { Flag::Set } else { Flag::Clear }
}

fn is_connected(fd: BorrowedFd<'_>) -> bool {
    getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok()
}

fn local(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
    let v4 = name.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    v4.or_else(|| name.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port())))
}

fn is_known(proto: Proto) -> bool {
    match proto {
        Proto::Tcp | Proto::Udp => true,
        Proto::Sctp | Proto::Dccp | Proto::UdpLite => made(proto, libc::AF_INET).is_ok(),
    }
}

fn made(proto: Proto, domain: i32) -> io::Result<OwnedFd> {
    let kind = match proto {
        Proto::Tcp | Proto::Sctp => libc::SOCK_STREAM,
        Proto::Udp | Proto::UdpLite => libc::SOCK_DGRAM,
        Proto::Dccp => libc::SOCK_DCCP,
    };
    inet::open(domain, kind, proto.number().into())
}

fn bound(socket: &Socket) -> io::Result<OwnedFd> {
    let domain = if socket.at.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = made(socket.proto, domain)?;
    if socket.at.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    // The address may be away for a moment, or still be tried by duplicate address detection: its port is ours all the
    // same. Where the kernel has no such option, binding says what it has to say.
    let _ = setsockopt(&fd, sockopt::IpFreebind, &true);
    let at = SockaddrStorage::from(socket.at);
    match bind(fd.as_raw_fd(), &at as &dyn SockaddrLike) {
        Err(Errno::EINTR) => Err(io::ErrorKind::Interrupted.into()),
        other => Ok(other.map(|()| fd)?),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use multistack::registry::SessionId;

    use super::*;

    fn placeholder(proto: Proto, at: SocketAddr) -> Socket {
        Socket { proto, at }
    }

    /// A port of `127.0.0.1` that nobody has now; as loopback's nobody else is given it by `connect` meanwhile.
    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn mt03_what_is_held_the_os_cannot_bind_and_the_other_way_round() {
        let mut sockets = Sockets::new().unwrap();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (tcp, udp) = (placeholder(Proto::Tcp, at(free_port())), placeholder(Proto::Udp, at(free_port())));
        for socket in [tcp, udp] {
            sockets.bind(socket).unwrap();
        }
        sockets.silence(&udp).unwrap();
        let taken = |result: io::Result<()>| result.map_err(|e| e.kind()) == Err(io::ErrorKind::AddrInUse);
        let bind_tcp = |addr: &str| TcpListener::bind(format!("{addr}:{}", tcp.at.port())).map(drop);
        let bind_udp = |addr: &str| UdpSocket::bind(format!("{addr}:{}", udp.at.port())).map(drop);
        for addr in ["127.0.0.1", "0.0.0.0", "[::]"] {
            assert!(taken(bind_tcp(addr)) && taken(bind_udp(addr)), "{addr}");
        }
        assert!(bind_tcp("127.0.0.2").is_ok(), "the same port of another address stays free");
        let error = Sockets::new().unwrap().bind(tcp).unwrap_err();
        assert_eq!((error.kind(), is_in_time_wait(&tcp)), (io::ErrorKind::AddrInUse, false));
        sockets.close(&tcp);
        bind_tcp("127.0.0.1").unwrap();
    }

    #[test]
    fn mt03_both_halves_of_any_are_bound_side_by_side() {
        let mut sockets = Sockets::new().unwrap();
        let port = free_port();
        for at in [SocketAddr::from(([0; 4], port)), SocketAddr::from(([0_u16; 8], port))] {
            sockets.bind(placeholder(Proto::Tcp, at)).unwrap();
        }
    }

    #[test]
    fn mt03_a_lent_socket_is_what_it_is_and_weakens_with_its_owner() {
        let mut sockets = Sockets::new().unwrap();
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        let seen = facts(own.as_fd()).unwrap();
        let expected = Facts {
            domain: libc::AF_INET,
            kind: libc::SOCK_DGRAM,
            protocol: libc::IPPROTO_UDP,
            local: own.local_addr().ok(),
            reuse_addr: Flag::Clear,
            reuse_port: Flag::Clear,
            listening: Flag::Clear,
            connected: Flag::Clear,
            v6_only: Flag::Clear,
            netns: sockets.netns(),
        };
        assert_eq!(seen, expected);
        let lent = Lent { session: SessionId { slot: 1, generation: 0 }, tuple: 0 };
        sockets.keep(lent, own.try_clone().unwrap().into());
        assert_eq!(sockets.strengths(), [(lent, Strength::Sound)]);
        setsockopt(&own, sockopt::ReusePort, &true).unwrap();
        assert_eq!(sockets.strengths(), [(lent, Strength::Weak)]);
        assert!(sockets.forget(&lent).is_some() && sockets.strengths().is_empty());
        assert!(facts(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }

    #[test]
    fn the_kernels_word_on_ports() {
        let kernel = kernel(Proto::Tcp);
        assert_eq!(kernel.protocols, [Proto::Tcp]);
        assert!(!kernel.ephemeral.is_empty());
    }

    #[test]
    fn mt03_only_time_wait_is_told_from_the_rest() {
        let table = "  sl  local_address rem_address   st\n\
             0: 0100007F:1F90 0100007F:D2A4 06 00000000:00000000\n\
             1: 0200007F:1F90 00000000:0000 0A 00000000:00000000\n";
        let states = |at: &str| states(table, at.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(states("127.0.0.1:8080"), [6]);
        assert_eq!(states("0.0.0.0:8080"), [6, 10]);
        assert!(states("127.0.0.1:80").is_empty());
        let mapped = "0000000000000000FFFF00000100007F";
        assert_eq!(proc_address(mapped), Some(IpAddr::from([127, 0, 0, 1])));
    }
}
