//! The HTTP server on the OS's TCP: one thread, epoll, level-triggered.
//!
//! It holds the same conversations as `on_smoltcp`, so that what differs between the two is the stack below. It refuses
//! connections beyond [`MAX_CONNECTIONS`] by leaving them in the kernel's backlog.
use std::{
    io::{self, ErrorKind, IoSlice, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
        sockopt,
    },
};

use super::{
    MAX_CONNECTIONS, PATIENCE,
    conversation::{Conversation, MAX_INPUT},
    object::Objects,
};
use crate::stop::Stop;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// Events taken at once.
const EVENTS: usize = 64;

/// What an event is about, where it is not a connection by its number.
const LISTENER: u64 = u64::MAX;
const SIGNAL: u64 = u64::MAX - 1;

/// The server.
#[derive(Debug)]
pub struct Server {
    epoll: Epoll,
    listener: TcpListener,
    stop: Stop,
    objects: Objects,
    lines: Vec<Option<Line>>,
    free: Vec<usize>,
    /// Whether the listener is watched.
    accepting: Accepting,
    /// When patience with the slowest may be over: never later than it is.
    deadline: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    Yes,
    Full,
}

/// One connection.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    talk: Conversation,
    watched: EpollFlags,
    /// When there was progress last.
    since: Instant,
    said: Said,
    /// Whether the peer may still say something.
    heard: Heard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Something,
    Everything,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Something,
    Everything,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind(address: SocketAddr, objects: Objects) -> io::Result<Self> {
        let stop = Stop::on_signals()?;
        let listener = listener(address)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(&stop, EpollEvent::new(EpollFlags::EPOLLIN, SIGNAL))?;
        Ok(Self {
            epoll,
            listener,
            stop,
            objects,
            lines: Vec::new(),
            free: Vec::new(),
            accepting: Accepting::Yes,
            deadline: None,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until somebody wants this program to end.
    ///
    /// # Errors
    /// What epoll says.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let count = match self.epoll.wait(&mut events, rounded_up(left)) {
                Err(nix::errno::Errno::EINTR) => 0,
                other => other?,
            };
            let now = Instant::now();
            for event in events.iter().take(count) {
                match event.data() {
                    LISTENER => self.accept(now)?,
                    SIGNAL if self.stop.came() => return Ok(()),
                    SIGNAL => {}
                    number => self.attend(usize::try_from(number).unwrap_or(usize::MAX), now)?,
                }
            }
            self.hang_up(now)?;
        }
    }

    fn accept(&mut self, now: Instant) -> io::Result<()> {
        while self.lines.len() - self.free.len() < MAX_CONNECTIONS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // One that was gone before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                // No descriptor left: as good as full.
                Err(_) => break,
            };
            stream.set_nonblocking(true)?;
            let number = self.free.pop().unwrap_or_else(|| {
                self.lines.push(None);
                self.lines.len() - 1
            });
            let watched = EpollFlags::EPOLLIN;
            self.epoll.add(&stream, EpollEvent::new(watched, number as u64))?;
            let (talk, said, heard) = (Conversation::default(), Said::Something, Heard::Something);
            self.lines[number] = Some(Line { stream, talk, watched, since: now, said, heard });
            self.deadline.get_or_insert(now + PATIENCE);
        }
        self.accepting = Accepting::Full;
        self.epoll.delete(&self.listener)?;
        Ok(())
    }

    fn attend(&mut self, number: usize, now: Instant) -> io::Result<()> {
        let Some(Some(line)) = self.lines.get_mut(number) else { return Ok(()) };
        line.since = now;
        match line.converse(&self.objects) {
            Ok(Some(wanted)) if wanted == line.watched => Ok(()),
            Ok(Some(wanted)) => {
                line.watched = wanted;
                Ok(self.epoll.modify(&line.stream, &mut EpollEvent::new(wanted, number as u64))?)
            }
            // Whatever the error, it is this connection's alone.
            Ok(None) | Err(_) => self.close(number),
        }
    }

    /// Closing the socket takes it out of epoll.
    fn close(&mut self, number: usize) -> io::Result<()> {
        self.lines[number] = None;
        self.free.push(number);
        if self.accepting == Accepting::Full {
            self.accepting = Accepting::Yes;
            self.epoll.add(&self.listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        }
        Ok(())
    }

    /// Ends connections without progress, and finds out when to look again.
    fn hang_up(&mut self, now: Instant) -> io::Result<()> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        self.deadline = None;
        for number in 0..self.lines.len() {
            let Some(line) = &self.lines[number] else { continue };
            let until = line.since + PATIENCE;
            if until <= now {
                self.close(number)?;
            } else {
                self.deadline = self.deadline.into_iter().chain([until]).min();
            }
        }
        Ok(())
    }
}

impl Line {
    /// Lets both sides say what they can; returns what to wait for, or `None` when all was said.
    fn converse(&mut self, objects: &Objects) -> io::Result<Option<EpollFlags>> {
        let mut buffer = [0; MAX_INPUT];
        let mut more = Heard::Something;
        loop {
            let pending = self.say(objects)?;
            if self.talk.is_over() && self.said == Said::Something {
                // What the peer still says is read, not refused: closing now could destroy what it was told.
                self.said = Said::Everything;
                self.stream.shutdown(Shutdown::Write)?;
            }
            let out = if pending == Pending::Yes { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let room = self.talk.room();
            match (self.heard, more) {
                (Heard::Everything, _) => return Ok((pending == Pending::Yes).then_some(out)),
                (Heard::Something, _) if room == 0 => return Ok(Some(out)),
                (Heard::Something, Heard::Everything) => return Ok(Some(out | EpollFlags::EPOLLIN)),
                (Heard::Something, Heard::Something) => {}
            }
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => {
                    self.heard = Heard::Everything;
                    self.talk.end_of_input();
                }
                Ok(len) => {
                    // Less than there was room for: it was all there is now.
                    if len < room {
                        more = Heard::Everything;
                    }
                    self.talk.take(&buffer[..len]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => more = Heard::Everything,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what is to be said, as far as the kernel takes it.
    fn say(&mut self, objects: &Objects) -> io::Result<Pending> {
        loop {
            let [head, body] = self.talk.reply(objects);
            if head.is_empty() && body.is_empty() {
                return Ok(Pending::No);
            }
            match self.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
                Ok(sent) => self.talk.sent(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Pending::Yes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether something could not be said yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    Yes,
    No,
}

/// The standard library's listeners have a backlog of 128: less than a load generator opens at once.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    // Every connection inherits it.
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd.into())
}

/// In whole milliseconds, so that the last one is slept and not spun through.
fn rounded_up(limit: Option<Duration>) -> EpollTimeout {
    let Some(limit) = limit else { return EpollTimeout::NONE };
    EpollTimeout::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(EpollTimeout::MAX)
}
