//! `write`: generated frames into a capture file, to be replayed offline.
use std::{fs::File, path::PathBuf, process::ExitCode};

use abi::pktgen::Cursor;
use anyhow::{Context, Result, ensure};
use ixp::{clock::Nanos, port::pcap::Recorder};
use octroi_bench::traffic::pace::{Pace, Rate};
use serde::Serialize;

use crate::{
    args::{End, Traffic},
    show,
};

/// Most frames of a file: 100 million of the smallest are 7 GiB.
const MAX_FRAMES: u64 = 100_000_000;

/// Write generated frames into a capture file; same seed, same bytes.
///
/// Its times are the schedule's, from 0 on; --count or --duration says how many frames there are.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file; an old one is replaced.
    #[arg(long)]
    out: PathBuf,
    /// Frames a second of the schedule.
    #[arg(long, default_value = "1000")]
    rate: Rate,
    #[command(flatten)]
    traffic: Traffic,
    #[command(flatten)]
    end: End,
}

#[derive(Serialize)]
struct Report {
    verb: &'static str,
    frames: u64,
    bytes: u64,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args { out, rate, traffic, end } = args;
    ensure!(*rate != Rate::UNLIMITED, "--rate max gives frames no time: say how many a second");
    let mut plan = traffic.plan()?;
    plan.set_interval(rate.interval_q());
    let pace = Pace::new(0, rate.interval_q());
    let frames = end.frames_within(&pace);
    ensure!(frames <= MAX_FRAMES, "{frames} frames are too many for a file: {MAX_FRAMES} is the most");
    let at = || format!("--out {}", out.display());
    let mut recorder = File::create(out).and_then(Recorder::new).with_context(at)?;
    let (mut cursor, mut frame, mut bytes) = (Cursor::starting(0), vec![0; plan.longest()], 0);
    for _ in 0..frames {
        let time = Nanos::new(cursor.due_ns());
        let len = plan.next(&mut cursor, 0, &mut frame);
        recorder.write(time, &frame[..len]).with_context(at)?;
        bytes += len as u64;
    }
    recorder.flush().with_context(at)?;
    let mut table = show::table("write");
    show::line(&mut table, "frames", frames.to_string());
    show::line(&mut table, "bytes of frames", bytes.to_string());
    show::print(end.form(), &Report { verb: "write", frames, bytes }, &table)?;
    Ok(ExitCode::SUCCESS)
}
