//! `victim_flood`, `victim_spoof`, `victim_stopped`: what an application notices of another that does its worst.
//!
//! The victim echoes datagrams that come open loop, far below what it could carry. A figure is the 99th percentile of one
//! trial, beside the offender and alone in turns; `…_arrived` is the share of datagrams that came back. The offender has
//! the lowest priority that a process can have: a machine with two cores has none for it, and how the scheduler
//! shares them is not what these rows are about.
use std::time::Duration;

use anyhow::{Result, ensure};
use octroi_tests::lab::{self, App, Config, Daemon, Listens, Reading, Served, Tap, Wrapper, app::know_taps};

use super::{
    latency::asked,
    stage::{ECHO, SHAPE, pair, plan},
};
use crate::{
    report::{
        bench::{Better, Row},
        interleave::Pairs,
    },
    traffic::plan::Plan,
};

/// The offender's UDP port.
const OFFENDER: u16 = 6000;
/// Datagrams a second to the victim.
const RATE: f64 = 10_000.0;
/// Length of a trial.
const TRIAL: Duration = Duration::from_secs(1);
/// Packets for a stopped application: more than its ring holds.
const BACKLOG: u64 = 600;
/// Share of the datagrams that come back alone which must come back beside an offender.
const ARRIVED: f64 = 0.999;

/// What the offender does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Sends to its own port as fast as it can: every packet crosses from its ring into its ring, which nobody reads.
    Floods,
    /// Sends in the victim's name as fast as it can.
    Spoofs,
    /// Nothing: it is stopped, and its ring is full.
    StandsStill,
}

/// Measures all rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    for (id, does) in [
        ("victim_flood", Does::Floods),
        ("victim_spoof", Does::Spoofs),
        ("victim_stopped", Does::StandsStill),
    ] {
        let mut house = House::new(does)?;
        let (mut latencies, mut arrivals) = (Vec::new(), Vec::new());
        for run in 0..runs {
            let (beside, alone) = if run % 2 == 0 {
                let beside = house.beside()?;
                (beside, house.trial()?)
            } else {
                let alone = house.trial()?;
                (house.beside()?, alone)
            };
            latencies.push((beside.p99_us, alone.p99_us));
            arrivals.push((beside.arrived, alone.arrived));
        }
        house.end()?;
        let latencies = Pairs::new(Better::Lower, latencies);
        rows.extend(Row::paired(id, "µs p99", "alone", &latencies));
        let arrivals = Pairs::new(Better::Higher, arrivals);
        let row = Row::paired(format!("{id}_arrived"), "share", "alone", &arrivals);
        rows.extend(row.map(|row| row.with_limit(ARRIVED)));
    }
    Ok(())
}

/// What became of one trial.
struct Trial {
    p99_us: f64,
    arrived: f64,
}

/// A daemon, the victim and the offender.
struct House {
    victim: App,
    offender: App,
    does: Does,
    served: Served,
    plan: Plan,
}

impl House {
    fn new(does: Does) -> Result<Self> {
        let pair = pair()?;
        know_taps(&pair)?;
        let config = Config { rings: SHAPE.ring, frames: SHAPE.frames, ..Config::default() };
        let daemon = Daemon::start(&pair.served, &config)?;
        let app = |wrapper: &str, port| -> Result<App> {
            let mut app = App::start(daemon.home(), &pair.served, &Wrapper::words(wrapper))?;
            app.udp(port)?;
            Ok(app)
        };
        let (victim, mut offender) = (app("nice -n 0", ECHO)?, app("nice -n 19", OFFENDER)?);
        offender.listen(Listens::No)?;
        let plan = plan(&pair, ECHO)?;
        Ok(Self { victim, offender, does, served: Served { daemon, pair }, plan })
    }

    /// A trial with the offender at its worst.
    fn beside(&mut self) -> Result<Trial> {
        match self.does {
            Does::Floods => {
                let mut packet = self.served.load(OFFENDER, 1, 100).answer(0)?[14..].to_vec();
                // From its own port to its own port.
                packet.copy_within(12..16, 16);
                packet.copy_within(20..22, 22);
                self.offender.flood(&packet)?;
            }
            Does::Spoofs => self.offender.flood(&self.served.load(ECHO, 1, 100).answer(0)?[14..])?,
            Does::StandsStill => {
                let (tap, load) = (Tap::open(&self.served.pair.peer)?, self.served.load(OFFENDER, 1, 100));
                self.offender.stop()?;
                let seen = self.of_offender("rx_delivered")? + self.of_offender("rx_ring_full")?;
                for n in 0..BACKLOG {
                    tap.send(&load.frame(n)?)?;
                    if n % 64 == 63 {
                        lab::until("they are there or lost", || {
                            let now = self.of_offender("rx_delivered")? + self.of_offender("rx_ring_full")?;
                            Ok(now == seen + n + 1)
                        })?;
                    }
                }
            }
        }
        let before = self.done()?;
        let trial = self.trial();
        let done = self.done()? - before;
        match self.does {
            Does::StandsStill => self.offender.go_on()?,
            Does::Floods | Does::Spoofs => self.offender.calm()?,
        }
        ensure!((done != 0) != (self.does == Does::StandsStill), "the offender sent {done} packets");
        trial
    }

    /// How much the offender did of what it does; no other application sends in somebody else's name.
    fn done(&mut self) -> Result<u64> {
        match self.does {
            Does::Floods | Does::StandsStill => self.of_offender("tx_read"),
            Does::Spoofs => Ok(Reading::of(&mut self.served.daemon)?.sum("stack.tx_not_owner")),
        }
    }

    fn trial(&self) -> Result<Trial> {
        let outcome = asked(&self.served.pair, &self.plan, RATE, TRIAL)?;
        Ok(Trial { p99_us: outcome.latency.p99_ns as f64 / 1e3, arrived: 1.0 - outcome.loss_ratio })
    }

    /// A counter of the offender's tuple.
    fn of_offender(&mut self, counter: &str) -> Result<u64> {
        let reading = Reading::of(&mut self.served.daemon)?;
        Ok(reading.of_tuple(OFFENDER).get(counter).copied().unwrap_or_default())
    }

    fn end(self) -> Result<()> {
        let Self { victim, offender, served, .. } = self;
        drop((victim, offender));
        served.daemon.down(&served.pair.served)
    }
}
