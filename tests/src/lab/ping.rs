//! Echo requests through the OS stack: the legacy traffic that Octroi must never touch.
//!
//! Written here because a small machine has no `ping`.
use std::{
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, connect, recv, send,
        socket,
    },
};

use super::netns::Netns;

/// How long an answer may take before it counts as lost: longer than any pause of the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open raw ICMP socket towards one address.
#[derive(Debug)]
pub struct Ping {
    fd: OwnedFd,
    to: IpAddr,
    identifier: u16,
    next: u16,
}

impl Ping {
    /// Opens a socket in `netns` that talks to `to`.
    ///
    /// # Errors
    /// There is no route, or no raw socket may be opened.
    pub fn open(netns: &Netns, to: IpAddr) -> Result<Self> {
        let (family, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let fd = netns.enter(|| {
            socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)
        })?;
        let fd = fd.context("cannot open a raw ICMP socket")?;
        connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(to, 0)))
            .context("no way to the target")?;
        // Unique per process and socket: other raw sockets of the namespace see the same replies.
        let identifier = (std::process::id() as u16) ^ (fd.as_raw_fd() as u16).rotate_left(8);
        Ok(Self { fd, to, identifier, next: 0 })
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    /// It was lost, or the network is down.
    pub fn once(&mut self) -> Result<()> {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        send(self.fd.as_raw_fd(), &self.request(sequence), MsgFlags::empty())
            .context("cannot send a request")?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 2048];
        loop {
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(len) if self.is_reply(&buffer[..len], sequence) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() < deadline => {
                    poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(100_u8))
                        .ok();
                }
                Err(Errno::EAGAIN) => bail!("no echo reply from {} to request {sequence}", self.to),
                Err(why) => bail!("cannot receive echo replies from {}: {why}", self.to),
            }
        }
    }

    /// Sends `count` requests, one after the other, each waiting for its reply.
    ///
    /// # Errors
    /// One was lost.
    pub fn times(&mut self, count: u16) -> Result<()> {
        (0..count).try_for_each(|_| self.once())
    }

    fn request(&self, sequence: u16) -> [u8; 16] {
        let mut packet = [0; 16];
        packet[0] = if self.to.is_ipv4() { 8 } else { 128 };
        packet[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        packet[8..].copy_from_slice(b"octroi!\n");
        if self.to.is_ipv4() {
            // ICMPv6 checksums are the kernel's work on raw sockets, ICMP ones are ours.
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    fn is_reply(&self, packet: &[u8], sequence: u16) -> bool {
        // An IPv4 raw socket delivers the IP header too, an IPv6 one does not.
        let (header, reply) = if self.to.is_ipv4() {
            (packet.first().map_or(0, |b| usize::from(b & 15) * 4), 0)
        } else {
            (0, 129)
        };
        let sent = self.request(sequence);
        packet
            .get(header..)
            .is_some_and(|icmp| icmp.first() == Some(&reply) && icmp.get(4..) == Some(&sent[4..]))
    }
}

/// RFC 1071 over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    !((folded & 0xFFFF) + (folded >> 16)) as u16
}
