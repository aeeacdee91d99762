//! A blocking connection to a daemon: one request, one reply, each within a time limit.
//!
//! It refuses to hide a refusal: what the daemon said comes back as [`CallError::Reply`] with its code.
use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, sendmsg, setsockopt,
            socket, sockopt,
        },
        time::TimeVal,
    },
};
use thiserror::Error;

use super::{
    MAX_DATAGRAM,
    answer::{Reply, ReplyError},
    datagram::DatagramError,
    request::{Call, Paged, Request},
    status::Status,
};

/// How long a call waits unless somebody says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most pages that one answer may have: a daemon that never ends its pages is not followed for ever.
pub const MAX_PAGES: usize = 65_536;

/// A connection to one daemon.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    next_id: u64,
    buffer: Box<[u8]>,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("no daemon listens on {}", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
    },
    /// The socket's owner and mode say no.
    #[error("{} may not be opened by this user", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// Something else.
    #[error("{}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why a call has no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// The request does not fit a datagram.
    #[error("the request: {0}")]
    Request(#[source] DatagramError),
    /// The reply is a refusal or makes no sense.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The daemon did not answer in time.
    #[error("the daemon did not answer in time")]
    Timeout,
    /// The daemon closed the connection.
    #[error("the daemon closed the connection")]
    Closed,
    /// More than [`MAX_PAGES`], a page that does not go forward, or no head.
    #[error("the daemon's pages do not make a whole")]
    Pages,
    /// The socket failed.
    #[error("the control socket: {0}")]
    Socket(#[source] io::Error),
}

impl Connection {
    /// Connects; every later call waits at most `timeout` for its reply.
    ///
    /// # Errors
    /// [`ConnectError`], which tells a daemon that is not there from one that may not be asked.
    pub fn open(path: &Path, timeout: Duration) -> Result<Self, ConnectError> {
        Self::try_open(path, timeout).map_err(|errno| {
            let path = path.to_path_buf();
            match errno {
                Errno::ENOENT | Errno::ECONNREFUSED | Errno::ENOTDIR => ConnectError::NoDaemon { path },
                Errno::EACCES | Errno::EPERM => ConnectError::Denied { path },
                other => ConnectError::Socket { path, source: other.into() },
            }
        })
    }

    fn try_open(path: &Path, timeout: Duration) -> Result<Self, Errno> {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        // Zero would mean "wait for ever".
        let micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX).max(1);
        let limit = TimeVal::new(micros / 1_000_000, micros % 1_000_000);
        setsockopt(&socket, sockopt::SendTimeout, &limit)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &limit)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self { socket, next_id: 1, buffer: vec![0; MAX_DATAGRAM + 1].into_boxed_slice() })
    }

    /// Makes one call and waits for its answer.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::Timeout`] the connection is out of step and must be dropped.
    pub fn call<C: Call>(&mut self, call: &C) -> Result<C::Answer, CallError> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&Request::write(id, call).map_err(CallError::Request)?)?;
        Ok(Reply::read(self.receive()?, id)?)
    }

    /// Makes a call as often as its answer has pages.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn pages<C: Paged>(&mut self) -> Result<Vec<C::Answer>, CallError> {
        let (mut pages, mut after) = (Vec::new(), 0);
        loop {
            let page = self.call(&C::page(after))?;
            let next = C::next(&page);
            pages.push(page);
            match next {
                None => return Ok(pages),
                Some(next) if after < next && pages.len() < MAX_PAGES => after = next,
                Some(_) => return Err(CallError::Pages),
            }
        }
    }

    /// The whole status.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn status(&mut self) -> Result<Status, CallError> {
        Status::from_pages(self.pages::<super::request::GetStatus>()?).ok_or(CallError::Pages)
    }

    /// Waits until the daemon closes the connection, which it does last of all.
    ///
    /// # Errors
    /// [`CallError::Timeout`] if it does not in time; [`CallError::Socket`].
    pub fn wait_for_close(mut self) -> Result<(), CallError> {
        loop {
            match self.receive() {
                Ok(_) => {}
                Err(CallError::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, datagram: &[u8]) -> Result<(), CallError> {
        let parts = [IoSlice::new(datagram)];
        let sent =
            retry(|| sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &parts, &[], MsgFlags::MSG_NOSIGNAL, None));
        sent.map(drop).map_err(call_error)
    }

    fn receive(&mut self) -> Result<&[u8], CallError> {
        let fd = self.socket.as_raw_fd();
        let len = retry(|| recv(fd, &mut self.buffer, MsgFlags::empty())).map_err(call_error)?;
        if len == 0 { Err(CallError::Closed) } else { Ok(&self.buffer[..len]) }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            outcome => return outcome,
        }
    }
}

fn call_error(errno: Errno) -> CallError {
    match errno {
        Errno::EAGAIN => CallError::Timeout,
        Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN => CallError::Closed,
        other => CallError::Socket(other.into()),
    }
}

#[cfg(test)]
mod tests;
