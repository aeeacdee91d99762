//! Frames sent in bursts that no ring is too small for, and what came back of them.
//!
//! It judges no frame but by comparing it with others.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use octroi_tests::lab::{Tap, WINDOW};

use crate::demo::scene::Scene;

/// How long an answer may take before it counts as lost: longer than any pause of the machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `frames`, each burst when octroid is done with the last, and takes what comes back: `count` frames, unless
/// some are lost, and whatever came besides.
///
/// # Errors
/// The device is gone, or octroid is never done with a burst.
pub(super) fn send(scene: &mut Scene, tap: &Tap, frames: &[Vec<u8>], count: u64) -> Result<Vec<Vec<u8>>> {
    let mut came_in = scene.at_rest()?.rx;
    let mut came = Vec::new();
    for burst in frames.chunks(WINDOW as usize) {
        burst.iter().try_for_each(|frame| tap.send(frame))?;
        came_in += burst.len() as u64;
        scene.done_with(came_in)?;
        take_waiting(tap, &mut came)?;
    }
    while (came.len() as u64) < count {
        match tap.receive(Instant::now() + PATIENCE)? {
            Some(frame) => came.push(frame),
            None => break,
        }
    }
    take_waiting(tap, &mut came)?;
    Ok(came)
}

fn take_waiting(tap: &Tap, came: &mut Vec<Vec<u8>>) -> Result<()> {
    while let Some(frame) = tap.receive(Instant::now())? {
        came.push(frame);
    }
    Ok(())
}

/// How many frames are among those that were wanted, each once, and the others.
pub(super) fn told_apart<'a>(came: &'a [Vec<u8>], wanted: &[Vec<u8>]) -> (u64, Vec<&'a [u8]>) {
    let mut open: BTreeMap<&[u8], u64> = BTreeMap::new();
    for frame in wanted {
        *open.entry(frame).or_default() += 1;
    }
    let mut others = Vec::new();
    for frame in came {
        match open.get_mut(frame.as_slice()) {
            Some(left @ 1..) => *left -= 1,
            _ => others.push(frame.as_slice()),
        }
    }
    ((came.len() - others.len()) as u64, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_known_as_often_as_it_was_wanted() {
        let frames = |bytes: &[u8]| bytes.iter().map(|byte| vec![*byte]).collect::<Vec<_>>();
        let came = frames(&[3, 1, 1, 1, 2]);
        let (known, others) = told_apart(&came, &frames(&[1, 2, 1, 4]));
        assert_eq!((known, others), (3, vec![&[3][..], &[1][..]]));
    }
}
