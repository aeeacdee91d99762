//! `capture_memory`, `capture_veth`, `top_veth`: what it costs to look: a capture of every packet, and the live view.
//!
//! Over a wire there are three daemons on pairs of their own, so that a turn costs no set-up: one that nobody looks at, one
//! with `octroi capture`, one with `octroi top`. Who looks has no core of its own here, and takes it from those who work.
//! Without a capture there is nothing to measure: that engine runs the loop in which there is none.
use std::{
    cell::RefCell,
    panic::resume_unwind,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, Scope},
};

use abi::capture::{MIN_RING, Point, Shape, ring};
use anyhow::{Context, Result, anyhow, ensure};
use ixp::{
    capture::{
        CaptureId, EngineTap,
        filter::{Filter, Points},
    },
    region::{Direction, Region},
};
use octroi_tests::lab::{self, Wrapper};

use super::{
    inner::sunk_by,
    stage::{ENGINE_CORE, GENERATOR_CORE, SINK},
    wire::Served,
};
use crate::{
    engine::clock::pin,
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
};

/// Share of the rate that is left while every packet is captured.
const CAPTURED: f64 = 0.9;
/// Share that is left while somebody watches rates.
const WATCHED: f64 = 0.98;
/// Pairs for each run that is asked for: single runs on a shared machine differ by a third.
const PAIRS: u32 = 3;
/// Bytes of the ring in memory: as many as a daemon gives one engine.
const RING: u32 = 16 * MIN_RING;

/// Measures all rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    memory(runs, rows)?;
    wire(runs * PAIRS, rows)
}

fn memory(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let alone = || thread::scope(|scope| working(scope, || sunk_by(|engine, now| engine.turn(now).moved)));
    let pairs = interleaved(runs, Better::Higher, captured, alone)?;
    rows.extend(Row::paired("capture_memory", "packets/s", "the same without a capture", &pairs));
    Ok(())
}

/// Does this on the engine's core, on a thread of its own: who is pinned cannot give his children another core.
fn working<'s>(scope: &'s Scope<'s, '_>, work: impl FnOnce() -> Result<f64> + Send + 's) -> Result<f64> {
    let pinned = scope.spawn(|| {
        pin(ENGINE_CORE)?;
        work()
    });
    pinned.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Packets a second into a sink while every one of them is captured, and somebody reads.
fn captured() -> Result<f64> {
    let shape = Shape::new(1, RING).map_err(|error| anyhow!("{error:?}"))?;
    let (down, _) = Region::create(Direction::Down, shape.down_size())?;
    let (up, _) = Region::create(Direction::Up, shape.up_size())?;
    let at = shape.ring(0).context("the only ring")?;
    let filter = Filter {
        points: Points::default().and(Point::Rx).and(Point::Drop),
        wanted: Vec::new(),
        only: None,
        snaplen: u16::MAX,
    };
    let over = AtomicBool::new(false);
    let read = || -> Result<u64> {
        pin(GENERATOR_CORE)?;
        let (mut reader, mut buffer, mut count) = (ring::Reader::new(at), [0; 2048], 0);
        while !over.load(Ordering::Relaxed) {
            while let Some(record) = reader.peek(&down).map_err(|nonsense| anyhow!("{nonsense:?}"))? {
                reader.take(&down, &record, &mut buffer);
                count += 1;
            }
            reader.publish(&up);
        }
        Ok(count)
    };
    thread::scope(|scope| {
        let reading = scope.spawn(read);
        let tap = EngineTap::new(CaptureId::new(1), filter, ring::Writer::new(down.clone(), up.clone(), at));
        let rate = working(scope, || {
            let (mut tap, mut taps) = (Some(tap), None);
            sunk_by(|engine, now| {
                let taps = taps.get_or_insert_with(|| engine.taps());
                tap.take().into_iter().for_each(|tap| taps.add(tap));
                engine.turn_seen(now, taps).moved
            })
        });
        over.store(true, Ordering::Relaxed);
        let read = reading.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        ensure!(read != 0, "nothing was captured");
        rate
    })
}

/// A program that looks at a daemon until it is dropped.
struct Looking(Child);

impl Looking {
    fn start(served: &Served, words: &[&str]) -> Result<Self> {
        let mut command = served.daemon.home().command(&Wrapper::default(), "octroi", words)?;
        Ok(Self(command.stdout(Stdio::null()).spawn()?))
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn wire(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let plain = RefCell::new(Served::new()?);
    let (captured, watched) = (Served::new()?, Served::new()?);
    let tuple = format!("any:{SINK}");
    let words = ["capture", "--at", "rx,tx,drop", "--tuple", "udp", &tuple, "-w", "/dev/null"];
    let capturing = Looking::start(&captured, &words)?;
    lab::until("it captures", || Ok(captured.daemon.log().contains("begins")))?;
    let watching = Looking::start(&watched, &["top", "--json", "--interval", "100", "--count", "1000000"])?;
    let (captured, watched) = (RefCell::new(captured), RefCell::new(watched));
    let unseen = || plain.borrow_mut().received();
    let pairs = interleaved(runs, Better::Higher, || captured.borrow_mut().received(), unseen)?;
    rows.extend(
        Row::paired("capture_veth", "packets/s", "a daemon without a capture", &pairs)
            .map(|row| row.with_limit(CAPTURED)),
    );
    let pairs = interleaved(runs, Better::Higher, || watched.borrow_mut().received(), unseen)?;
    rows.extend(
        Row::paired("top_veth", "packets/s", "a daemon that nobody watches", &pairs)
            .map(|row| row.with_limit(WATCHED)),
    );
    drop((capturing, watching));
    for served in [plain, captured, watched] {
        served.into_inner().end()?;
    }
    Ok(())
}
