//! One channel: the ring pair between this session and one worker, and how to sleep on it.
//!
//! A channel belongs to one thread at a time. It refuses to believe a daemon that breaks the rules of its rings: such
//! a channel looks revoked, and never panics.
use std::{
    cell::Cell,
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use abi::shm::{
    counter::ChannelCounter,
    layout::{DownChannel, STATE, State, feature},
    memory::Memory,
    ring::{self, Fenced, rx_flags},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv},
};

use super::{
    region::{Down, Regions, Up},
    rx::{RxBurst, RxHalf},
    tx::{TxBurst, TxHalf},
};

/// Most bytes that one look takes out of the bell.
const DRAIN: usize = 64;

/// One channel.
///
/// # Invariants
/// There is one `Channel` of this number for these regions: only [`Channel::all`] makes them, of regions and bells it
/// is given for good.
#[derive(Debug)]
pub struct Channel {
    down: Down,
    up: Up,
    flags_at: usize,
    counters_at: DownChannel,
    rx: RxHalf,
    tx: TxHalf,
    number: u16,
    mtu: usize,
    features: u32,
    /// One thread each: `Send`, not `Sync`.
    _one_thread: PhantomData<Cell<()>>,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Received packets.
    Rx,
    /// Room for packets to be sent.
    Tx,
    /// Either.
    Both,
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Packets received.
    pub rx: u32,
    /// Free Tx slots.
    pub tx: u32,
    /// How the session is: once it is [`State::Revoked`], nothing will ever come.
    pub session: State,
}

/// Whether anybody is left to ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bell {
    /// Yes, whether it rang or not.
    Rings,
    /// No: the daemon is gone.
    HungUp,
}

impl Interest {
    const fn flags(self) -> u32 {
        match self {
            Self::Rx => rx_flags::WAKE_ON_RX,
            Self::Tx => rx_flags::WAKE_ON_TX_SPACE,
            Self::Both => rx_flags::WAKE_ON_RX | rx_flags::WAKE_ON_TX_SPACE,
        }
    }

    const fn is_met_by(self, ready: Ready) -> bool {
        let (rx, tx) = (0 < ready.rx, 0 < ready.tx);
        let met = match self {
            Self::Rx => rx,
            Self::Tx => tx,
            Self::Both => rx || tx,
        };
        met || matches!(ready.session, State::Revoked)
    }
}

impl Channel {
    /// Every channel of a session, one bell each.
    pub(crate) fn all(regions: &Regions, bells: Vec<OwnedFd>) -> Vec<Self> {
        Self::starting_at(regions, bells, 0)
    }

    fn starting_at(regions: &Regions, bells: Vec<OwnedFd>, start: u32) -> Vec<Self> {
        let make = |(number, bell): (u16, OwnedFd)| {
            let (down_at, up_at) = (regions.shape.down(number)?, regions.shape.up(number)?);
            Some(Self {
                down: regions.down.clone(),
                up: regions.up.clone(),
                flags_at: up_at.rx_flags(),
                counters_at: down_at,
                rx: RxHalf::new(regions, down_at, up_at, start),
                tx: TxHalf::new(regions, down_at, up_at, bell, start),
                number,
                mtu: regions.session.mtu as usize,
                features: regions.session.features,
                _one_thread: PhantomData,
            })
        };
        (0..).zip(bells).filter_map(make).collect()
    }

    /// Every channel of a session whose regions came another way than a control connection, and whose rings are at
    /// `start`: with the daemon's end in the same process both can be tested against each other.
    #[cfg(feature = "lab")]
    #[must_use]
    pub fn over(regions: Regions, bells: Vec<OwnedFd>, start: u32) -> Vec<Self> {
        Self::starting_at(&regions, bells, start)
    }

    /// Its number in the session.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Longest IP packet.
    #[must_use]
    pub const fn mtu(&self) -> usize {
        self.mtu
    }

    /// Bits of `abi::shm::layout::feature`.
    #[must_use]
    pub const fn features(&self) -> u32 {
        self.features
    }

    /// Whether TCP and UDP checksums of received packets may be incomplete, because their sender was on this host.
    #[must_use]
    pub const fn has_partial_checksums(&self) -> bool {
        self.features & feature::RX_CSUM_PARTIAL != 0
    }

    /// How the session is.
    #[must_use]
    pub fn session(&self) -> State {
        State::from_word(self.down.load_u32(STATE, Ordering::Acquire))
    }

    /// A counter that the daemon keeps for this channel.
    #[must_use]
    pub fn counter(&self, which: ChannelCounter) -> u64 {
        self.down.load_u64(self.counters_at.counter(which.index()))
    }

    /// At most `max` received packets; their slots are given back when the burst is dropped.
    #[inline]
    pub fn rx(&mut self, max: usize) -> RxBurst<'_> {
        self.rx.burst(max)
    }

    /// Room for at most `max` packets to be sent; what was committed goes out when the burst is dropped.
    #[inline]
    pub fn tx(&mut self, max: usize) -> TxBurst<'_> {
        self.tx.burst(max)
    }

    /// Both halves at once: for those who answer a packet while they read it.
    pub const fn split(&mut self) -> (&mut RxHalf, &mut TxHalf) {
        (&mut self.rx, &mut self.tx)
    }

    /// What there is now.
    pub fn ready(&mut self) -> Ready {
        match (self.rx.waiting(), self.tx.room()) {
            (Ok(rx), Ok(tx)) => Ready { rx, tx, session: self.session() },
            _ => Ready { rx: 0, tx: 0, session: State::Revoked },
        }
    }

    /// Sleeps until there is something of what is asked, the session is revoked, or `timeout` is over.
    ///
    /// # Errors
    /// What poll(2) says; EINTR is a wake-up like any other.
    pub fn wait(&mut self, what: Interest, timeout: Option<Duration>) -> io::Result<Ready> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let flags_at = self.flags_at;
        loop {
            ring::arm(&self.up, flags_at, what.flags());
            let _fenced = Fenced::by(&self.up);
            let ready = self.ready();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if what.is_met_by(ready) || left.is_some_and(|left| left.is_zero()) {
                ring::disarm(&self.up, flags_at);
                return Ok(ready);
            }
            let slept = sleep(self.as_fd(), left);
            ring::disarm(&self.up, flags_at);
            match slept? {
                Bell::Rings => _ = self.drain(),
                // The daemon is gone, and with it whoever could write the state.
                Bell::HungUp => return Ok(Ready { session: State::Revoked, ..self.ready() }),
            }
        }
    }

    /// Takes out what the daemon has rung. For those who poll the bell themselves: drain, arm, and look.
    pub fn drain(&self) -> Bell {
        match recv(self.as_fd().as_raw_fd(), &mut [0; DRAIN], MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::ECONNRESET) => Bell::HungUp,
            Ok(_) | Err(_) => Bell::Rings,
        }
    }

    /// For those who poll the bell themselves: asks to be rung, and returns what there is already.
    pub fn arm(&mut self, what: Interest) -> Ready {
        ring::arm(&self.up, self.flags_at, what.flags());
        let _fenced = Fenced::by(&self.up);
        self.ready()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tx.bell()
    }
}

fn sleep(bell: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<Bell> {
    // Rounded up, so that the last millisecond is slept and not spun through.
    let whole = |limit: Duration| {
        i32::try_from(limit.as_micros().div_ceil(1000)).ok().and_then(|ms| PollTimeout::try_from(ms).ok())
    };
    let limit = limit.map_or(PollTimeout::NONE, |limit| whole(limit).unwrap_or(PollTimeout::MAX));
    let mut fds = [PollFd::new(bell, PollFlags::POLLIN)];
    match poll(&mut fds, limit) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    let hung_up = fds.iter().any(|fd| fd.revents().is_some_and(|seen| seen.intersects(gone)));
    Ok(if hung_up { Bell::HungUp } else { Bell::Rings })
}
