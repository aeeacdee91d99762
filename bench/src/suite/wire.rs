//! Rows over a veth pair: receiving and echoing, each against bare AF_XDP in turns.
//!
//! Ours is the daemon itself with the targets `sink` and `echo`, on a pair of its own; the peers have pairs of
//! their own, too, so that a turn costs no set-up, and whoever waits for his turn blocks in poll(2). The generator is
//! the same for all: live frames on core 1, which also runs XDP and the kernel's copy.
use std::{cell::RefCell, thread, time::Duration};

use anyhow::Result;
use octroi_tests::lab::{Config, Daemon, Pair};
use xsk::bpf::{Generator, LabLink, XdpMode};

use super::stage::{BareRun, Before, ECHO, SHAPE, SINK, Work, flood, pair, plan};
use crate::{
    engine::drive::Sent,
    peer::bare::Idle,
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
    traffic::plan::Plan,
};

/// Share of the bare program's rate that Octroi must reach.
const SHARE: f64 = 0.9;
/// A receiver that took nothing for so long has emptied its rings.
const SETTLED: Duration = Duration::from_millis(5);

/// Measures all rows over a wire.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    receive(runs, rows)?;
    echo(runs, rows)
}

/// `rx_veth_60` and `rx_veth_60_floor`: three receivers, measured in turns.
fn receive(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let ours = RefCell::new(Served::new()?);
    let steered = Wire::new(Before::Steering, Work::Receive, SINK)?;
    let floor = Wire::new(Before::Floor, Work::Receive, SINK)?;
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

/// `echo_veth_60`: replies a second, counted at the end that asked.
fn echo(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let ours = Served::new()?;
    let asked = plan(&ours.pair, ECHO)?;
    let bare = Wire::new(Before::Steering, Work::Swap, ECHO)?;
    let (mut to_ours, mut to_bare) =
        (Replies::count_at(&ours.pair, &asked)?, Replies::count_at(&bare.pair, &bare.plan)?);
    let pairs = interleaved(
        runs,
        Better::Higher,
        || to_ours.answered(&ours.pair, &asked),
        || to_bare.answered(&bare.pair, &bare.plan),
    )?;
    rows.extend(
        Row::paired("echo_veth_60", "packets/s", "bare AF_XDP swapping addresses", &pairs)
            .map(|row| row.with_limit(SHARE)),
    );
    drop(to_ours);
    ours.end()
}

/// The daemon on a pair of its own.
struct Served {
    daemon: Daemon,
    pair: Pair,
    plan: Plan,
}

impl Served {
    fn new() -> Result<Self> {
        let pair = pair()?;
        let config = Config { rings: SHAPE.ring, frames: SHAPE.frames, ..Config::echo_and_sink() };
        Ok(Self { daemon: Daemon::start(&pair.served, &config)?, plan: plan(&pair, SINK)?, pair })
    }

    /// Frames a second that reached the sink in one run.
    fn received(&mut self) -> Result<f64> {
        let before = self.daemon.status()?.head.books.delivered;
        let sent = flood(&self.pair, &self.plan)?;
        let after = settled(|| Ok(self.daemon.status()?.head.books.delivered))?;
        Ok((after - before) as f64 / sent.duration_s)
    }

    fn end(self) -> Result<()> {
        self.daemon.down(&self.pair.served)
    }
}

/// A bare program on a pair of its own.
struct Wire {
    run: BareRun,
    pair: Pair,
    plan: Plan,
}

impl Wire {
    fn new(before: Before, work: Work, port: u16) -> Result<Self> {
        let pair = pair()?;
        let mut run = BareRun::start(&pair, work, Idle::Sleep)?;
        run.put(&pair, before)?;
        Ok(Self { run, plan: plan(&pair, port)?, pair })
    }

    /// One run: what was sent, and how many frames the program took.
    fn flooded(&self) -> Result<(Sent, u64)> {
        let before = self.run.count();
        let sent = flood(&self.pair, &self.plan)?;
        Ok((sent, settled(|| Ok(self.run.count()))? - before))
    }

    fn received(&self) -> Result<f64> {
        let (sent, taken) = self.flooded()?;
        Ok(taken as f64 / sent.duration_s)
    }
}

/// Counts the replies at the end that asked.
struct Replies {
    counter: Generator,
    _link: LabLink,
}

impl Replies {
    fn count_at(pair: &Pair, plan: &Plan) -> Result<Self> {
        let ifindex = pair.peer.ifindex()?;
        let counter = Generator::load(plan.config(), &plan.flows()[..1])?;
        let link = pair.peer.netns.enter(|| counter.absorb_at(ifindex, XdpMode::Native))??;
        Ok(Self { counter, _link: link })
    }

    /// Replies a second in one run.
    fn answered(&mut self, pair: &Pair, plan: &Plan) -> Result<f64> {
        let before = self.counter.absorbed()?;
        let sent = flood(pair, plan)?;
        let after = settled(|| Ok(self.counter.absorbed()?))?;
        Ok((after - before) as f64 / sent.duration_s)
    }
}

/// The count once it has stopped moving.
fn settled(mut count: impl FnMut() -> Result<u64>) -> Result<u64> {
    let mut last = count()?;
    loop {
        thread::sleep(SETTLED);
        let now = count()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}
