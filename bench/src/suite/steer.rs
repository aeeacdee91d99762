//! What steering costs a packet, in nanoseconds over a program that does not steer: `steer_hit` and `steer_miss`.
//!
//! Both are differences of two times, and so noisier than any ratio. A hit is timed on live frames, in many short runs:
//! each gets other pages from the kernel, and where those lie in its caches moves a time more than steering does. A miss is timed
//! by `BPF_PROG_TEST_RUN`'s `repeat`, which does not restore the frame: a miss leaves it as it came (its metadata
//! is removed again), so every repetition is the first.
use abi::{
    pins::{LAB_FLOOR, LAB_PASS, PROG_INGRESS},
    port::PortConfig,
};
use anyhow::{Result, ensure};
use xsk::bpf::{Input, Instance, Lab, Verdict, XdpMode};

use super::stage::{BareRun, Flood, SHAPE, SINK, Work, first_frame, pair, plan, plan_between, steering};
use crate::{
    peer::bare::Idle,
    report::{
        bench::{Better, Row},
        interleave::{Pairs, interleaved},
        spread::Spread,
    },
};

/// Nanoseconds that steering may add to a packet: what we aim at, and what a hit never exceeds.
const AIM_NS: f64 = 60.0;
const LIMIT_NS: f64 = 100.0;
/// Pairs of short runs for each run that is asked for.
const PAIRS: u32 = 30;
/// Live frames of a short run.
const FRAMES: u32 = 30_000;
/// Frames of one run that is repeated on one frame.
const REPEAT: u32 = 1_000_000;

/// Measures both rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let hits = medians(&hit(runs)?.differences());
    let hit = Row::against_aim("steer_hit", "ns/packet", Better::Lower, &hits, AIM_NS);
    rows.extend(hit.map(|row| row.with_limit(AIM_NS / LIMIT_NS)));
    rows.extend(Row::against_aim(
        "steer_miss",
        "ns/packet",
        Better::Lower,
        &miss(runs)?.differences(),
        AIM_NS,
    ));
    Ok(())
}

/// One figure for each run that was asked for: the median of its pairs. A single pair may well say less than nothing.
fn medians(differences: &[f64]) -> Vec<f64> {
    differences.chunks(PAIRS as usize).filter_map(|run| Some(Spread::of(run)?.median)).collect()
}

/// What the sender's core, which also runs XDP, pays for a frame that is somebody's, against one that is only redirected.
///
/// One link and one receiver for both: only the program changes. The receiver never sleeps: how often it must be woken
/// depends on how fast the sender is, and would count as steering's cost.
fn hit(runs: u32) -> Result<Pairs> {
    let pair = pair()?;
    let run = BareRun::start(&pair, Work::Receive, Idle::Spin, SHAPE)?;
    let instance = steering(&pair)?;
    let loaded = instance.load(PortConfig { mac: pair.served.mac.0, ..PortConfig::default() })?;
    loaded.xsks()?.set(0, run.socket())?;
    let mut lab = Lab::load()?;
    lab.take_floor_sockets()?.set(0, run.socket())?;
    let (steer, floor) = (loaded.program(PROG_INGRESS)?, lab.program(LAB_FLOOR)?);
    let ifindex = pair.served.ifindex()?;
    let link = pair.served.netns.enter(|| lab.attach(LAB_FLOOR, ifindex, XdpMode::Native))??;
    let plan = plan(&pair, SINK)?;
    let flood = std::cell::RefCell::new(Flood::open(&pair, &plan)?);
    let time = |program| {
        link.put(program)?;
        Ok::<_, anyhow::Error>(flood.borrow_mut().time(FRAMES)?.as_nanos() as f64)
    };
    interleaved(runs * PAIRS, Better::Lower, || time(steer), || time(floor))
}

/// What a packet of the OS stack pays for passing by, against an empty program.
fn miss(runs: u32) -> Result<Pairs> {
    let (here, there) = ([2, 0, 0, 0, 0x77, 2], [2, 0, 0, 0, 0x77, 1]);
    let frame = first_frame(&plan_between(there, here, [10, 77, 0, 1].into(), [10, 77, 0, 2].into(), SINK)?);
    let instance = Instance::unpinned()?;
    let loaded = instance.load(PortConfig { mac: here, ..PortConfig::default() })?;
    let lab = Lab::load()?;
    let (steer, pass) = (loaded.program(PROG_INGRESS)?, lab.program(LAB_PASS)?);
    let input = Input::new(&frame);
    let once = input.run(steer)?;
    ensure!(once.verdict == Verdict::Pass && once.bytes == frame, "a miss must leave the frame as it came");
    let time = |program| Ok::<_, anyhow::Error>(input.time(program, REPEAT)?.as_nanos() as f64);
    interleaved(runs, Better::Lower, || time(steer), || time(pass))
}
