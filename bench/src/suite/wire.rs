//! Rows over a veth pair: receiving and echoing as fast as frames come, each against its peers in turns.
//!
//! Ours is the daemon itself with the targets `sink` and `echo`. The generator is the same for all: live frames on core
//! 1, which also runs XDP and the kernel's copy.
use std::cell::RefCell;

use anyhow::Result;
use octroi_tests::lab::{Config, Daemon, Pair};

use super::{
    echoes::{Echo, Who, settled},
    stage::{BareRun, Before, SHAPE, SINK, Work, flood, pair, plan},
};
use crate::{
    peer::bare::Idle,
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
    traffic::plan::Plan,
};

/// Share of the bare program's rate that Octroi must reach.
const SHARE: f64 = 0.9;

/// Pairs for each run that is asked for: single runs on a shared machine differ by a third.
const PAIRS: u32 = 3;

/// Measures all rows over a wire.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    receive(runs * PAIRS, rows)?;
    echo(runs * PAIRS, rows)
}

/// `rx_veth_60` and `rx_veth_60_floor`: three receivers, measured in turns.
fn receive(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let ours = RefCell::new(Served::new()?);
    let (steered, floor) = (Wire::behind_steering()?, Wire::new(Before::Floor)?);
    let octroi = || ours.borrow_mut().received();
    let behind_steering = interleaved(runs, Better::Higher, octroi, || steered.received())?;
    rows.extend(
        Row::paired("rx_veth_60", "packets/s", "bare AF_XDP behind the same programs", &behind_steering)
            .map(|row| row.with_limit(SHARE)),
    );
    let behind_floor = interleaved(runs, Better::Higher, octroi, || floor.received())?;
    rows.extend(Row::paired(
        "rx_veth_60_floor",
        "packets/s",
        "bare AF_XDP behind a bare redirect",
        &behind_floor,
    ));
    ours.into_inner().end()
}

/// `echo_veth_60` and `echo_veth_60_kernel`: replies a second, counted at the end that asked.
fn echo(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let (ours, bare) = (Echo::smallest(Who::Octroi)?, Echo::smallest(Who::Bare)?);
    let kernel = Echo::smallest(Who::Kernel)?;
    let octroi = RefCell::new(ours.asker()?);
    let (mut to_bare, mut to_kernel) = (bare.asker()?, kernel.asker()?);
    let answered = || octroi.borrow_mut().answered();
    let pairs = interleaved(runs, Better::Higher, answered, || to_bare.answered())?;
    rows.extend(
        Row::paired("echo_veth_60", "packets/s", "bare AF_XDP swapping addresses", &pairs)
            .map(|row| row.with_limit(SHARE)),
    );
    let pairs = interleaved(runs, Better::Higher, answered, || to_kernel.answered())?;
    rows.extend(Row::paired("echo_veth_60_kernel", "packets/s", "the kernel's forwarding", &pairs));
    drop(octroi);
    ours.end()
}

/// The daemon's sink on a pair of its own.
pub(super) struct Served {
    pub(super) daemon: Daemon,
    pair: Pair,
    plan: Plan,
}

impl Served {
    pub(super) fn new() -> Result<Self> {
        let pair = pair()?;
        let config = Config { rings: SHAPE.ring, frames: SHAPE.frames, ..Config::echo_and_sink() };
        Ok(Self { daemon: Daemon::start(&pair.served, &config)?, plan: plan(&pair, SINK)?, pair })
    }

    /// Frames a second that reached the sink in one run.
    pub(super) fn received(&mut self) -> Result<f64> {
        let before = self.daemon.status()?.head.books.delivered;
        let sent = flood(&self.pair, &self.plan)?;
        let after = settled(|| Ok(self.daemon.status()?.head.books.delivered))?;
        Ok((after - before) as f64 / sent.duration_s)
    }

    pub(super) fn end(self) -> Result<()> {
        self.daemon.down(&self.pair.served)
    }
}

/// A bare receiver on a pair of its own.
pub(super) struct Wire {
    run: BareRun,
    pair: Pair,
    plan: Plan,
}

impl Wire {
    /// One behind the programs that Octroi has.
    pub(super) fn behind_steering() -> Result<Self> {
        Self::new(Before::Steering)
    }

    fn new(before: Before) -> Result<Self> {
        let pair = pair()?;
        let mut run = BareRun::start(&pair, Work::Receive, Idle::Sleep, SHAPE)?;
        run.put(&pair, before)?;
        Ok(Self { run, plan: plan(&pair, SINK)?, pair })
    }

    /// Frames a second that it took in one run.
    pub(super) fn received(&self) -> Result<f64> {
        let before = self.run.count();
        let sent = flood(&self.pair, &self.plan)?;
        Ok((settled(|| Ok(self.run.count()))? - before) as f64 / sent.duration_s)
    }
}
