//! A channel as a smoltcp device: any program written on smoltcp runs on Octroi.
//!
//! It carries IP packets and no Ethernet (`Medium::Ip`): the OS answers ARP and neighbour discovery, and the daemon
//! knows the next hops. It refuses to lose what it has no room for: while the Tx ring is full, nothing is received.
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use abi::shm::{desc::Form, layout::State};
use smoltcp::{
    phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    time::Instant,
};

use crate::shm::{
    channel::{Bell, Channel, Interest, Ready},
    rx::RxBurst,
    tx::TxBurst,
};

/// A channel that smoltcp drives.
#[derive(Debug)]
pub struct OctroiDevice {
    channel: Channel,
}

/// One received packet, read where it lies.
#[derive(Debug)]
pub struct Received<'a>(RxBurst<'a>);

/// Room for one packet.
#[derive(Debug)]
pub struct Room<'a>(TxBurst<'a>);

impl OctroiDevice {
    /// Makes a device of a channel. One interface each: a tuple's packets come by the channel of the queue that they
    /// arrived on.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// Sleeps until the device has something for smoltcp, the session is revoked or `timeout` is over.
    ///
    /// # Errors
    /// As [`Channel::wait`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        let what = self.interest();
        self.channel.wait(what, timeout)
    }

    /// What there is now.
    pub fn ready(&mut self) -> Ready {
        self.channel.ready()
    }

    /// For those who poll the bell themselves: asks to be rung as [`OctroiDevice::wait`] would, and returns what there
    /// is already.
    pub fn arm(&mut self) -> Ready {
        let what = self.interest();
        self.channel.arm(what)
    }

    /// For those who poll the bell themselves: takes out what was rung. Drain, then look.
    pub fn drain(&self) -> Bell {
        self.channel.drain()
    }

    /// With a full Tx ring nothing is received, so a received packet is no reason to wake then.
    fn interest(&mut self) -> Interest {
        if self.channel.ready().tx == 0 { Interest::Tx } else { Interest::Rx }
    }

    /// How the session is.
    #[must_use]
    pub fn session(&self) -> State {
        self.channel.session()
    }

    /// The channel again.
    #[must_use]
    pub fn into_channel(self) -> Channel {
        self.channel
    }
}

/// The bell.
impl AsFd for OctroiDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Device for OctroiDevice {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room<'_>)> {
        let (rx, tx) = self.channel.split();
        let room = tx.burst(1);
        if room.room() == 0 {
            return None;
        }
        let received = rx.burst(1);
        (!received.is_empty()).then_some((Received(received), Room(room)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        let room = self.channel.tx(1);
        (room.room() != 0).then_some(Room(room))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = self.channel.mtu();
        if self.channel.has_partial_checksums() {
            // The IPv4 header's is complete, and was checked by the worker.
            caps.checksum.tcp = Checksum::Tx;
            caps.checksum.udp = Checksum::Tx;
        }
        caps
    }
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0.get(0).map(|frame| frame.packet()).unwrap_or_default())
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        if let Some(slot) = self.0.next()
            && len <= slot.bytes.len()
        {
            let result = f(&mut slot.bytes[..len]);
            // It fits, so it is committed.
            let _ = slot.commit(len, Form::L3);
            return result;
        }
        // Longer than the MTU, or than there was room for: written to nowhere, as smoltcp has no way to be told.
        f(&mut vec![0; len])
    }
}

#[cfg(test)]
mod tests;
