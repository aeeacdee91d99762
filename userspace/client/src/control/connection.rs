//! A blocking connection to a daemon: one request, one reply, each within a time limit.
//!
//! It refuses to hide a refusal: what the daemon said comes back as [`CallError::Reply`] with its code. Events that come
//! while a reply is waited for are kept in order.
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};
use thiserror::Error;

use super::{
    MAX_DATAGRAM,
    answer::{Reply, ReplyError},
    datagram::DatagramError,
    event::Event,
    request::{Call, Paged, Request},
    status::Status,
};
use crate::shm::passing::{self, Received};

/// How long a call waits unless somebody says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most pages that one answer may have: a daemon that never ends its pages is not followed for ever.
pub const MAX_PAGES: usize = 65_536;

/// Most events that are kept for somebody who does not ask for them.
pub const MAX_EVENTS: usize = 4096;

/// A connection to one daemon.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    next_id: u64,
    buffer: Box<[u8]>,
    events: VecDeque<Event>,
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
    /// More than [`MAX_EVENTS`] that nobody asked for.
    #[error("the daemon has sent more events than are kept")]
    Events,
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
        dial(&socket, &UnixAddr::new(path)?)?;
        let buffer = vec![0; MAX_DATAGRAM + 1].into_boxed_slice();
        Ok(Self { socket, next_id: 1, buffer, events: VecDeque::new() })
    }

    /// Makes one call and waits for its answer.
    ///
    /// # Errors
    /// [`CallError`]; after [`CallError::Timeout`] the connection is out of step and must be dropped.
    pub fn call<C: Call>(&mut self, call: &C) -> Result<C::Answer, CallError> {
        self.call_with(call, &[]).map(|(answer, _)| answer)
    }

    /// The same with descriptors beside the request, and those that came beside the answer.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_with<C: Call>(
        &mut self,
        call: &C,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(C::Answer, Vec<OwnedFd>), CallError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = Request::write(id, call).map_err(CallError::Request)?;
        let socket = self.socket.as_fd();
        passing::send(socket, &request, fds, MsgFlags::empty()).map_err(call_error)?;
        let Received { len, fds } = self.receive()?;
        Ok((Reply::read(&self.buffer[..len], id)?, fds))
    }

    /// The next event, if one has come. Never waits.
    ///
    /// # Errors
    /// [`CallError::Closed`] and [`CallError::Socket`].
    pub fn poll_event(&mut self) -> Result<Option<Event>, CallError> {
        while self.events.is_empty() {
            match self.take(MsgFlags::MSG_DONTWAIT) {
                // Whatever is no event is a reply to nobody.
                Ok(received) => self.keep(received.len)?,
                Err(CallError::Timeout) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(self.events.pop_front())
    }

    /// Makes a call as often as its answer has pages.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn pages<C: Paged>(&mut self) -> Result<Vec<C::Answer>, CallError> {
        self.pages_of(C::page)
    }

    /// The same for a request that has more fields than the row it begins with.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn pages_of<C: Paged>(&mut self, page: impl Fn(u32) -> C) -> Result<Vec<C::Answer>, CallError> {
        let (mut pages, mut after) = (Vec::new(), 0);
        loop {
            let answer = self.call(&page(after))?;
            let next = C::next(&answer);
            pages.push(answer);
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

    /// Waits for the next datagram that is no event; its bytes are in the buffer.
    fn receive(&mut self) -> Result<Received, CallError> {
        loop {
            let received = self.take(MsgFlags::empty())?;
            if !Event::is_event(&self.buffer[..received.len]) {
                return Ok(received);
            }
            self.keep(received.len)?;
        }
    }

    fn take(&mut self, flags: MsgFlags) -> Result<Received, CallError> {
        let (socket, buffer) = (self.socket.as_fd(), &mut self.buffer);
        let received = passing::receive(socket, buffer, flags).map_err(call_error)?;
        if received.len == 0 { Err(CallError::Closed) } else { Ok(received) }
    }

    /// Keeps the event in the buffer. One that this program does not know says nothing to it.
    fn keep(&mut self, len: usize) -> Result<(), CallError> {
        if let Some(event) = Event::read(&self.buffer[..len]) {
            if self.events.len() == MAX_EVENTS {
                return Err(CallError::Events);
            }
            self.events.push_back(event);
        }
        Ok(())
    }
}

/// Connects, as often as a signal interrupts it: a call with a time limit is not resumed after one (signal(7)), not even
/// after a stop that nobody handles.
fn dial(socket: &OwnedFd, address: &UnixAddr) -> Result<(), Errno> {
    loop {
        match connect(socket.as_raw_fd(), address) {
            Err(Errno::EINTR) => {}
            outcome => return outcome,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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
