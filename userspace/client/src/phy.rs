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

/// Packets that leave together at most, where they are gathered: few enough for the worker to begin early.
pub const MOST_GATHERED: usize = 16;

/// A channel that smoltcp drives.
#[derive(Debug)]
pub struct OctroiDevice {
    channel: Channel,
    leaving: Leaving,
}

/// When a packet that smoltcp sends is shown to the worker.
#[derive(Debug)]
enum Leaving {
    AtOnce,
    /// With others, of which there are so many.
    Gathered(usize),
}

/// One received packet, read where it lies.
#[derive(Debug)]
pub struct Received<'a>(RxBurst<'a>);

/// Room for one packet.
#[derive(Debug)]
pub struct Room<'a> {
    burst: TxBurst<'a>,
    leaving: &'a mut Leaving,
}

impl OctroiDevice {
    /// Makes a device of a channel. One interface each: a tuple's packets come by the channel of the queue that they
    /// arrived on.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel, leaving: Leaving::AtOnce }
    }

    /// The same for those who end every round with [`OctroiDevice::flush`], [`OctroiDevice::arm`] or
    /// [`OctroiDevice::wait`]: what smoltcp sends until then leaves together, at most [`MOST_GATHERED`] packets at a time,
    /// and a sleeping worker is rung once for all of them. A received packet that is not answered ends a gathering, too.
    #[must_use]
    pub const fn gathering(channel: Channel) -> Self {
        Self { channel, leaving: Leaving::Gathered(0) }
    }

    /// Lets leave what was gathered.
    pub fn flush(&mut self) {
        if let Leaving::Gathered(held @ 1..) = &mut self.leaving {
            *held = 0;
            // Every burst shows what those before it held back.
            drop(self.channel.tx(0));
        }
    }

    /// Sleeps until the device has something for smoltcp, the session is revoked or `timeout` is over.
    ///
    /// # Errors
    /// As [`Channel::wait`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        self.flush();
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
        self.flush();
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
        let room = Room::of(tx.burst(1), &mut self.leaving)?;
        let received = rx.burst(1);
        (!received.is_empty()).then_some((Received(received), room))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        Room::of(self.channel.tx(1), &mut self.leaving)
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

impl<'a> Room<'a> {
    /// `None` if there is none. A burst without room shows what was gathered, like any other that is dropped: only the
    /// worker can make room.
    fn of(burst: TxBurst<'a>, leaving: &'a mut Leaving) -> Option<Self> {
        if burst.room() == 0 {
            if let Leaving::Gathered(held) = leaving {
                *held = 0;
            }
            return None;
        }
        Some(Self { burst, leaving })
    }
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        if let Some(slot) = self.burst.next()
            && len <= slot.bytes.len()
        {
            let result = f(&mut slot.bytes[..len]);
            // It fits, so it is committed.
            let _ = slot.commit(len, Form::L3);
            match self.leaving {
                Leaving::Gathered(held) if *held + 1 < MOST_GATHERED => {
                    *held += 1;
                    self.burst.hold();
                }
                Leaving::Gathered(held) => *held = 0,
                Leaving::AtOnce => {}
            }
            return result;
        }
        // Longer than the MTU, or than there was room for: written to nowhere, as smoltcp has no way to be told.
        f(&mut vec![0; len])
    }
}

#[cfg(test)]
mod tests;
