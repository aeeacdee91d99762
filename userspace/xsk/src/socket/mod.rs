//! AF_XDP sockets as [`ixp::port::Port`]s: one UMEM, one socket and four rings for each queue of an interface.
//!
//! Built on xsk-rs, which nothing outside this module sees: another layer can take its place behind the same trait.
//! Refused here: a second socket on a queue, a silent fallback of any kind, an MTU that does not fit a frame, and
//! multi-buffer packets. Nothing here knows XDP programs; whoever loads them puts [`XskPort::xsk_fd`] into the map
//! that they redirect by.
//!
//! Closing: first take the socket out of that map, then drop both halves, on whichever threads they live. The last
//! one unmaps the rings, then closes the socket, then frees the UMEM.

pub mod call;
pub mod config;
pub mod fault;
pub mod mtu;

mod bind;
mod device;
mod handle;
mod later;
mod outgoing;
mod rx;
mod statistics;
mod syscall;
mod tx;
mod umem;

use std::{os::fd::BorrowedFd, sync::Arc, time::Duration};

use ixp::{
    frame::UmemError,
    port::Port,
    ring::{Consumer, Producer, RingSize, ring},
};
use thiserror::Error;

use self::{bind::Bound, device::Device, rx::Waking, tx::Layout, umem::Cut};
pub use self::{
    bind::REBIND_BOUND,
    call::{Call, CallError, Limit},
    config::{BusyPoll, ConfigError, CopyMode, InterfaceName, QueueConfig},
    device::{ActiveQueues, DeviceError},
    handle::LastStatistics,
    mtu::MtuError,
    outgoing::COMPLETION_BOUND,
    rx::XskReceive,
    statistics::Statistics,
    tx::XskTransmit,
};

/// Descriptors moved between a ring and a half in one go.
pub const BURST: usize = 64;

/// An AF_XDP socket bound to one queue of one interface.
pub struct XskPort {
    receive: XskReceive,
    transmit: XskTransmit,
    granted: Granted,
    last: LastStatistics,
}

/// What was really got: to be shown, so that no degraded mode is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The interface's number.
    pub ifindex: u32,
    /// The queue.
    pub queue: u32,
    /// How packets get to and from the device, as the kernel says.
    pub mode: CopyMode,
    /// Frames one sending call hands over in copy mode: less than asked where the kernel is older than 6.17.
    pub tx_budget: u32,
    /// The interface's MTU when the port was opened.
    pub mtu: u32,
    /// Most bytes of a packet.
    pub capacity: u32,
}

/// Why a port cannot be opened. Nothing is left behind.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The configuration is impossible on any device.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The interface cannot be asked.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The interface's packets do not fit.
    #[error("{interface}: {source}")]
    Mtu {
        /// The interface.
        interface: InterfaceName,
        /// The numbers.
        source: MtuError,
    },
    /// The interface does not use this queue.
    #[error("queue {queue} of {interface} is not active{}: see `ethtool -l {interface}`", ActiveText(.active))]
    QueueInactive {
        /// The interface.
        interface: InterfaceName,
        /// The queue asked for.
        queue: u32,
        /// Queues that are in use, if that was what told us.
        active: Option<ActiveQueues>,
    },
    /// Another socket has the queue.
    #[error("queue {queue} of {interface} is still taken by another AF_XDP socket after {waited:?}")]
    Taken {
        /// The interface.
        interface: InterfaceName,
        /// The queue asked for.
        queue: u32,
        /// How long it was tried.
        waited: Duration,
    },
    /// The driver has no zero-copy.
    #[error("the driver of {interface} has no zero-copy: set copy = \"copy\"")]
    NoZeroCopy {
        /// The interface.
        interface: InterfaceName,
    },
    /// The kernel bound the socket in another mode than was asked for.
    #[error("{interface}: {asked} was asked for, the kernel gave {got}")]
    OtherMode {
        /// The interface.
        interface: InterfaceName,
        /// What was asked for.
        asked: CopyMode,
        /// What the kernel says it is.
        got: CopyMode,
    },
    /// The kernel refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The UMEM cannot be cut into frames.
    #[error(transparent)]
    Umem(#[from] UmemError),
    /// The way back from the sending to the receiving half cannot be made.
    #[error(transparent)]
    Returns(#[from] RingSize),
}

struct ActiveText<'a>(&'a Option<ActiveQueues>);

impl std::fmt::Display for ActiveText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(ActiveQueues { rx, tx }) => write!(f, " ({rx} for receiving, {tx} for sending are)"),
            None => Ok(()),
        }
    }
}

impl XskPort {
    /// Opens the queue that `config` names, in the network namespace of the calling thread.
    ///
    /// Nothing is received before the socket is in the map of an XDP program, and nothing is ever silently
    /// degraded: [`XskPort::granted`] says what was got.
    ///
    /// # Errors
    /// [`OpenError`], with nothing left behind.
    pub fn open(config: &QueueConfig) -> Result<Self, OpenError> {
        config.check()?;
        let device = Device::open(config.interface)?;
        let mtu = device.mtu()?;
        mtu::check(config, mtu).map_err(|source| OpenError::Mtu { interface: config.interface, source })?;
        check_queue(config, device.queues()?)?;
        // All that can fail without a socket comes before it.
        let cut = umem::register(config)?;
        let returns = ring((config.frames as usize).next_power_of_two())?;
        let ifindex = device.index();
        // libxdp needs a descriptor for a moment, and reports its absence as another error: there is one now.
        drop(device);
        let bound = bind::bind(config, &cut.memory)?;
        let granted = Granted {
            ifindex,
            queue: config.queue,
            mode: bound.mode,
            tx_budget: bound.tx_budget,
            mtu,
            capacity: config.capacity(),
        };
        Ok(Self::assemble(config, cut, bound, returns, granted))
    }

    fn assemble(
        config: &QueueConfig,
        cut: Cut,
        bound: Bound,
        returns: (Producer<u32>, Consumer<u32>),
        granted: Granted,
    ) -> Self {
        let layout = Layout {
            own: cut.receiving.id(),
            start: cut.start,
            chunk: config.chunk,
            data_offset: config.data_offset(),
            frames: config.frames,
            ring: config.ring,
            tx_budget: granted.tx_budget,
        };
        let last = bound.socket.last_statistics();
        let transmit = XskTransmit::new(tx::Parts {
            queue: bound.tx,
            completion: bound.completion,
            socket: Arc::clone(&bound.socket),
            id: config.port,
            memory: cut.memory,
            descs: cut.descs.clone(),
            copies: cut.copies,
            returns: returns.0,
            layout,
        });
        let receive = XskReceive::new(rx::Parts {
            queue: bound.rx,
            fill: bound.fill,
            socket: bound.socket,
            id: config.port,
            umem: cut.receiving,
            descs: cut.descs,
            data_offset: config.data_offset(),
            returns: returns.1,
            waking: if config.busy_poll.is_some() { Waking::Always } else { Waking::WhenNeeded },
        });
        Self { receive, transmit, granted, last }
    }

    /// What was really got.
    #[must_use]
    pub fn granted(&self) -> Granted {
        self.granted
    }

    /// The socket, to be put into the map of an XDP program at the index of its queue.
    #[must_use]
    pub fn xsk_fd(&self) -> BorrowedFd<'_> {
        self.receive.socket()
    }

    /// Where the socket's counters will be found once both halves are gone.
    #[must_use]
    pub fn last_statistics(&self) -> LastStatistics {
        self.last.clone()
    }
}

impl Port for XskPort {
    type Rx = XskReceive;
    type Tx = XskTransmit;

    fn split(self) -> (Self::Rx, Self::Tx) {
        (self.receive, self.transmit)
    }
}

fn check_queue(config: &QueueConfig, active: ActiveQueues) -> Result<(), OpenError> {
    let QueueConfig { interface, queue, .. } = *config;
    if queue < active.rx && queue < active.tx {
        return Ok(());
    }
    Err(OpenError::QueueInactive { interface, queue, active: Some(active) })
}
