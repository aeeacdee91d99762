//! `burst_veth`: the longest burst that loses nothing, the back-to-back test of RFC 9004.
//!
//! A burst is one run of the generator inside the kernel, without a gap, at whatever rate its core reaches; the echo is
//! slower, so what a burst fills is a ring.
use anyhow::Result;

use super::{
    echoes::{Asker, Echo, Who},
    stage::SHAPE,
};
use crate::{
    report::{
        bench::{Better, Row},
        interleave::interleaved,
    },
    search::burst::{BurstSearch, REPETITIONS},
};

/// First burst that is tried, in frames.
const FIRST: u64 = 64;
/// Longest burst that is tried, in seconds.
const LONGEST_S: f64 = 2.0;
/// Repetitions for each run that is asked for: 50 in a record.
const REPEATED: u32 = REPETITIONS / 10;

/// Measures the rows.
pub(super) fn rows(runs: u32, rows: &mut Vec<Row>) -> Result<()> {
    let (ours, bare) = (Echo::smallest(Who::Octroi)?, Echo::smallest(Who::Bare)?);
    let (mut octroi, mut peer) = (ours.asker()?, bare.asker()?);
    let longest = (octroi.ceiling()?.max(peer.ceiling()?) * LONGEST_S) as u64;
    let pairs = interleaved(
        runs * REPEATED,
        Better::Higher,
        || longest_burst(&mut octroi, longest),
        || longest_burst(&mut peer, longest),
    )?;
    let ring = f64::from(SHAPE.ring);
    rows.extend(
        Row::against_aim("burst_veth", "frames", Better::Higher, &pairs.our_runs(), ring)
            .map(|row| row.with_limit(1.0)),
    );
    rows.extend(Row::paired("burst_veth_bare", "frames", "bare AF_XDP swapping addresses", &pairs));
    drop(octroi);
    ours.end()
}

/// One repetition.
fn longest_burst(asker: &mut Asker<'_>, longest: u64) -> Result<f64> {
    let mut search = BurstSearch::new(FIRST, longest, 1);
    while let Some(frames) = search.step() {
        search.record(asker.burst(u32::try_from(frames).unwrap_or(u32::MAX))?);
    }
    Ok(search.result().map_or(0.0, |found| found.frames))
}
