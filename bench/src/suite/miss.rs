//! `steer_miss`: what a packet of the OS stack pays for passing by, in nanoseconds over an empty program.
//!
//! Measured with `BPF_PROG_TEST_RUN`'s `repeat`, which does not restore the frame: a miss leaves it as it came (its
//! metadata is removed again), so every repetition is the first.
use abi::{
    pins::{LAB_PASS, PROG_INGRESS},
    port::PortConfig,
};
use anyhow::{Result, ensure};
use xsk::bpf::{Input, Instance, Lab, Verdict};

use super::stage::{SINK, first_frame, plan_between};
use crate::report::bench::{Better, Row};

/// Packets of one run.
const REPEAT: u32 = 1_000_000;
/// Nanoseconds over an empty program: no more than a hit may cost.
const AIM_NS: f64 = 60.0;

/// Measures the row.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let (here, there) = ([2, 0, 0, 0, 0x77, 2], [2, 0, 0, 0, 0x77, 1]);
    let frame = first_frame(&plan_between(there, here, [10, 77, 0, 1].into(), [10, 77, 0, 2].into(), SINK)?);
    let instance = Instance::unpinned()?;
    let loaded = instance.load(PortConfig { mac: here, ..PortConfig::default() })?;
    let lab = Lab::load()?;
    let (steering, pass) = (loaded.program(PROG_INGRESS)?, lab.program(LAB_PASS)?);
    let input = Input::new(&frame);
    let once = input.run(steering)?;
    ensure!(once.verdict == Verdict::Pass && once.bytes == frame, "a miss must leave the frame as it came");
    let time = |program| input.time(program, REPEAT).map(|time| time.as_nanos() as f64);
    let mut added = Vec::new();
    for run in 0..runs {
        let (with, without) = if run % 2 == 0 {
            let with = time(steering)?;
            (with, time(pass)?)
        } else {
            let without = time(pass)?;
            (time(steering)?, without)
        };
        added.push((with - without).max(0.1));
    }
    rows.extend(Row::against_aim("steer_miss", "ns/packet", Better::Lower, &added, AIM_NS));
    Ok(())
}
