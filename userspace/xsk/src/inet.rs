//! Internet sockets that keep a port and never carry a packet: made, asked, silenced.
//!
//! It binds nothing and decides nothing. These are the calls that no library of ours has in safe form: protocols that
//! nix does not name, a few options, and the filter that keeps nothing.
#![allow(unsafe_code, reason = "the C library's calls; each takes memory that lives in the calling function")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use nix::errno::Errno;

/// An option of `SOL_SOCKET` whose value is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// `SO_DOMAIN`.
    Domain,
    /// `SO_TYPE`.
    Type,
    /// `SO_PROTOCOL`.
    Protocol,
    /// `SO_REUSEADDR`.
    ReuseAddr,
    /// `SO_REUSEPORT`.
    ReusePort,
    /// `SO_ACCEPTCONN`.
    AcceptConn,
}

impl SocketOption {
    const fn number(self) -> libc::c_int {
        match self {
            Self::Domain => libc::SO_DOMAIN,
            Self::Type => libc::SO_TYPE,
            Self::Protocol => libc::SO_PROTOCOL,
            Self::ReuseAddr => libc::SO_REUSEADDR,
            Self::ReusePort => libc::SO_REUSEPORT,
            Self::AcceptConn => libc::SO_ACCEPTCONN,
        }
    }
}

/// Makes a socket of any family, type and protocol, close-on-exec and never waiting.
///
/// # Errors
/// The kernel does not have such sockets, or no descriptor is left.
pub fn open(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: three numbers; whatever they are, the kernel judges them.
    let fd = Errno::result(unsafe { libc::socket(domain, kind, protocol) })?;
    // SAFETY: the kernel has just made this descriptor; nobody else has heard of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The value of an option.
///
/// # Errors
/// Not a socket.
pub fn option(fd: impl AsFd, option: SocketOption) -> io::Result<i32> {
    let mut value = [0; size_of::<i32>()];
    get(fd, option.number(), &mut value)?;
    Ok(i32::from_ne_bytes(value))
}

/// Which network namespace a socket is in: `SO_NETNS_COOKIE`.
///
/// # Errors
/// Not a socket.
pub fn netns_cookie(fd: impl AsFd) -> io::Result<u64> {
    let mut value = [0; size_of::<u64>()];
    get(fd, libc::SO_NETNS_COOKIE, &mut value)?;
    Ok(u64::from_ne_bytes(value))
}

/// The supplementary groups of the process that connected: `SO_PEERGROUPS`.
///
/// # Errors
/// Not a connected unix socket.
pub fn peer_groups(fd: impl AsFd) -> io::Result<Vec<u32>> {
    // NGROUPS_MAX is the most there can be; nearly everybody has a handful.
    let mut groups = vec![0; 64 * size_of::<u32>()];
    let len = match get(fd.as_fd(), libc::SO_PEERGROUPS, &mut groups) {
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {
            groups.resize(65_536 * size_of::<u32>(), 0);
            get(fd, libc::SO_PEERGROUPS, &mut groups)?
        }
        other => other?,
    };
    Ok(groups[..len].chunks_exact(4).filter_map(|g| Some(u32::from_ne_bytes(*g.first_chunk()?))).collect())
}

/// Lets a socket queue nothing from now on: a filter that keeps no byte, and a lock on it, which no owner of a copy of
/// the descriptor can take away.
///
/// # Errors
/// Not a socket that takes a filter.
pub fn silence(fd: impl AsFd) -> io::Result<()> {
    // BPF_RET | BPF_K, 0: keep nothing.
    let mut nothing = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let program = libc::sock_fprog { len: 1, filter: nothing.as_mut_ptr() };
    set(fd.as_fd(), libc::SO_ATTACH_FILTER, &program)?;
    set(fd, libc::SO_LOCK_FILTER, &1_i32)
}

/// Reads an option of `SOL_SOCKET` into `value`, and returns how many of its bytes the kernel wrote.
fn get(fd: impl AsFd, option: libc::c_int, value: &mut [u8]) -> io::Result<usize> {
    let mut len = value.len() as libc::socklen_t;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `fd` is open; the kernel writes at most `len` bytes, which `value` has.
    let done =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, value.as_mut_ptr().cast(), &raw mut len) };
    Errno::result(done)?;
    Ok((len as usize).min(value.len()))
}

fn set<T>(fd: impl AsFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let (fd, len) = (fd.as_fd().as_raw_fd(), size_of::<T>() as libc::socklen_t);
    // SAFETY: `fd` is open; `value` has `len` bytes, and what a filter's program points to lives in the caller.
    let done =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, std::ptr::from_ref(value).cast(), len) };
    Ok(Errno::result(done).map(drop)?)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::*;

    #[test]
    fn a_silenced_socket_keeps_its_port_and_queues_nothing() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let before = UdpSocket::bind("127.0.0.1:0").expect("another");
        silence(&silent).expect("UDP sockets take filters");
        let locked = silence(&silent).expect_err("the filter is locked");
        assert_eq!(locked.raw_os_error(), Some(libc::EPERM));
        for socket in [&silent, &before] {
            socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
            before.send_to(b"x", socket.local_addr().expect("its address")).expect("sent");
        }
        assert!(before.recv(&mut [0; 8]).is_ok(), "the ordinary one hears it");
        assert!(silent.recv(&mut [0; 8]).is_err());
    }

    #[test]
    fn sockets_say_what_they_are() {
        let socket = open(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP).expect("TCP");
        let all = [
            (SocketOption::Domain, libc::AF_INET6),
            (SocketOption::Type, libc::SOCK_STREAM),
            (SocketOption::Protocol, libc::IPPROTO_TCP),
            (SocketOption::ReuseAddr, 0),
            (SocketOption::ReusePort, 0),
            (SocketOption::AcceptConn, 0),
        ];
        for (which, expected) in all {
            assert_eq!(option(&socket, which).expect("it is a socket"), expected, "{which:?}");
        }
        let other = open(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP).expect("UDP");
        assert_eq!(netns_cookie(&socket).expect("5.14"), netns_cookie(&other).expect("5.14"));
        assert!(open(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_UDP).is_err());
        let (here, _there) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert_eq!(peer_groups(&here).is_ok(), nix::unistd::getgroups().is_ok());
    }
}
