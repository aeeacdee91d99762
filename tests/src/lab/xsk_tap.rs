//! An AF_XDP socket on one queue of an end, behind a program that redirects everything: frames exactly as they travel.
//!
//! Unlike [`super::tap`] it sees VLAN tags, and it takes the frames: the end's kernel gets none of them.
use std::{
    cell::RefCell,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use abi::pins::LAB_FLOOR;
use anyhow::{Context as _, Result, anyhow};
use ixp::{
    frame::Frame,
    port::{Port as _, PortId, Receive as _, Transmit as _},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use xsk::{
    bpf::{Lab, LabLink, XdpMode},
    socket::{InterfaceName, QueueConfig, XskPort, XskReceive, XskTransmit},
};

use super::{load::Wire, until, veth::End};

/// The end of a wire, in our hands alone.
pub struct XskTap {
    halves: RefCell<Halves>,
    // The program leaves its device before its maps go.
    _link: LabLink,
    _lab: Lab,
}

struct Halves {
    rx: XskReceive,
    tx: XskTransmit,
    waiting: Vec<Frame>,
}

impl XskTap {
    /// Takes queue 0 of an end; frames of other queues are dropped.
    ///
    /// # Errors
    /// The eBPF object was not built, or the interface is occupied.
    pub fn open(end: &End) -> Result<Self> {
        let ifindex = end.ifindex()?;
        let mut config = QueueConfig::new(InterfaceName::new(&end.ifname)?, 0, PortId::new(0));
        config.vlan_tags = abi::port::MAX_TAGS as u32;
        end.netns.enter(|| {
            let mut lab = Lab::load()?;
            let mut sockets = lab.take_floor_sockets()?;
            let link = lab.attach(LAB_FLOOR, ifindex, XdpMode::Native)?;
            let port = XskPort::open(&config)?;
            sockets.set(config.queue, port.xsk_fd().as_fd())?;
            let (mut rx, tx) = port.split();
            rx.refill()?;
            let halves = RefCell::new(Halves { rx, tx, waiting: Vec::new() });
            Ok(Self { halves, _link: link, _lab: lab })
        })?
    }
}

impl Wire for XskTap {
    fn send(&self, bytes: &[u8]) -> Result<()> {
        let Halves { rx, tx, .. } = &mut *self.halves.borrow_mut();
        let mut frame = None;
        until("a frame is free", || {
            rx.refill()?;
            frame = rx.alloc();
            tx.flush()?;
            Ok(frame.is_some())
        })?;
        let mut frame = frame.context("no free frame")?;
        frame.set_len(bytes.len()).map_err(|limit| anyhow!("{} bytes, a frame has {limit}", bytes.len()))?;
        frame.bytes_mut().copy_from_slice(bytes);
        let mut unsent = Some(frame);
        until("the transmit ring has room", || {
            unsent = unsent.take().and_then(|frame| tx.send(frame).err());
            tx.flush()?;
            Ok(unsent.is_none())
        })
    }

    fn receive(&self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let Halves { rx, tx, waiting } = &mut *self.halves.borrow_mut();
        loop {
            tx.flush()?;
            rx.refill()?;
            if waiting.is_empty() {
                rx.receive(waiting, 64)?;
                // Taken from the end below.
                waiting.reverse();
            }
            if let Some(frame) = waiting.pop() {
                let bytes = frame.bytes().to_vec();
                rx.recycle(frame);
                return Ok(Some(bytes));
            }
            let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
            if left.is_zero() {
                return Ok(None);
            }
            let timeout =
                PollTimeout::try_from(left.max(Duration::from_millis(1))).unwrap_or(PollTimeout::ZERO);
            if let Some(fd) = rx.fd() {
                poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).ok();
            }
        }
    }
}
