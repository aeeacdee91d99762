//! An AF_XDP port on one end of a pair, behind a program that redirects every frame to it.
//!
//! No steering and no engine: these tests are about sockets alone. Both books of a port are closed at the end of a
//! test: what was sent arrived or was counted, and every chunk is somewhere.
#![allow(dead_code, reason = "each test program uses its part of this")]

use std::os::fd::AsFd as _;

use abi::pins::LAB_FLOOR;
use anyhow::{Context as _, Result, ensure};
use ixp::{
    frame::Frame,
    port::{Census, Port as _, PortId, Receive as _, RxLosses, Transmit as _},
};
use octroi_tests::lab::{End, until};
use xsk::{
    bpf::{Lab, LabLink, QueueSockets, XdpMode},
    socket::{
        Granted, InterfaceName, LastStatistics, OpenError, QueueConfig, XskPort, XskReceive, XskTransmit,
    },
};

/// A port on an end of a pair.
pub(crate) struct Port {
    // The sockets leave the program's map first, and the program its device last.
    pub(crate) sockets: QueueSockets,
    pub(crate) rx: XskReceive,
    pub(crate) tx: XskTransmit,
    pub(crate) granted: Granted,
    pub(crate) last: LastStatistics,
    _link: LabLink,
    _lab: Lab,
}

/// The defaults for queue 0 of an end.
pub(crate) fn config(end: &End) -> Result<QueueConfig> {
    Ok(QueueConfig::new(InterfaceName::new(&end.ifname)?, 0, PortId::new(0)))
}

/// Opens a socket in an end's namespace.
pub(crate) fn open(end: &End, config: &QueueConfig) -> Result<Result<XskPort, OpenError>> {
    end.netns.enter(|| XskPort::open(config))
}

impl Port {
    /// Opens a port and has every frame of the end redirected to it.
    pub(crate) fn on(end: &End, config: &QueueConfig) -> Result<Self> {
        let mut lab = Lab::load()?;
        let mut sockets = lab.take_floor_sockets()?;
        let ifindex = end.ifindex()?;
        let link = end.netns.enter(|| lab.attach(LAB_FLOOR, ifindex, XdpMode::Native))??;
        let port = open(end, config)??;
        sockets.set(config.queue, port.xsk_fd().as_fd())?;
        let (granted, last) = (port.granted(), port.last_statistics());
        let (rx, tx) = port.split();
        Ok(Self { sockets, rx, tx, granted, last, _link: link, _lab: lab })
    }

    /// A fresh frame with these bytes.
    pub(crate) fn frame(&mut self, bytes: &[u8]) -> Result<Frame> {
        let mut frame = self.rx.alloc().context("no free frame")?;
        frame.set_len(bytes.len()).map_err(|limit| anyhow::anyhow!("{} in {limit}", bytes.len()))?;
        frame.bytes_mut().copy_from_slice(bytes);
        Ok(frame)
    }

    /// Hands a frame to the wire; waits until there is room.
    pub(crate) fn send(&mut self, frame: Frame) -> Result<()> {
        let mut waiting = Some(frame);
        until("the transmit ring has room", || {
            waiting = waiting.take().and_then(|frame| self.tx.send(frame).err());
            self.turn()?;
            Ok(waiting.is_none())
        })
    }

    /// Sends a fresh frame with these bytes.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let frame = self.frame(bytes)?;
        self.send(frame)
    }

    /// What an engine does once per batch.
    pub(crate) fn turn(&mut self) -> Result<()> {
        self.tx.flush()?;
        self.rx.refill()?;
        Ok(())
    }

    /// Receives until `count` frames are there.
    pub(crate) fn receive(&mut self, count: usize) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        until("the frames arrive", || {
            self.rx.receive(&mut frames, count)?;
            self.turn()?;
            Ok(count <= frames.len())
        })?;
        ensure!(frames.len() == count, "{} frames instead of {count}", frames.len());
        Ok(frames)
    }

    /// Gives frames back.
    pub(crate) fn recycle(&mut self, frames: impl IntoIterator<Item = Frame>) {
        frames.into_iter().for_each(|frame| self.rx.recycle(frame));
    }

    /// Waits until nothing is on its way out, then closes the book of the chunks.
    pub(crate) fn balance(&mut self) -> Result<()> {
        until("every sent frame is back", || {
            self.turn()?;
            Ok(self.tx.outstanding() == 0 && self.rx.census().tx == 0)
        })?;
        let Census { frames, free, fill, out, tx } = self.rx.census();
        ensure!((out, tx) == (0, 0) && free + fill == frames, "the chunks: {:?}", self.rx.census());
        ensure!(self.tx.pending() == 0 && self.tx.bad_completions() == 0);
        Ok(())
    }

    /// Asserts that exactly `want` was lost before us.
    pub(crate) fn lost(&self, want: RxLosses) -> Result<()> {
        ensure!(self.rx.losses() == want, "lost {:?} instead of {want:?}", self.rx.losses());
        Ok(())
    }
}
