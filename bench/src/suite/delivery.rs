//! `app_veth_60`: over a veth pair into an application in another process, against bare AF_XDP behind the same programs.
//!
//! The application reads and answers nothing, as the bare receiver does. It has no core of its own on a machine with two:
//! where engine and generator are pinned, the scheduler finds it a place beside one of them.
use std::cell::RefCell;

use anyhow::Result;
use octroi_tests::lab::{App, Config, Daemon, Listens, Pair, Reading, Wrapper};

use super::{
    echoes::settled,
    stage::{SHAPE, SINK, flood, pair, plan},
    wire::Wire,
};
use crate::{
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
    traffic::plan::Plan,
};

/// Share of the bare program's rate that delivery must reach.
const SHARE: f64 = 0.9;
/// Pairs for each run that is asked for: single runs on a shared machine differ by a third.
const PAIRS: u32 = 3;

/// Measures the row.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let ours = RefCell::new(Reader::start()?);
    let bare = Wire::behind_steering()?;
    let pairs =
        interleaved(runs * PAIRS, Better::Higher, || ours.borrow_mut().delivered(), || bare.received())?;
    let peer = "bare AF_XDP behind the same programs";
    rows.extend(Row::paired("app_veth_60", "packets/s", peer, &pairs).map(|row| row.with_limit(SHARE)));
    ours.into_inner().end()
}

/// An application that reads, on a pair and a daemon of its own.
struct Reader {
    app: App,
    daemon: Daemon,
    pair: Pair,
    plan: Plan,
}

impl Reader {
    fn start() -> Result<Self> {
        let pair = pair()?;
        let config = Config { rings: SHAPE.ring, frames: SHAPE.frames, ..Config::default() };
        let daemon = Daemon::start(&pair.served, &config)?;
        // As many slots as the bare receiver's rings have.
        let mut app = App::with_slots(daemon.home(), &pair.served, &Wrapper::default(), SHAPE.ring)?;
        app.listen(Listens::Swallows)?;
        app.udp(SINK)?;
        Ok(Self { app, daemon, plan: plan(&pair, SINK)?, pair })
    }

    /// Frames a second that lay in its ring in one run.
    fn delivered(&mut self) -> Result<f64> {
        let before = self.in_ring()?;
        let sent = flood(&self.pair, &self.plan)?;
        let after = settled(|| self.in_ring())?;
        Ok((after - before) as f64 / sent.duration_s)
    }

    fn in_ring(&mut self) -> Result<u64> {
        let reading = Reading::of(&mut self.daemon)?;
        Ok(reading.of_tuple(SINK).get("rx_delivered").copied().unwrap_or_default())
    }

    fn end(self) -> Result<()> {
        drop(self.app);
        self.daemon.down(&self.pair.served)
    }
}
