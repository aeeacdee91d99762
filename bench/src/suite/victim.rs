//! `victim_flood`, `victim_flood_out`, `victim_spoof`, `victim_stopped`: what an application notices of another that does its worst.
//!
//! The victim echoes datagrams that come open loop, far below what it could carry. A figure is the 99th percentile of one
//! trial, beside the offender and alone in turns; `…_arrived` is the share of datagrams that came back.
//!
//! A machine with two cores has one for the engine and one for whoever else is at work, and how a scheduler shares the
//! latter is not what these rows are about. So the victim and whoever floods or lies [lodge](lodger) in the generator's
//! loop: they never wait for a core, nor take the engine's, and the offender's ring is never empty. Who stands still is
//! a process, stopped.
mod lodger;

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{
    self, App, Config, Daemon, Listens, Pair, Reading, Served, Tap, Wrapper,
    app::know_taps,
    frame::{Flow, Stamp},
};
use wire::ethernet::HEADER_LEN;

use lodger::Lodger;

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
/// The last byte of the IPv4 address, and the MAC address, of a neighbour who is not there.
const NOBODY: u8 = 99;
const NOBODYS_MAC: &str = "02:00:00:00:00:99";
/// Length of a trial.
const TRIAL: Duration = Duration::from_secs(1);
/// Packets for a stopped application: more than its ring holds.
const BACKLOG: u64 = 600;
/// What the 99th percentile alone must at least be of that beside an offender: medians of ten pairs differ by a quarter where
/// nothing has changed.
const UNCHANGED: f64 = 0.7;
/// Share of the datagrams that come back alone which must come back beside an offender.
const ARRIVED: f64 = 0.999;

/// What the offender does.
enum Does {
    /// Sends to its own port as fast as it can: every packet crosses from its ring into its ring.
    Floods,
    /// Sends to a neighbour on the wire as fast as it can.
    FloodsOut,
    /// Sends in the victim's name as fast as it can.
    Spoofs,
    /// Nothing: it is stopped, and its ring is full.
    StandsStill,
}

/// Measures all rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    for (id, does) in [
        ("victim_flood", Does::Floods),
        ("victim_flood_out", Does::FloodsOut),
        ("victim_spoof", Does::Spoofs),
        ("victim_stopped", Does::StandsStill),
    ] {
        let mut house = House::new(does)?;
        let (mut latencies, mut arrivals) = (Vec::new(), Vec::new());
        for run in 0..runs {
            let (beside, alone) = if run % 2 == 0 {
                let beside = house.beside()?;
                (beside, house.alone()?)
            } else {
                let alone = house.alone()?;
                (house.beside()?, alone)
            };
            latencies.push((beside.p99_us, alone.p99_us));
            arrivals.push((beside.arrived, alone.arrived));
        }
        house.end()?;
        let latencies = Pairs::new(Better::Lower, latencies);
        let row = Row::paired(id, "µs p99", "alone", &latencies);
        rows.extend(row.map(|row| row.with_limit(UNCHANGED)));
        let arrivals = Pairs::new(Better::Higher, arrivals);
        let row = Row::paired(format!("{id}_arrived"), "share", "alone", &arrivals);
        rows.extend(row.map(|row| row.with_limit(ARRIVED)));
    }
    Ok(())
}

/// Who is at work in a trial besides the victim.
#[derive(Clone, Copy)]
enum Beside {
    Offender,
    Nobody,
}

/// What became of one trial.
struct Trial {
    p99_us: f64,
    arrived: f64,
}

/// Who is not the victim.
enum Offender {
    /// It sends this IP packet, from itself to itself or to the wire.
    Floods(Lodger, Vec<u8>),
    /// It sends this one, in the victim's name.
    Lies(Lodger, Vec<u8>),
    /// It can be stopped.
    Stops(App),
}

/// A daemon, the victim and the offender.
struct House {
    victim: Lodger,
    offender: Offender,
    served: Served,
    plan: Plan,
}

impl House {
    fn new(does: Does) -> Result<Self> {
        let pair = pair()?;
        know_taps(&pair)?;
        let config = Config { rings: SHAPE.ring, frames: SHAPE.frames, ..Config::default() };
        let daemon = Daemon::start(&pair.served, &config)?;
        let socket = daemon.home().socket();
        let victim = Lodger::open(&socket, "victim", ECHO)?;
        let (plan, served) = (plan(&pair, ECHO)?, Served { daemon, pair });
        let answer =
            |port| Ok::<_, anyhow::Error>(served.load(port, 1, 100).answer(0)?[HEADER_LEN..].to_vec());
        let offender = match does {
            Does::Floods => {
                let mut packet = answer(OFFENDER)?;
                // From its own port to its own port.
                packet.copy_within(12..16, 16);
                packet.copy_within(20..22, 22);
                Offender::Floods(Lodger::open(&socket, "flooder", OFFENDER)?, packet)
            }
            Does::FloodsOut => {
                let packet = for_nobody(&served.pair)?;
                Offender::Floods(Lodger::open(&socket, "flooder", OFFENDER)?, packet)
            }
            Does::Spoofs => Offender::Lies(Lodger::open(&socket, "liar", OFFENDER)?, answer(ECHO)?),
            Does::StandsStill => {
                let end = &served.pair.served;
                let mut app = App::start(served.daemon.home(), end, &Wrapper::default())?;
                app.udp(OFFENDER)?;
                app.listen(Listens::No)?;
                Offender::Stops(app)
            }
        };
        Ok(Self { victim, offender, served, plan })
    }

    /// A trial with the offender at its worst.
    fn beside(&mut self) -> Result<Trial> {
        self.stop()?;
        let before = self.done()?;
        let trial = self.trial(Beside::Offender)?;
        let done = self.done()? - before;
        if let Offender::Stops(app) = &mut self.offender {
            app.go_on()?;
        }
        ensure!(
            (done != 0) != matches!(self.offender, Offender::Stops(_)),
            "the offender sent {done} packets"
        );
        Ok(trial)
    }

    /// A trial with nobody else at work.
    fn alone(&mut self) -> Result<Trial> {
        self.trial(Beside::Nobody)
    }

    /// Stops an offender that can be stopped, and fills its ring.
    fn stop(&mut self) -> Result<()> {
        let Offender::Stops(app) = &mut self.offender else { return Ok(()) };
        app.stop()?;
        let (tap, load) = (Tap::open(&self.served.pair.peer)?, self.served.load(OFFENDER, 1, 100));
        let seen = self.handed()?;
        for n in 0..BACKLOG {
            tap.send(&load.frame(n)?)?;
            if n % 64 == 63 {
                lab::until("they are there or lost", || Ok(self.handed()? == seen + n + 1))?;
            }
        }
        Ok(())
    }

    /// Packets that came for the offender.
    fn handed(&mut self) -> Result<u64> {
        Ok(self.of_offender("rx_delivered")? + self.of_offender("rx_ring_full")?)
    }

    /// How much the offender did of what it does; no other application sends in somebody else's name.
    fn done(&mut self) -> Result<u64> {
        match self.offender {
            Offender::Floods(..) | Offender::Stops(_) => self.of_offender("tx_read"),
            Offender::Lies(..) => Ok(Reading::of(&mut self.served.daemon)?.sum("stack.tx_not_owner")),
        }
    }

    fn trial(&mut self, beside: Beside) -> Result<Trial> {
        let Self { victim, offender, served, plan, .. } = self;
        let outcome = asked(&served.pair, plan, RATE, TRIAL, &mut |_| {
            victim.echo();
            if let (Beside::Offender, Offender::Floods(lodger, packet) | Offender::Lies(lodger, packet)) =
                (beside, &mut *offender)
            {
                lodger.flood(packet);
            }
        })?;
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

/// A packet of the offender's to a neighbour who is not there: the other end of the wire drops the frame by its MAC address.
fn for_nobody(pair: &Pair) -> Result<Vec<u8>> {
    let Pair { served, peer, .. } = pair;
    let [a, b, c, _] = peer.v4.octets();
    let nobody = Ipv4Addr::new(a, b, c, NOBODY);
    let line = format!("ip neigh replace {nobody} lladdr {NOBODYS_MAC} dev {} nud permanent", served.ifname);
    served.run(&line).context(line)?;
    let flow = Flow { from: (nobody, OFFENDER).into(), ..Flow::v4(peer, OFFENDER, served, OFFENDER) };
    Ok(flow.reversed().udp(&[], &Stamp { flow: 0, sequence: 0 }.payload(0))?[HEADER_LEN..].to_vec())
}
