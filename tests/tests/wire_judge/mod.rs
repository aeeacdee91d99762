//! The XDP object where it will live: attached to a veth, frames sent from the other end, redirects received.
//!
//! What it says of a frame is read from the counters; a redirected frame must arrive at the socket byte for byte, with
//! the metadata before it. One frame is on its way at a time, so the counters are that frame's alone.
use std::os::fd::AsFd as _;

use abi::{counter::XdpCounter, rxmeta::RxMeta};
use anyhow::{Context as _, Result, bail, ensure};
use ixp::port::{Port as _, PortId, Receive as _};
use octroi_tests::{
    judge::{Judgement, Setting, counts_of, reason},
    lab::{Pair, PairOptions, Tap, until},
};
use xsk::{
    bpf::{AttachSpec, Attached, Counters, Counts, Datagrams, Instance, XdpMode},
    socket::{InterfaceName, QueueConfig, XskPort, XskReceive, XskTransmit},
};

/// A veth pair with the programs on one end.
pub(crate) struct Veth {
    peer: Tap,
    setting: Setting,
    counters: Counters,
    datagrams: Datagrams,
    rx: XskReceive,
    // The socket leaves the program's map before the program goes.
    _tx: XskTransmit,
    _attached: Attached,
    _pair: Pair,
}

impl Veth {
    /// Attaches the programs for a setting. The pair has MAC addresses of its own: its kernel takes no frame for its own.
    pub(crate) fn new(setting: Setting) -> Result<Self> {
        let pair = Pair::new(PairOptions::default())?;
        let spec = AttachSpec {
            ifname: pair.served.ifname.clone(),
            ifindex: pair.served.ifindex()?,
            mode: XdpMode::Native,
            config: setting.port,
        };
        let instance = Instance::unpinned()?;
        let mut steering = instance.steering()?;
        for (&key, &target) in &setting.table {
            steering.put(key, target)?;
        }
        let mut datagrams = instance.datagrams()?;
        setting.datagrams.values().try_for_each(|&entry| datagrams.put(entry))?;
        let mut queue = QueueConfig::new(InterfaceName::new(&pair.served.ifname)?, 0, PortId::new(0));
        queue.vlan_tags = abi::port::MAX_TAGS as u32;
        let (attached, port) = pair
            .served
            .netns
            .enter(|| -> Result<_> { Ok((instance.attach(&spec)?, XskPort::open(&queue)?)) })??;
        attached.xsks()?.set(queue.queue, port.xsk_fd().as_fd())?;
        let (mut rx, tx) = port.split();
        rx.refill()?;
        let peer = Tap::open(&pair.peer)?;
        let counters = instance.counters()?;
        Ok(Self { peer, setting, counters, datagrams, rx, _tx: tx, _attached: attached, _pair: pair })
    }

    /// Whether a packet socket sends such a frame over a link of MTU 1500.
    pub(crate) fn takes(frame: &[u8]) -> bool {
        (14..=1514).contains(&frame.len())
    }

    /// What becomes of a frame.
    pub(crate) fn judge(&mut self, frame: &[u8]) -> Result<Judgement> {
        let before = self.counters.read()?;
        self.peer.send(frame)?;
        let mut moved = Counts::default();
        until("the frame is through the programs", || {
            moved = self.counters.read()?;
            moved.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
            Ok(moved[XdpCounter::Rx as usize] == 1 && reason(&moved).is_ok())
        })?;
        let judgement = match reason(&moved)? {
            XdpCounter::Redirect => Judgement::Redirect(self.receive(frame)?),
            reason => Judgement::Pass(reason),
        };
        ensure!(moved == counts_of(&judgement), "counters moved {moved:?} after {judgement:?}");
        self.setting.undo_change(frame, &mut self.datagrams)?;
        Ok(judgement)
    }

    /// The redirected frame, as it was sent, and its metadata.
    fn receive(&mut self, sent: &[u8]) -> Result<RxMeta> {
        let mut frames = Vec::new();
        until("the redirected frame arrives", || {
            self.rx.receive(&mut frames, 1)?;
            Ok(!frames.is_empty())
        })?;
        let Some(mut frame) = frames.pop() else { bail!("unreachable: it arrived") };
        let (intact, meta) = (frame.bytes() == sent, frame.meta());
        // As the engines do: what lies before a chunk must not be taken for the next frame's.
        frame.set_meta(&RxMeta::default());
        self.rx.recycle(frame);
        self.rx.refill()?;
        ensure!(intact, "redirected, but the frame was changed");
        meta.context("redirected without metadata")
    }
}
