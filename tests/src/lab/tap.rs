//! A packet socket on one interface: frames go out as they are, and what arrives is seen as the kernel gets it.
//!
//! Sees what XDP passed to the OS (and what the peer sent), not what XDP redirected or dropped. It does not see VLAN
//! tags: the kernel takes the outermost out of the frame before a packet socket gets it.
use std::{
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send,
        setsockopt, socket, sockopt,
    },
};

use super::{load::Wire, veth::End};

/// `PACKET_OUTGOING` of `linux/if_packet.h`: a frame that this host sent.
const OUTGOING: u8 = 4;

/// Room for bursts: far more than any closed loop keeps in flight.
const RECEIVE_BUFFER: usize = 8 << 20;

/// An open packet socket.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    ifindex: usize,
}

impl Tap {
    /// Opens a socket on an end of a pair.
    ///
    /// # Errors
    /// The interface is not there, or no packet socket may be opened.
    pub fn open(end: &End) -> Result<Self> {
        end.netns.enter(|| Self::open_here(&end.ifname))?
    }

    fn open_here(ifname: &str) -> Result<Self> {
        let address = getifaddrs()?
            .filter(|i| i.interface_name == ifname)
            .find_map(|i| i.address?.as_link_addr().copied())
            .with_context(|| format!("no interface {ifname}"))?;
        let fd = packet_socket()?;
        setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).context("SO_RCVBUFFORCE")?;
        // The address's protocol is 0, which keeps the socket's: every frame, of this interface only.
        bind(fd.as_raw_fd(), &address).with_context(|| format!("cannot bind to {ifname}"))?;
        let tap = Self { fd, ifindex: address.ifindex() };
        while tap.next(&mut [0; 64])?.is_some() {
            // What arrived between socket(2) and bind(2), perhaps on another interface.
        }
        Ok(tap)
    }

    /// Sends a frame; waits while the device's queue is full.
    ///
    /// # Errors
    /// The interface is down or gone, or the frame is longer than its MTU allows.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        loop {
            match send(self.fd.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    self.wait(PollFlags::POLLOUT, Duration::from_secs(1))?
                }
                Err(why) => bail!("cannot send a frame of {} bytes: {why}", frame.len()),
            }
        }
    }

    /// The next frame that arrived, waiting for it until `deadline`.
    ///
    /// # Errors
    /// The interface is down or gone.
    pub fn receive(&self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        // Longer than any frame without jumbo segments; a longer one would be cut, which the length shows.
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(len) = self.next(&mut buffer)? {
                return Ok(Some(buffer[..len].to_vec()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(PollFlags::POLLIN, left)?;
        }
    }

    /// A frame that waits already, if any.
    fn next(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        loop {
            match recvfrom::<LinkAddr>(self.fd.as_raw_fd(), buffer) {
                Ok((len, Some(from))) if from.pkttype() != OUTGOING && from.ifindex() == self.ifindex => {
                    return Ok(Some(len));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(why) => bail!("cannot receive: {why}"),
            }
        }
    }

    fn wait(&self, what: PollFlags, at_most: Duration) -> Result<()> {
        let timeout =
            PollTimeout::try_from(at_most.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.fd.as_fd(), what)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(why) => bail!("poll: {why}"),
        }
    }
}

impl Wire for Tap {
    fn send(&self, frame: &[u8]) -> Result<()> {
        self.send(frame)
    }

    fn receive(&self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        self.receive(deadline)
    }
}

/// Whether a packet socket can be opened at all.
pub(super) fn probe() -> Result<()> {
    packet_socket().map(drop)
}

fn packet_socket() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
        .context("cannot open a packet socket")
}
