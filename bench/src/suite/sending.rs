//! `app_veth_tx_60`: out of an application in another process and over a veth pair, against bare AF_XDP that sends the same.
//!
//! A figure is what arrives at the other end, where an XDP program counts and drops it: the kernel runs that program on
//! the sender's core, for both alike. The application keeps its rings full; the bare sender writes each packet as well.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use octroi_tests::lab::{App, Config, Daemon, Pair, Wrapper, app::know_taps, frame::turn_around};
use wire::{ethernet::HEADER_LEN, ipv4};
use xsk::bpf::{Generator, LabLink, XdpMode};

use super::stage::{BareRun, SHAPE, SINK, Work, first_frame, pair, plan_between};
use crate::{
    peer::bare::Idle,
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
    traffic::plan::Plan,
};

/// Share of the bare program's rate that sending must reach. A bare sender hands the kernel 64 frames in a call; what ours
/// hands over in one is over in six microseconds, for the sake of others (ADR 0016).
const SHARE: f64 = 0.65;
/// Pairs for each run that is asked for: single runs on a shared machine differ by a third.
const PAIRS: u32 = 3;
/// How long a sender may send before it is measured: its rings are full then.
const RUN_UP: Duration = Duration::from_millis(50);
/// Length of one run.
const RUN: Duration = Duration::from_millis(600);

/// Measures the row.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let (mut ours, mut bare) = (Sender::start()?, Bare::start()?);
    let pairs = interleaved(runs * PAIRS, Better::Higher, || ours.sent(), || bare.sent())?;
    let row = Row::paired("app_veth_tx_60", "packets/s", "bare AF_XDP", &pairs);
    rows.extend(row.map(|row| row.with_limit(SHARE)));
    ours.end()
}

/// A wire whose peer end counts what arrives.
struct Wire {
    arrived: Generator,
    _link: LabLink,
    /// What is sent: a datagram from the sink's port to a tap of the peer end.
    frame: Vec<u8>,
    pair: Pair,
}

impl Wire {
    fn new() -> Result<Self> {
        let pair = pair()?;
        let Pair { peer, served, .. } = &pair;
        let plan = plan_between(peer.mac.0, served.mac.0, peer.tap_v4.into(), served.v4.into(), SINK)?;
        // Nobody answers at the peer end, where every frame is dropped.
        know_taps(&pair)?;
        let (frame, arrived) = (answer(&plan)?, Generator::load(plan.config(), &plan.flows()[..1])?);
        let ifindex = peer.ifindex()?;
        let link = peer.netns.enter(|| arrived.absorb_at(ifindex, XdpMode::Native))??;
        Ok(Self { arrived, _link: link, frame, pair })
    }

    /// Frames a second that arrive while somebody sends.
    fn rate(&mut self) -> Result<f64> {
        thread::sleep(RUN_UP);
        let (before, start) = (self.arrived.absorbed()?, Instant::now());
        thread::sleep(RUN);
        let (after, length) = (self.arrived.absorbed()?, start.elapsed());
        Ok((after - before) as f64 / length.as_secs_f64())
    }
}

/// The answer to the first frame of a plan.
fn answer(plan: &Plan) -> Result<Vec<u8>> {
    let mut frame = first_frame(plan);
    let (link, packet) = frame.split_at_mut_checked(HEADER_LEN).context("a frame without a header")?;
    let (to, from) = link.split_at_mut_checked(6).context("a header without addresses")?;
    to.swap_with_slice(&mut from[..6]);
    turn_around(packet, ipv4::HEADER_LEN).context("a frame without ports")?;
    Ok(frame)
}

/// An application that sends, on a wire and a daemon of its own.
struct Sender {
    app: App,
    daemon: Daemon,
    wire: Wire,
}

impl Sender {
    fn start() -> Result<Self> {
        let wire = Wire::new()?;
        let config = Config { rings: SHAPE.ring, frames: SHAPE.frames, ..Config::default() };
        let daemon = Daemon::start(&wire.pair.served, &config)?;
        // As many slots as the bare sender's ring has.
        let mut app = App::with_slots(daemon.home(), &wire.pair.served, &Wrapper::default(), SHAPE.ring)?;
        app.udp(SINK)?;
        Ok(Self { app, daemon, wire })
    }

    fn sent(&mut self) -> Result<f64> {
        self.app.flood(&self.wire.frame[HEADER_LEN..])?;
        let rate = self.wire.rate();
        self.app.calm()?;
        rate
    }

    fn end(self) -> Result<()> {
        drop(self.app);
        self.daemon.down(&self.wire.pair.served)
    }
}

/// A bare sender on a wire of its own.
struct Bare {
    on: Arc<AtomicBool>,
    _run: BareRun,
    wire: Wire,
}

impl Bare {
    fn start() -> Result<Self> {
        let (wire, on) = (Wire::new()?, Arc::<AtomicBool>::default());
        let work = Work::Send(wire.frame.clone(), Arc::clone(&on));
        let run = BareRun::start(&wire.pair, work, Idle::Sleep, SHAPE)?;
        Ok(Self { on, _run: run, wire })
    }

    fn sent(&mut self) -> Result<f64> {
        self.on.store(true, Ordering::Relaxed);
        let rate = self.wire.rate();
        self.on.store(false, Ordering::Relaxed);
        rate
    }
}
