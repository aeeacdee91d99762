//! `mux_workers_2`, `egress_workers_2`: what two engines with applications do at once, each on its core, against one alone.
//!
//! Engines of this layout share nothing, so a figure is the rate of one of the two, and a ratio below 1 is what the machine's
//! cores share: memory, or, where they are two threads of one core, that.
use std::sync::Barrier;

use anyhow::Result;

use super::{
    apps::{Apps, Load, Way},
    stage::{ENGINE_CORE, GENERATOR_CORE},
};
use crate::{
    engine::clock::pin,
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
};

/// Packets of one run of each.
const PACKETS: u64 = 2_000_000;
/// Bytes of a frame, FCS included.
const FRAME: u16 = 64;
/// Nobody generates anything here: that core is free.
const CORES: [usize; 2] = [ENGINE_CORE, GENERATOR_CORE];

/// Measures both rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    for (id, way) in [("mux_workers_2", Way::Rx), ("egress_workers_2", Way::Tx)] {
        let pairs = interleaved(
            runs,
            Better::Higher,
            || rate_of_each(&CORES, way),
            || rate_of_each(&CORES[..1], way),
        )?;
        rows.extend(Row::paired(id, "packets/s", "one engine alone", &pairs));
    }
    Ok(())
}

/// Packets a second of an engine, while there is one at work on each of these cores.
fn rate_of_each(cores: &[usize], way: Way) -> Result<f64> {
    let load = Load::one(FRAME);
    let start = Barrier::new(cores.len());
    let engines = cores.iter().map(|_| match way {
        Way::Rx => Apps::receiving(load),
        Way::Tx => Apps::sending(load, &[]),
    });
    let engines = engines.collect::<Result<Vec<_>>>()?;
    let rates = std::thread::scope(|scope| {
        let start = &start;
        let run = |(mut engine, &core): (Apps, &usize)| {
            scope.spawn(move || {
                // Whoever cannot be pinned lets nobody wait for him.
                let pinned = pin(core);
                start.wait();
                pinned?;
                Ok(1e9 / engine.time(way, PACKETS)?)
            })
        };
        let threads: Vec<_> = engines.into_iter().zip(cores).map(run).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<f64>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    Ok(rates.iter().sum::<f64>() / rates.len() as f64)
}
