//! `octroi ruler bench`: how fast a filter judges packets in memory, on one core, beside one packet at a time.
//!
//! Sides take turns (A B B A) in one process, and medians are compared: a machine that others use gives a ratio still,
//! where a figure alone says little. Nothing is kept, and no peer is measured here.
mod traffic;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use ruler::{
    exec::{
        ladder::{self, Screens, Slow},
        lanes::BATCH_MAX,
    },
    filter::{Bound, Filter, Limits, Packet, Params, Scratch, Verdict},
    rewrite::Bounds,
};
use serde::Serialize;

use self::traffic::Traffic;
use super::program::Options;
use crate::{
    table::{Table, thousands},
    verb::{Form, Outcome},
};

/// Turns that every side has at least; each is two passes over the packets.
const TURNS_MIN: usize = 5;
/// Turns that a side has at most.
const TURNS_MAX: usize = 200;
/// No turn begins later.
const LONG_ENOUGH: Duration = Duration::from_secs(2);
/// Room in a frame for packets that grow.
const ROOM: usize = 256;
/// What addresses are anonymised by here, where nobody sees them.
const KEY: [u8; 32] = [0x5a; 32];

/// Measure how fast a filter judges packets in memory, on one core.
///
/// Batches of 64 are judged as workers do it, and one packet at a time as the measure. Build with `--release` to learn
/// anything from it.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The program.
    file: PathBuf,
    #[command(flatten)]
    options: Options,
    /// Which packets: 64 or 1500 (bytes of Ethernet with TCP to port 80 and letters), imix, or a capture file.
    #[arg(long, value_name = "64|1500|imix|PCAP", default_value = "imix")]
    traffic: Traffic,
    /// Which engines.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "lanes")]
    engine: Vec<Engine>,
    /// Other programs on the same literals: says where they are measured.
    #[arg(long)]
    peers: bool,
    #[command(flatten)]
    form: Form,
}

/// What judges; each beside `one`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Engine {
    /// Batches of 64, as workers judge them.
    Lanes,
    /// The same tables, one packet at a time.
    One,
    /// Batches, on the larger kind of table.
    Large,
    /// Batches, on states made on demand.
    Lazy,
    /// Batches, without any table: slow.
    Simulation,
}

/// What was measured of one side.
#[derive(Debug, Serialize)]
struct Row {
    engine: Engine,
    /// What payload was judged by.
    runs_on: Vec<&'static str>,
    gigabytes_per_second: f64,
    packets_per_second: f64,
    ratio_to_one: f64,
    turns: usize,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Measured {
    filter: String,
    traffic: String,
    packets: usize,
    mean_bytes: f64,
    rows: Vec<Row>,
}

impl Bench {
    /// Measures and prints.
    ///
    /// # Errors
    /// A file cannot be read, or there is nothing to measure.
    pub(crate) fn run(&self) -> Result<Outcome> {
        if self.peers {
            bail!(
                "--peers: they are measured where they are linked in; run `cargo xtask bench ruler` in a checkout"
            );
        }
        let mut engines = vec![Engine::One];
        self.engine.iter().for_each(|engine| {
            if !engines.contains(engine) {
                engines.push(*engine)
            }
        });
        let packets = self.traffic.packets()?;
        let mut sides = Vec::new();
        for engine in engines {
            let Some(side) = self.side(engine, &packets)? else { return Ok(Outcome::Unwell) };
            sides.push(side);
        }
        take_turns(&mut sides, &packets);
        let bytes: usize = packets.iter().map(Vec::len).sum();
        let measured = Measured {
            filter: sides.first().map_or(String::new(), |side| side.bound.filter().name().to_owned()),
            traffic: self.traffic.to_string(),
            packets: packets.len(),
            mean_bytes: ratio(bytes, packets.len()),
            rows: rows(&mut sides, &packets),
        };
        self.form.print(&measured, text)?;
        Ok(Outcome::Well)
    }

    /// One side; `None` if the program is wrong, which was said then.
    fn side(&self, engine: Engine, packets: &[Vec<u8>]) -> Result<Option<Side>> {
        let filter = match engine {
            Engine::Lanes | Engine::One => self.options.one(&self.file)?.map(|(_, filter)| filter),
            Engine::Large | Engine::Lazy | Engine::Simulation => Some(self.forced(engine, &self.file)?),
        };
        Ok(filter.map(|filter| Side::new(engine, filter, packets)))
    }

    /// The filter on another engine than the best, by taking the better ones away. What was to be said of it was said.
    fn forced(&self, engine: Engine, file: &Path) -> Result<Filter> {
        let (screens, pieces) = (Screens::Refused, 0);
        let none =
            ladder::Limits { wide_states: 0, small_cells: 0, screens, pieces, ..ladder::Limits::default() };
        let mut engines = none;
        if engine != Engine::Large {
            engines = ladder::Limits { large_cells: 0, groups: 0, slow: Slow::Allowed, ..engines };
        }
        if engine == Engine::Simulation {
            engines.arena_bytes = 0;
        }
        let bundle = self.options.read(file)?;
        let (resolved, found) = ruler::resolve(&bundle);
        let chosen = self.options.chosen(file, &resolved, &found)?;
        let limits = Limits { engines, ..Limits::default() };
        let built = chosen.first().and_then(|filter| Filter::build(filter, bundle.root(), &limits).0);
        match built {
            Some(filter) => Ok(filter),
            None => bail!("{}: too large for engine {engine:?}", file.display()),
        }
    }
}

/// A filter on one engine, and its times.
struct Side {
    engine: Engine,
    bound: Bound,
    scratch: Scratch,
    /// Frames of one batch.
    frames: Vec<Vec<u8>>,
    turns: Vec<Duration>,
}

impl Side {
    fn new(engine: Engine, filter: Filter, packets: &[Vec<u8>]) -> Self {
        let bounds = Bounds { least: 0, most: usize::from(u16::MAX) };
        let bound = filter.bind(&Params { bounds, key: Some(KEY) });
        let bound = bound.unwrap_or_else(|_| unreachable!("there is a key"));
        let longest = packets.iter().map(Vec::len).max().unwrap_or(0);
        let scratch = bound.scratch();
        Self { engine, bound, scratch, frames: vec![vec![0; longest + ROOM]; BATCH_MAX], turns: Vec::new() }
    }

    /// Judges all packets once. Only judging is timed; packets are put into their frames before.
    fn pass(&mut self, packets: &[Vec<u8>]) -> Duration {
        let mut time = Duration::ZERO;
        let mut verdicts = vec![Verdict::NONE; BATCH_MAX];
        for batch in packets.chunks(BATCH_MAX) {
            for (frame, packet) in self.frames.iter_mut().zip(batch) {
                frame[..packet.len()].copy_from_slice(packet);
            }
            let mut held: Vec<Packet<'_>> = self
                .frames
                .iter_mut()
                .zip(batch)
                .map(|(frame, packet)| Packet { frame, at: 0..packet.len(), class: None })
                .collect();
            let at_once = if self.engine == Engine::One { 1 } else { BATCH_MAX };
            let begun = Instant::now();
            for (held, verdicts) in held.chunks_mut(at_once).zip(verdicts.chunks_mut(at_once)) {
                self.bound.judge(&mut self.scratch, held, verdicts);
            }
            time += begun.elapsed();
        }
        time
    }
}

/// All sides in order and back again, until each had enough.
fn take_turns(sides: &mut [Side], packets: &[Vec<u8>]) {
    // Once without a clock: tables and packets come into the caches.
    for side in &mut *sides {
        side.pass(packets);
    }
    let begun = Instant::now();
    for turn in 0..TURNS_MAX {
        if TURNS_MIN <= turn && LONG_ENOUGH < begun.elapsed() {
            break;
        }
        let (there, back) = (0..sides.len(), (0..sides.len()).rev());
        for at in there.chain(back) {
            let time = sides[at].pass(packets);
            sides[at].turns.push(time);
        }
    }
}

fn rows(sides: &mut [Side], packets: &[Vec<u8>]) -> Vec<Row> {
    let bytes: usize = packets.iter().map(Vec::len).sum();
    let medians: Vec<f64> = sides.iter_mut().map(|side| median(&mut side.turns).as_secs_f64()).collect();
    let one = medians.first().copied().unwrap_or(f64::NAN);
    let row = |(side, seconds): (&Side, &f64)| {
        let mut runs_on: Vec<_> =
            side.bound.filter().report().engines.iter().map(|engine| engine.rung).collect();
        runs_on.sort_unstable();
        runs_on.dedup();
        Row {
            engine: side.engine,
            runs_on,
            gigabytes_per_second: bytes as f64 / seconds / 1e9,
            packets_per_second: packets.len() as f64 / seconds,
            ratio_to_one: one / seconds,
            turns: side.turns.len(),
        }
    };
    sides.iter().zip(&medians).map(row).collect()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ratio(of: usize, to: usize) -> f64 {
    of as f64 / to as f64
}

fn text(measured: &Measured) -> String {
    let Measured { filter, traffic, packets, mean_bytes, rows } = measured;
    let mut table = Table::new(["engine", "GB/s", "packets/s", "of one", "turns", "payload runs on"]);
    for row in rows {
        table.row([
            format!("{:?}", row.engine).to_lowercase(),
            format!("{:.3}", row.gigabytes_per_second),
            thousands(row.packets_per_second as u64),
            format!("{:.2}", row.ratio_to_one),
            row.turns.to_string(),
            if row.runs_on.is_empty() { "headers alone".to_owned() } else { row.runs_on.join(", ") },
        ]);
    }
    format!(
        "filter {filter}, {traffic}: {} packets of {mean_bytes:.0} bytes\n{table}",
        thousands(*packets as u64)
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn side(engine: Engine, bench: &Bench, packets: &[Vec<u8>]) -> Side {
        bench.side(engine, packets).unwrap().unwrap()
    }

    #[test]
    fn every_side_judges_every_packet_alike() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.rl");
        fs::write(&file, "filter f byte#54 * \"ab\" * => reject 1; e:byte#12 p:* => p e; * => accept;")
            .unwrap();
        let (options, form) = (Options::default(), Form { json: false });
        let traffic = Traffic::Imix;
        let packets = traffic.packets().unwrap();
        let bench = Bench { file, options, traffic, engine: vec![Engine::Lanes], peers: false, form };
        let mut fates = Vec::new();
        for (engine, rung) in [
            (Engine::One, "small table"),
            (Engine::Lanes, "small table"),
            (Engine::Large, "large table"),
            (Engine::Lazy, "on demand"),
            (Engine::Simulation, "simulation"),
        ] {
            let mut side = side(engine, &bench, &packets);
            assert_eq!(side.bound.filter().report().engines[0].rung, rung);
            assert!(side.pass(&packets[..100]) < Duration::from_secs(600));
            // The frames hold the last batch, judged.
            fates.push(side.frames);
        }
        assert!(fates.iter().all(|frames| *frames == fates[0]));
        let swapped: Vec<u8> = packets[64][12..].iter().chain(&packets[64][..12]).copied().collect();
        assert!(fates[0][0].starts_with(&swapped) || fates[0][0].starts_with(&packets[64]));
    }

    #[test]
    fn medians_are_of_sorted_times() {
        let mut times = [5, 1, 9, 3, 7].map(Duration::from_secs);
        assert_eq!(median(&mut times), Duration::from_secs(5));
        assert_eq!(median(&mut []), Duration::ZERO);
    }
}
