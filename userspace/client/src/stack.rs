//! An application's own network stack on Octroi: a session, its tuples, its channels.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use client::stack::{Client, Reserve, StackOptions, Tuple};
//! use client::control::request::{LocalAddr, Proto};
//!
//! let mut stack = Client::connect("/run/octroi/main/control.sock".as_ref())?.open(&StackOptions::named("dns"))?;
//! let dns = stack.register(&Tuple::new(Proto::Udp, LocalAddr::Any, 53), Reserve::Daemon)?;
//! for mut channel in stack.take_channels() {
//!     std::thread::spawn(move || {
//!         for frame in channel.rx(64).iter() {
//!             println!("{} bytes for {}", frame.bytes.len(), frame.tuple);
//!         }
//!     });
//! }
//! # let _ = dns; Ok(()) }
//! ```
//!
//! The session lives as long as its control connection: dropping a [`Stack`] releases everything. When it is the
//! daemon that goes away, the library comes back by itself, with the lease that the daemon gave, and reports it.
//! It refuses to hide what that costs: packets in the old rings are lost, and the old channels are dead.
use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    control::{
        answer::ReplyError,
        connection::{CallError, Connection, DEFAULT_TIMEOUT},
        event,
        refusal::Refusal,
        request::{Call, LocalAddr, OnCrash, Proto},
        stack::{
            MAX_ATTACHED_TUPLES, ReserveMode, StackAttach, StackOpen, StackOpened, StackRegister,
            StackRelease,
        },
    },
    shm::{
        channel::Channel,
        region::{RegionError, Regions},
    },
};

pub use crate::control::{connection::ConnectError, event::Reason};

/// First pause between two attempts to come back; each is twice as long as the last.
pub const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause between two attempts to come back.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection that is not a session yet.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    path: PathBuf,
}

/// What a session is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackOptions {
    /// What people see in lists: 1 to [`MAX_STACK_NAME`] bytes, no control characters.
    ///
    /// [`MAX_STACK_NAME`]: crate::control::stack::MAX_STACK_NAME
    pub name: String,
    /// Slots of each Rx ring: a power of two from 64 to 4096.
    pub rx_slots: u32,
    /// Slots of each Tx ring: a power of two from 64 to 4096.
    pub tx_slots: u32,
    /// What frames to be sent may look like.
    pub frames: Frames,
}

/// What frames to be sent may look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// IP packets; the daemon writes the Ethernet header.
    #[default]
    Ip,
    /// They may bring an Ethernet header of their own, if policy allows it.
    Ethernet,
}

/// What an application registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Transport protocol.
    pub proto: Proto,
    /// Local address, or any of the served interfaces.
    pub addr: LocalAddr,
    /// Local port; 0 lets the daemon choose one.
    pub port: u16,
    /// What becomes of its packets while no daemon runs; `None` leaves it to the administrator, whose default is that they
    /// are dropped.
    pub on_crash: Option<OnCrash>,
    /// Whether ICMP errors that quote this tuple are delivered.
    pub icmp: IcmpErrors,
}

/// Whether ICMP errors that quote a tuple are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IcmpErrors {
    /// They go to the OS stack.
    #[default]
    Leave,
    /// They come with the flag `ICMP_ERROR`.
    Deliver,
}

/// Who holds the port against the OS stack.
#[derive(Debug, Default)]
pub enum Reserve {
    /// The daemon binds a placeholder.
    #[default]
    Daemon,
    /// This bound socket: never listening, never read. The daemon keeps a duplicate of it.
    Socket(OwnedFd),
}

/// A tuple's number within its session: what `RxFrame::tuple` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TupleId(pub u16);

/// A tuple that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// What was asked for.
    pub want: Tuple,
    /// Its port, where the daemon chose it.
    pub port: u16,
    /// The addresses that steered to it when it was registered, the first 64 of them.
    pub addrs: Vec<IpAddr>,
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A tuple is gone.
    Revoked {
        /// Which.
        tuple: TupleId,
        /// Why.
        reason: Reason,
    },
    /// The session is over, and all its tuples are gone. Nothing comes after this.
    Over(Over),
    /// The tuple's address is on no served interface any more.
    AddressGone(TupleId),
    /// It is there again.
    AddressBack(TupleId),
    /// The daemon is gone; the channels are dead. [`Stack::poll_event`] tries to come back.
    Disconnected,
    /// It is back, with these tuples. [`Stack::take_channels`] has new channels.
    Reconnected(Vec<TupleId>),
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// The daemon revoked it.
    Revoked(Reason),
    /// A new daemon will not take it back: the lease is unknown to it or past its grace, or this user may not any more.
    NotTakenBack(Refusal),
    /// A new daemon takes it back with memory that cannot be used.
    Unusable,
}

/// Why there is no session.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The daemon does not answer, or refuses.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What came beside the answer is not what it describes.
    #[error("{given} descriptors came, {wanted} were promised")]
    Descriptors {
        /// How many came.
        given: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// The memory cannot be used.
    #[error(transparent)]
    Regions(#[from] RegionError),
}

/// Why a tuple is not registered, or not released.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The daemon does not answer, or refuses.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The daemon is gone, or the session over.
    #[error("there is no daemon now")]
    Disconnected,
}

/// A session.
#[derive(Debug)]
pub struct Stack {
    path: PathBuf,
    link: Link,
    opened: StackOpened,
    channels: Vec<Channel>,
    tuples: BTreeMap<TupleId, Registered>,
    events: VecDeque<Event>,
}

#[derive(Debug)]
enum Link {
    Up(Connection),
    Down { next: Instant, pause: Duration },
    Over,
}

impl Client {
    /// Connects to the daemon whose control socket this is.
    ///
    /// # Errors
    /// [`ConnectError`], which tells a daemon that is not there from one that may not be asked.
    pub fn connect(path: &Path) -> Result<Self, ConnectError> {
        let connection = Connection::open(path, DEFAULT_TIMEOUT)?;
        Ok(Self { connection, path: path.to_path_buf() })
    }

    /// Makes this connection a session.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(mut self, options: &StackOptions) -> Result<Stack, OpenError> {
        let open = StackOpen {
            name: options.name.clone(),
            rx_slots: options.rx_slots,
            tx_slots: options.tx_slots,
            l2: options.frames == Frames::Ethernet,
        };
        let (opened, channels) = session(&mut self.connection, &open, Clone::clone)?;
        Ok(Stack {
            path: self.path,
            link: Link::Up(self.connection),
            opened,
            channels,
            tuples: BTreeMap::new(),
            events: VecDeque::new(),
        })
    }
}

/// Makes a call whose answer brings a session's memory.
fn session<C: Call>(
    connection: &mut Connection,
    call: &C,
    opened: impl Fn(&C::Answer) -> StackOpened,
) -> Result<(C::Answer, Vec<Channel>), OpenError> {
    let (answer, fds) = connection.call_with(call, &[])?;
    let wanted = 2 + usize::from(opened(&answer).channels);
    let given = fds.len();
    let mut fds = fds.into_iter();
    let (Some(down), Some(up), true) = (fds.next(), fds.next(), given == wanted) else {
        return Err(OpenError::Descriptors { given, wanted });
    };
    let regions = Regions::map(&down, &up)?;
    let bells = usize::from(regions.shape.channels());
    if 2 + bells != wanted {
        return Err(OpenError::Descriptors { given, wanted: 2 + bells });
    }
    Ok((answer, Channel::all(&regions, fds.collect())))
}

impl StackOptions {
    /// The default options under this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let slots = abi::shm::layout::DEFAULT_SLOTS;
        Self { name: name.to_owned(), rx_slots: slots, tx_slots: slots, frames: Frames::Ip }
    }
}

impl Tuple {
    /// This tuple, with the administrator's choice of what happens while no daemon runs, without ICMP errors.
    #[must_use]
    pub const fn new(proto: Proto, addr: LocalAddr, port: u16) -> Self {
        Self { proto, addr, port, on_crash: None, icmp: IcmpErrors::Leave }
    }
}

impl RegisterError {
    /// What the daemon said, if it refused.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Call(CallError::Reply(ReplyError::Refused(refusal))) => Some(refusal),
            _ => None,
        }
    }
}

impl Stack {
    /// Registers a tuple: from now on its packets come to the channels, and packets from it may be sent.
    ///
    /// # Errors
    /// [`RegisterError`]; what the daemon refused has changed nothing.
    pub fn register(&mut self, want: &Tuple, reserve: Reserve) -> Result<TupleId, RegisterError> {
        let (mode, socket) = match reserve {
            Reserve::Daemon => (ReserveMode::Daemon, None),
            Reserve::Socket(socket) => (ReserveMode::Fd, Some(socket)),
        };
        let register = StackRegister {
            proto: want.proto,
            addr: want.addr,
            port: want.port,
            reserve: mode,
            on_crash: want.on_crash,
            icmp: want.icmp == IcmpErrors::Deliver,
            uid: None,
        };
        let fds: Vec<BorrowedFd<'_>> = socket.iter().map(AsFd::as_fd).collect();
        let answer = self.call(&register, &fds)?;
        let id = TupleId(answer.tuple);
        self.tuples.insert(id, Registered { want: *want, port: answer.port, addrs: answer.addrs });
        Ok(id)
    }

    /// Gives a tuple back: after this nothing of it is delivered.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn release(&mut self, id: TupleId) -> Result<(), RegisterError> {
        self.call(&StackRelease::number(id.0), &[])?;
        self.tuples.remove(&id);
        Ok(())
    }

    /// The tuples that are registered now.
    pub fn tuples(&self) -> impl Iterator<Item = (TupleId, &Registered)> {
        self.tuples.iter().map(|(&id, registered)| (id, registered))
    }

    /// The channels that nobody has taken yet: all of them after `open` and after [`Event::Reconnected`].
    pub fn take_channels(&mut self) -> Vec<Channel> {
        std::mem::take(&mut self.channels)
    }

    /// What the daemon answered to `open`, or when it took the session back.
    #[must_use]
    pub const fn opened(&self) -> &StackOpened {
        &self.opened
    }

    /// The next thing that happened. Never waits for the daemon to speak; while there is none, it tries to come back
    /// whenever [`Stack::next_attempt`] is over.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            match &mut self.link {
                Link::Up(connection) => match connection.poll_event() {
                    Ok(Some(said)) => self.hear(said),
                    Ok(None) => {}
                    Err(_) => self.lose(),
                },
                Link::Down { next, pause } if *next <= Instant::now() => {
                    let pause = *pause;
                    self.come_back(pause);
                }
                Link::Down { .. } | Link::Over => {}
            }
        }
        self.events.pop_front()
    }

    /// When [`Stack::poll_event`] tries to come back; `None` while the daemon is there, or the session over.
    #[must_use]
    pub const fn next_attempt(&self) -> Option<Instant> {
        match self.link {
            Link::Down { next, .. } => Some(next),
            Link::Up(_) | Link::Over => None,
        }
    }

    /// Readable when an event may be there; `None` while there is no daemon.
    #[must_use]
    pub fn control(&self) -> Option<BorrowedFd<'_>> {
        match &self.link {
            Link::Up(connection) => Some(connection.as_fd()),
            Link::Down { .. } | Link::Over => None,
        }
    }

    fn call<C: Call>(&mut self, call: &C, fds: &[BorrowedFd<'_>]) -> Result<C::Answer, RegisterError> {
        let Link::Up(connection) = &mut self.link else { return Err(RegisterError::Disconnected) };
        match connection.call_with(call, fds) {
            Ok((answer, _)) => Ok(answer),
            Err(error) => {
                // After anything but a refusal the connection is out of step.
                if !matches!(error, CallError::Reply(ReplyError::Refused(_)) | CallError::Request(_)) {
                    self.lose();
                }
                Err(error.into())
            }
        }
    }

    fn hear(&mut self, said: event::Event) {
        let event = match said {
            event::Event::Revoked { tuple: Some(tuple), reason, .. } => {
                self.tuples.remove(&TupleId(tuple));
                Event::Revoked { tuple: TupleId(tuple), reason }
            }
            event::Event::Revoked { tuple: None, reason, .. } => return self.end(Over::Revoked(reason)),
            event::Event::AddressGone { tuple } => Event::AddressGone(TupleId(tuple)),
            event::Event::AddressBack { tuple } => Event::AddressBack(TupleId(tuple)),
        };
        self.events.push_back(event);
    }

    fn lose(&mut self) {
        self.link = Link::Down { next: Instant::now(), pause: FIRST_PAUSE };
        self.channels.clear();
        self.events.push_back(Event::Disconnected);
    }

    fn end(&mut self, why: Over) {
        self.link = Link::Over;
        self.channels.clear();
        self.tuples.clear();
        self.events.push_back(Event::Over(why));
    }

    fn come_back(&mut self, pause: Duration) {
        let attach = StackAttach { lease: self.opened.lease };
        let attempt = Connection::open(&self.path, DEFAULT_TIMEOUT).ok().map(|mut connection| {
            let back = session(&mut connection, &attach, |answer| answer.opened.clone());
            (connection, back)
        });
        match attempt {
            Some((connection, Ok((attached, channels)))) => {
                self.link = Link::Up(connection);
                self.channels = channels;
                let tuples: Vec<TupleId> = attached.tuples.iter().copied().map(TupleId).collect();
                if tuples.len() < MAX_ATTACHED_TUPLES {
                    self.tuples.retain(|id, _| tuples.contains(id));
                }
                self.opened = attached.opened;
                self.events.push_back(Event::Reconnected(tuples));
            }
            Some((_, Err(OpenError::Call(CallError::Reply(ReplyError::Refused(refusal))))))
                if !refusal.code.may_pass() =>
            {
                self.end(Over::NotTakenBack(refusal));
            }
            Some((_, Err(OpenError::Regions(_) | OpenError::Descriptors { .. }))) => self.end(Over::Unusable),
            // As long as its grace lasts, which the daemon knows: after that it says that the lease is stale.
            Some((_, Err(OpenError::Call(_)))) | None => {
                self.link =
                    Link::Down { next: Instant::now() + pause, pause: (pause * 2).min(LONGEST_PAUSE) };
            }
        }
    }
}

#[cfg(test)]
mod tests;
