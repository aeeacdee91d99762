//! The control socket and its connections: who may speak now, and what they said.
//!
//! Nothing here waits. A client that does not read what it is sent loses its connection. Where the process has no descriptor for
//! a newcomer, all newcomers wait for a moment, and nobody asks for them meanwhile. Of the descriptors that somebody
//! sends along those that the operation is about ([`Op::brings`]) are kept until it is answered; the others are closed at
//! once.
//!
//! [`Op::brings`]: client::control::request::Op::brings
use std::{
    fs, io, mem,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{PermissionsExt, chown},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use client::{
    control::{
        MAX_DATAGRAM,
        answer::Reply,
        event::Event,
        refusal::{Code, Refusal},
        request::Request,
    },
    shm::passing::{self, Received},
};
use multistack::policy::Credentials;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, send,
        socket, sockopt,
    },
    unistd::{Gid, Group},
};
use serde_json::Value;

use super::limits::{Allowance, Full, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_USER, Users};

/// The group whose members may ask.
pub const GROUP: &str = "octroi";

/// How long newcomers wait once there was no descriptor for one: others need the time to give some back. The socket stays readable
/// all that while, so whoever polled it would find it so at once, again and again.
pub(super) const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// The control socket.
#[derive(Debug)]
pub struct Listener {
    /// A `SOCK_SEQPACKET` socket: the standard library's type knows how to accept on any kind.
    socket: UnixListener,
    path: PathBuf,
    users: Users,
    /// Until when nobody is let in, if there was no descriptor for the last who came.
    closed_until: Option<Duration>,
    connections: Vec<Connection>,
    /// Connections that ended and nobody was told of yet.
    gone: Vec<Id>,
    next: u64,
    buffer: Box<[u8]>,
}

/// Number of a connection; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

/// Somebody asked something.
#[derive(Debug)]
pub struct Asked {
    /// Who, for the answer.
    pub from: Id,
    /// Who, for policy.
    pub who: Credentials,
    /// What.
    pub request: Request,
    /// The descriptors that came along, no more than the operation is about.
    pub lent: Vec<OwnedFd>,
}

/// What one turn found.
#[derive(Debug, Default)]
pub struct Turn {
    /// Requests, at most one of each connection.
    pub asked: Vec<Asked>,
    /// Connections that ended.
    pub gone: Vec<Id>,
}

/// Who may open the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Root and members of [`GROUP`].
    Group,
    /// Root alone, for there is no such group.
    RootOnly,
}

#[derive(Debug)]
struct Connection {
    id: Id,
    socket: OwnedFd,
    who: Credentials,
    allowance: Allowance,
}

impl Listener {
    /// Makes the socket, in place of one that a crash left behind: the instance's lock is ours.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(path: &Path) -> io::Result<(Self, Access)> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        // Nobody can connect before `listen`, so the mode is in force before the first client.
        let access = restrict(path)?;
        listen(&socket, Backlog::new(64)?)?;
        let buffer = vec![0; MAX_DATAGRAM + 1].into();
        let listener = Self {
            socket: socket.into(),
            path: path.to_path_buf(),
            users: Users::default(),
            closed_until: None,
            connections: Vec::new(),
            gone: Vec::new(),
            next: 1,
            buffer,
        };
        Ok((listener, access))
    }

    /// What to wait for: the socket itself, if newcomers may come in at `now`, and every connection that may speak.
    pub fn waiting(&self, now: Duration) -> impl Iterator<Item = BorrowedFd<'_>> {
        let door = self.closed_until.is_none_or(|at| at <= now).then(|| self.socket.as_fd());
        let open = self.connections.iter().filter(move |c| c.allowance.open_at(now) <= now);
        door.into_iter().chain(open.map(|c| c.socket.as_fd()))
    }

    /// When the first of those who may not speak or come in at `now` may, or there is news without a word from anybody.
    #[must_use]
    pub fn due(&self, now: Duration) -> Option<Duration> {
        if !self.gone.is_empty() {
            return Some(now);
        }
        let silent = self.connections.iter().map(|c| c.allowance.open_at(now));
        silent.chain(self.closed_until).filter(|&at| now < at).min()
    }

    /// Lets newcomers in, and takes at most one request of each connection.
    pub fn turn(&mut self, now: Duration) -> Turn {
        self.accept(now);
        let mut asked = Vec::new();
        for at in (0..self.connections.len()).rev() {
            match self.read(at, now) {
                Ok(Some(request)) => asked.push(request),
                Ok(None) => {}
                Err(Gone) => self.close(at),
            }
        }
        Turn { asked, gone: mem::take(&mut self.gone) }
    }

    /// Sends an answer. Whoever does not take it loses the connection.
    pub fn answer(&mut self, to: Id, request: u64, outcome: Result<Value, Refusal>) {
        self.answer_with(to, request, outcome, &[]);
    }

    /// Sends an answer and duplicates of these descriptors.
    pub fn answer_with(&mut self, to: Id, request: u64, outcome: Result<Value, Refusal>, fds: &[OwnedFd]) {
        let datagram = Reply::write(request, outcome)
            .or_else(|error| Reply::write(request, Err(Code::Eio.because(error))));
        self.send(to, datagram.ok(), fds);
    }

    /// Tells somebody something unasked. Whoever does not take it loses the connection.
    pub fn tell(&mut self, to: Id, event: &Event) {
        self.send(to, event.write().ok(), &[]);
    }

    fn send(&mut self, to: Id, datagram: Option<Vec<u8>>, fds: &[OwnedFd]) {
        let Some(at) = self.connections.iter().position(|c| c.id == to) else { return };
        let socket = self.connections[at].socket.as_fd();
        let fds = passing::borrow(fds);
        let sent =
            datagram.is_some_and(|bytes| passing::send(socket, &bytes, &fds, MsgFlags::MSG_DONTWAIT).is_ok());
        if !sent {
            self.close(at);
        }
    }

    /// How many are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.connections.len()
    }

    fn accept(&mut self, now: Duration) {
        if self.closed_until.is_some_and(|at| now < at) {
            return;
        }
        while let Some(socket) = self.next_comer(now) {
            let Some(who) = credentials(&socket) else { continue };
            if let Err(full) = self.users.enter(who.uid) {
                turn_away(&socket, who.uid, full);
                continue;
            }
            let id = Id(self.next);
            self.next += 1;
            self.connections.push(Connection { id, socket, who, allowance: Allowance::new(now) });
        }
    }

    /// Somebody who waits to be let in; says when the next may be, if there is no descriptor for him.
    fn next_comer(&mut self, now: Duration) -> Option<OwnedFd> {
        match self.socket.accept() {
            Ok((socket, _)) => Some(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.closed_until = None;
                None
            }
            Err(error) => {
                if self.closed_until.replace(now + NO_DESCRIPTOR).is_none() {
                    tracing::warn!(%error, "nobody can connect to the control socket; they wait");
                }
                None
            }
        }
    }

    fn read(&mut self, at: usize, now: Duration) -> Result<Option<Asked>, Gone> {
        let Some(connection) = self.connections.get_mut(at) else { return Ok(None) };
        if now < connection.allowance.open_at(now) {
            return Ok(None);
        }
        let received = passing::receive(connection.socket.as_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT);
        let (length, fds) = match received {
            Ok(Received { len: 0, .. }) => return Err(Gone),
            Ok(Received { len, fds }) => (len, fds),
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(_) => return Err(Gone),
        };
        connection.allowance.spend(now);
        let from = connection.id;
        match Request::read(&self.buffer[..length]) {
            Ok(request) => {
                let lent = fds.into_iter().take(request.op.brings()).collect();
                Ok(Some(Asked { from, who: connection.who.clone(), request, lent }))
            }
            Err(malformed) => {
                self.answer(from, malformed.id, Err(malformed.refusal));
                Ok(None)
            }
        }
    }

    fn close(&mut self, at: usize) {
        let connection = self.connections.swap_remove(at);
        self.users.leave(connection.who.uid);
        self.gone.push(connection.id);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The other side is gone, or as good as.
struct Gone;

/// Makes a socket root's, and the group's where there is one.
pub(crate) fn restrict(path: &Path) -> io::Result<Access> {
    restrict_to(path, Group::from_name(GROUP).ok().flatten().map(|group| group.gid))
}

/// The same for a group that is known, or known not to be.
pub(super) fn restrict_to(path: &Path, group: Option<Gid>) -> io::Result<Access> {
    let (mode, access) = if group.is_some() { (0o660, Access::Group) } else { (0o600, Access::RootOnly) };
    if let Some(group) = group {
        chown(path, None, Some(group.as_raw()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(access)
}

/// Who is at the other end, by the kernel's word.
fn credentials(socket: &OwnedFd) -> Option<Credentials> {
    let peer = getsockopt(socket, sockopt::PeerCredentials).ok()?;
    // Without its supplementary groups a process has fewer rights, not more.
    let mut gids = xsk::inet::peer_groups(socket).unwrap_or_default();
    gids.push(peer.gid());
    Some(Credentials { uid: peer.uid(), gids, pid: peer.pid() })
}

fn turn_away(socket: &OwnedFd, uid: u32, full: Full) {
    let limit = match full {
        Full::User => Refusal::limit(
            format_args!("connections of uid {uid}"),
            MAX_CONNECTIONS_PER_USER as u64 + 1,
            MAX_CONNECTIONS_PER_USER as u64,
        ),
        Full::All => {
            Refusal::limit("connections of all users", MAX_CONNECTIONS as u64 + 1, MAX_CONNECTIONS as u64)
        }
    };
    if let Ok(datagram) = Reply::write(0, Err(limit)) {
        let _ = send(socket.as_raw_fd(), &datagram, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
    }
}
