//! Netlink sockets: one that asks and waits, one that listens.
//!
//! An answer is waited for at most [`PATIENCE`]. Events carry no news here beyond "something changed": whoever hears
//! one asks for the whole state, so an event that was lost (`ENOBUFS`) loses nothing.
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
            setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};

use super::message::{Builder, Message, messages, u32_at};

/// How long the kernel may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of one read: the kernel fills at most 32 KiB a datagram.
const BUFFER: usize = 32 * 1024;

/// A socket for requests.
#[derive(Debug)]
pub struct Asker {
    fd: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

/// A socket for events.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    buffer: Box<[u8]>,
}

impl Asker {
    /// A socket of this netlink protocol, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        let limit = TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
        setsockopt(&fd, sockopt::ReceiveTimeout, &limit)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; BUFFER].into() })
    }

    /// Sends a request, then hands `each` every message of the answer.
    ///
    /// `body` completes the request; `flags` beyond `NLM_F_REQUEST` say whether it is a dump.
    ///
    /// # Errors
    /// What the kernel answers, or that it does not.
    pub fn ask(
        &mut self,
        kind: u16,
        flags: libc::c_int,
        body: impl FnOnce(Builder) -> Builder,
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.sequence += 1;
        let mut flags = flags | libc::NLM_F_REQUEST;
        if flags & libc::NLM_F_DUMP == 0 {
            flags |= libc::NLM_F_ACK;
        }
        let request = body(Builder::new(kind, flags as u16, self.sequence)).finish();
        sendto(self.fd.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                other => other?,
            };
            for message in messages(&self.buffer[..length]).filter(|m| m.sequence == self.sequence) {
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => return acknowledged(message.payload),
                    _ => each(&message),
                }
            }
        }
    }
}

/// An error message is an acknowledgement if its code is 0.
fn acknowledged(payload: &[u8]) -> io::Result<()> {
    match u32_at(payload, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Listener {
    /// A socket of this protocol that hears the first 32 multicast groups named in the mask `groups`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(protocol: SockProtocol, groups: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd, buffer: vec![0; BUFFER].into() })
    }

    /// Throws away what has come, and says whether anything had.
    ///
    /// # Errors
    /// The socket failed.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut heard = false;
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(_) | Err(Errno::ENOBUFS) => heard = true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(heard),
                Err(other) => return Err(other.into()),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
