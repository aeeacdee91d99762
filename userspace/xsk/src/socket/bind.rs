//! Binding a socket to a queue: every degraded mode asked for by name, every refusal named.
//!
//! The kernel frees a queue some 20 ms after its last socket closed. EBUSY is therefore tried again for a second and
//! only then believed. No other refusal is tried twice.
//!
//! libxdp opens its socket without close-on-exec, which is set as soon as the socket is known: a process must not start
//! others from another thread while it opens a port.
#![allow(unsafe_code, reason = "xsk-rs's constructor, whose condition is about sockets that share a UMEM")]

use std::{
    ffi::CString,
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use xsk_rs::{
    CompQueue, FillQueue, RxQueue, TxQueue,
    config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig, SocketConfigBuilder},
};

use super::{
    OpenError,
    call::{Call, CallError},
    config::{BusyPoll, CopyMode, KERNEL_TX_BUDGET, QueueConfig},
    fault,
    handle::SocketHandle,
    syscall,
    umem::kernel_error,
};

/// How long a queue that was just closed may stay taken.
pub const REBIND_BOUND: Duration = Duration::from_secs(1);

/// How long to leave the kernel alone between two attempts.
const REBIND_PAUSE: Duration = Duration::from_millis(4);

/// A bound socket with its four rings, rings first: they are dropped before the socket.
pub(crate) struct Bound {
    pub(crate) tx: TxQueue,
    pub(crate) rx: RxQueue,
    pub(crate) fill: FillQueue,
    pub(crate) completion: CompQueue,
    pub(crate) socket: Arc<SocketHandle>,
    pub(crate) mode: CopyMode,
    pub(crate) tx_budget: u32,
}

/// Binds a socket with this UMEM to the queue that `config` names, and sets the socket's options.
pub(crate) fn bind(config: &QueueConfig, memory: &xsk_rs::Umem) -> Result<Bound, OpenError> {
    let (tx, rx, fill, completion) = patiently(config, REBIND_BOUND, || attempt(config, memory))?;
    let socket = Arc::new(SocketHandle::new(rx.fd(), memory));
    let mut bound =
        Bound { tx, rx, fill, completion, socket, mode: config.mode, tx_budget: KERNEL_TX_BUDGET };
    let fd = bound.socket.as_fd();
    syscall::close_on_exec(fd)?;
    let mode = match syscall::xdp_options(fd)? & libc::XDP_OPTIONS_ZEROCOPY {
        0 => CopyMode::Copy,
        _ => CopyMode::ZeroCopy,
    };
    if mode != config.mode {
        return Err(OpenError::OtherMode { interface: config.interface, asked: config.mode, got: mode });
    }
    if let Some(busy_poll) = config.busy_poll {
        set_busy_poll(&bound, busy_poll)?;
    }
    bound.tx_budget = set_tx_budget(&bound, config.tx_budget)?;
    Ok(bound)
}

type Rings = (TxQueue, RxQueue, FillQueue, CompQueue);

/// Repeats `attempt` while the queue is taken, within `bound`.
fn patiently<T>(
    config: &QueueConfig,
    bound: Duration,
    mut attempt: impl FnMut() -> Result<T, CallError>,
) -> Result<T, OpenError> {
    let deadline = Instant::now() + bound;
    loop {
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if error.errno() != Some(Errno::EBUSY) {
            return Err(refusal(config, error));
        }
        if deadline <= Instant::now() {
            let QueueConfig { interface, queue, .. } = *config;
            return Err(OpenError::Taken { interface, queue, waited: bound });
        }
        thread::sleep(REBIND_PAUSE);
    }
}

fn attempt(config: &QueueConfig, memory: &xsk_rs::Umem) -> Result<Rings, CallError> {
    let refused = |errno| CallError::new(Call::Bind, errno);
    let name = CString::new(config.interface.as_str()).map_err(|_| refused(Errno::EINVAL))?;
    let settings = socket_config(config).ok_or_else(|| refused(Errno::EINVAL))?;
    fault::enter(Call::Bind).map_err(refused)?;
    // SAFETY: the condition concerns a UMEM with a second socket on the same queue; this UMEM gets one socket, and
    // libxdp is told to load no program.
    let made = unsafe { xsk_rs::Socket::new(settings, memory, &Interface::new(name), config.queue) };
    let (tx, rx, rings) = made.map_err(|error| CallError::new(Call::Bind, kernel_error(&error)))?;
    // The first socket of a UMEM always gets its fill and completion ring.
    let (fill, completion) = rings.ok_or_else(|| refused(Errno::EINVAL))?;
    Ok((tx, rx, fill, completion))
}

fn socket_config(config: &QueueConfig) -> Option<SocketConfig> {
    let ring = QueueSize::new(config.ring).ok()?;
    let mode = match config.mode {
        CopyMode::Copy => BindFlags::XDP_COPY,
        CopyMode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
    };
    let mut builder: SocketConfigBuilder = SocketConfig::builder();
    builder
        .rx_queue_size(ring)
        .tx_queue_size(ring)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(mode | BindFlags::XDP_USE_NEED_WAKEUP);
    Some(builder.build())
}

/// What a refusal means for whoever asked.
fn refusal(config: &QueueConfig, error: CallError) -> OpenError {
    let QueueConfig { interface, queue, .. } = *config;
    match error.errno() {
        Some(Errno::EINVAL) => OpenError::QueueInactive { interface, queue, active: None },
        Some(Errno::EOPNOTSUPP) if config.mode == CopyMode::ZeroCopy => OpenError::NoZeroCopy { interface },
        _ => OpenError::Call(error),
    }
}

fn set_busy_poll(bound: &Bound, BusyPoll { timeout_us, budget }: BusyPoll) -> Result<(), CallError> {
    let fd = bound.socket.as_fd();
    syscall::set_option(fd, Call::PreferBusyPoll, 1)?;
    syscall::set_option(fd, Call::BusyPoll, timeout_us)?;
    syscall::set_option(fd, Call::BusyPollBudget, u32::from(budget))
}

/// Sets the budget of a sending call where the kernel can, and returns the one in force.
fn set_tx_budget(bound: &Bound, frames: u32) -> Result<u32, CallError> {
    if bound.mode == CopyMode::ZeroCopy || frames == KERNEL_TX_BUDGET {
        return Ok(KERNEL_TX_BUDGET);
    }
    match syscall::set_option(bound.socket.as_fd(), Call::TxBudget, frames) {
        Ok(()) => Ok(frames),
        Err(error) if error.errno() == Some(Errno::ENOPROTOOPT) => Ok(KERNEL_TX_BUDGET),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use ixp::port::PortId;

    use super::*;
    use crate::socket::InterfaceName;

    fn config(mode: CopyMode) -> QueueConfig {
        let name = InterfaceName::new("veth7").expect("a name");
        QueueConfig { mode, ..QueueConfig::new(name, 3, PortId::new(0)) }
    }

    fn busy() -> CallError {
        CallError::new(Call::Bind, Errno::EBUSY)
    }

    #[test]
    fn a_queue_that_becomes_free_is_taken() {
        let mut left = 3;
        let result = patiently(&config(CopyMode::Copy), REBIND_BOUND, || {
            left -= 1;
            if left == 0 { Ok("bound") } else { Err(busy()) }
        });
        assert_eq!(result.expect("free at the third attempt"), "bound");
    }

    #[test]
    fn a_queue_that_stays_taken_is_an_error_by_name() {
        let error =
            patiently::<()>(&config(CopyMode::Copy), Duration::ZERO, || Err(busy())).expect_err("never free");
        assert_eq!(error.to_string(), "queue 3 of veth7 is still taken by another AF_XDP socket after 0ns");
    }

    #[test]
    fn other_refusals_are_not_repeated() {
        let cases = [
            (CopyMode::Copy, Errno::EINVAL, "queue 3 of veth7 is not active: see `ethtool -l veth7`"),
            (
                CopyMode::ZeroCopy,
                Errno::EOPNOTSUPP,
                "the driver of veth7 has no zero-copy: set copy = \"copy\"",
            ),
            (CopyMode::Copy, Errno::EPERM, "mmap of the rings and bind(AF_XDP): "),
        ];
        for (mode, errno, text) in cases {
            let mut attempts = 0;
            let error = patiently::<()>(&config(mode), REBIND_BOUND, || {
                attempts += 1;
                Err(CallError::new(Call::Bind, errno))
            });
            let error = error.expect_err("refused").to_string();
            assert!(error.starts_with(text), "{error}");
            assert_eq!(attempts, 1);
        }
    }
}
