//! What nearly every test begins and ends with: a pair, a daemon that serves one end, and the books closed after.
use std::{net::SocketAddr, time::Instant};

use anyhow::{Result, ensure};

use super::{
    books::{self, Reading},
    config::Config,
    daemon::Daemon,
    frame::Flow,
    load::{Load, Tally, Wire},
    tap::Tap,
    veth::{Pair, PairOptions},
};

/// A daemon on the served end of a pair.
#[derive(Debug)]
pub struct Served {
    /// The daemon; it ends before the namespaces go.
    pub daemon: Daemon,
    /// The wire.
    pub pair: Pair,
}

impl Served {
    /// Makes a pair and starts a daemon on it.
    ///
    /// # Errors
    /// Either fails.
    pub fn new(pair: PairOptions, config: &Config) -> Result<Self> {
        let pair = Pair::new(pair)?;
        Ok(Self { daemon: Daemon::start(&pair.served, config)?, pair })
    }

    /// A load from the peer to UDP port `port` of the served end: `flows` flows, by turns of IPv4 and IPv6.
    #[must_use]
    pub fn load(&self, port: u16, flows: u16, payload: usize) -> Load {
        let flow = |i: u16| {
            let family = if i.is_multiple_of(2) { Flow::v4 } else { Flow::v6 };
            family(&self.pair.peer, 20_000 + i, &self.pair.served, port)
        };
        Load::new((0..flows).map(flow).collect(), payload)
    }

    /// The frames from this UDP port that wait at a tap, oldest first; others are left out.
    ///
    /// # Errors
    /// The device is gone.
    pub fn frames_of(tap: &Tap, port: u16) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        while let Some(frame) = tap.receive(Instant::now())? {
            let at = if frame.get(12..14) == Some(&[0x86, 0xdd]) { 54 } else { 34 };
            if frame.get(at..at + 2) == Some(&port.to_be_bytes()) {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    /// The served end's IPv4 address with `port`.
    #[must_use]
    pub fn address(&self, port: u16) -> SocketAddr {
        (self.pair.served.v4, port).into()
    }

    /// Waits until everything is at rest, and reads all counters.
    ///
    /// # Errors
    /// It never comes to rest.
    pub fn drain(&mut self) -> Result<Reading> {
        books::drain(&mut self.daemon)
    }

    /// Has `count` frames of `load`, numbered from `first`, echoed over `wire`: every one comes back once and in order,
    /// and exactly the counters of an echo move.
    ///
    /// # Errors
    /// Otherwise; the error has what became of the frames, and the counters that moved.
    pub fn echoes(&mut self, load: &Load, wire: &dyn Wire, first: u64, count: u64) -> Result<()> {
        let before = self.drain()?;
        let tally = load.echo_from(wire, first, count)?;
        let after = Reading::of(&mut self.daemon)?;
        ensure!(tally == Tally::whole(count), "{tally:?}\ncounters: {:?}", after.moves(&before));
        self.drain()?.moved(&before, &books::echoed(count, load.bytes(first, count)?))
    }

    /// Closes both books, puts the daemon down and checks that nothing of it is left: the end of a test.
    ///
    /// # Errors
    /// A packet, a frame, a pin, a program or a setting is not where it should be.
    pub fn finish(mut self) -> Result<()> {
        books::balance(&mut self.daemon, &self.pair.served)?;
        self.daemon.down(&self.pair.served)
    }
}
