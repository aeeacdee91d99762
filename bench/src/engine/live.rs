//! Frames made inside the kernel: `generate`, run on live frames that leave by a devmap.
//!
//! The fastest sender there is, and it only sends. Each run of more than one frame costs the kernel two RCU grace
//! periods, some 5 to 30 ms, because it patches its XDP dispatcher; so a schedule is carried out in one run, by the
//! program itself, and a schedule too slow for that frame by frame. Frames leave by the queue of the core that
//! this thread runs on. What the device refuses is lost without a word: the receiver's numbers show it.
use std::time::Duration;

use abi::pktgen::{Config, Cursor, TIME_SHIFT};
use anyhow::{Context, Result, bail};
use xsk::bpf::Generator;

use super::{
    Left,
    clock::Clock,
    drive::{Job, Progress, Sent},
    interface::Interface,
};
use crate::traffic::{pace::Pace, plan::Plan};

/// Frames between two flushes without a rate: the kernel's own default.
const BATCH: u32 = 64;
/// Longest that a frame may wait for its batch to be full, when there is a rate.
const BATCH_NS: f64 = 4_000.0;
/// Longest interval that the program waits out: `abi::pktgen::MAX_LOOKS`, with room.
const PATIENCE_NS: u64 = 40_000;
/// From now to the first frame of a schedule: longer than the grace period before a run.
const LEAD_NS: u64 = 100_000_000;
/// Runs of the program that may make nothing: those that wait for the first frame, with room.
const SPARE_RUNS: u64 = 8_192;
/// Frames a second that no generator exceeds: a schedule beyond it would only prolong the run.
const FASTEST: u64 = 30_000_000;
/// Frames of the first run of a job without a rate.
const FIRST_RUN: u64 = 100_000;
/// How much of what is left of its time each further run of such a job is meant to take.
const RUN_SHARE: f64 = 0.9;
/// Most frames of one run.
const MAX_RUN: u64 = u32::MAX as u64;

/// Sends the frames of a plan out of an interface.
#[derive(Debug)]
pub struct LiveSender {
    generator: Generator,
    config: Config,
    template: Vec<u8>,
    mean_len: f64,
}

/// From when to when, and how much.
struct Run {
    start_ns: u64,
    end_ns: u64,
    total: u64,
}

impl LiveSender {
    /// Loads the program and points it at `interface`, in the calling thread's network namespace.
    ///
    /// On a veth the other end needs an XDP program, if only one that passes: else every frame is dropped.
    ///
    /// # Errors
    /// The eBPF object was not built, or a privilege is missing.
    pub fn open(interface: &Interface, plan: &Plan) -> Result<Self> {
        let config = *plan.config();
        let mut generator = Generator::load(&config, plan.flows())?;
        generator.set_out(interface.index()).context("the interface cannot send XDP frames")?;
        Ok(Self { generator, config, template: plan.template(), mean_len: plan.mean_len() })
    }

    /// Sends until the job is done. `watch` is called between runs only.
    ///
    /// # Errors
    /// The kernel refuses live frames: Linux 5.18 has them.
    pub fn send(&mut self, job: &Job, clock: &impl Clock, watch: &mut dyn FnMut(Progress)) -> Result<Sent> {
        let interval_q = job.rate.interval_q();
        self.config.interval_q = interval_q;
        let interval_ns = interval_q >> TIME_SHIFT;
        let in_kernel = interval_q != 0 && interval_ns <= PATIENCE_NS;
        let start_ns = clock.now_ns() + if in_kernel { LEAD_NS } else { 0 };
        let pace = Pace::new(start_ns, interval_q);
        let total = job.total(&pace);
        let run = Run { start_ns, end_ns: start_ns.saturating_add(job.duration_ns), total };
        let config = Config { scheduled: u8::from(in_kernel), end_ns: run.end_ns, total, ..self.config };
        self.generator.set_config(&config)?;
        self.generator.set_cursor(&Cursor::starting(start_ns))?;
        let mut lag_ns = 0;
        if in_kernel {
            self.scheduled(&run, job.duration_ns, interval_ns)?;
        } else if interval_q == 0 {
            self.unscheduled(&run, clock, watch)?;
        } else {
            lag_ns = self.one_by_one(&run, pace, clock, watch)?;
        }
        let took_ns = clock.now_ns().saturating_sub(start_ns);
        // After the schedule's end only the kernel's own clearing up takes time.
        let took_ns = if interval_q == 0 { took_ns } else { took_ns.min(job.duration_ns) };
        let cursor = self.generator.cursor()?;
        let known = (total != u64::MAX).then_some(total);
        Ok(Sent::new(self.left(&cursor), known, lag_ns.max(cursor.lag_max_ns), took_ns))
    }

    /// Sends `frames` frames in one run, and returns how long one took: the kernel's own figure, without the grace
    /// periods around the run.
    ///
    /// # Errors
    /// As [`LiveSender::send`].
    pub fn time(&mut self, frames: u32) -> Result<Duration> {
        self.generator.set_config(&Config {
            scheduled: 0,
            interval_q: 0,
            end_ns: u64::MAX,
            total: u64::MAX,
            ..self.config
        })?;
        self.generator.set_cursor(&Cursor::starting(0))?;
        self.run(u64::from(frames), BATCH)
    }

    /// One run for the whole schedule, which the program keeps.
    fn scheduled(&mut self, run: &Run, duration_ns: u64, interval_ns: u64) -> Result<()> {
        let possible = u128::from(duration_ns) * u128::from(FASTEST) / 1_000_000_000 + 1;
        let mut frames = run.total.min(u64::try_from(possible).unwrap_or(u64::MAX)) + SPARE_RUNS;
        let batch = ((BATCH_NS / interval_ns.max(1) as f64) as u32).clamp(1, BATCH);
        while frames != 0 {
            let some = frames.min(MAX_RUN);
            self.run(some, batch)?;
            frames -= some;
        }
        Ok(())
    }

    /// Runs as long as there are frames, and time for another one.
    fn unscheduled(&mut self, run: &Run, clock: &impl Clock, watch: &mut dyn FnMut(Progress)) -> Result<()> {
        let (mut frames, mut sent) = (FIRST_RUN.min(run.total), 0);
        loop {
            let began = clock.now_ns();
            self.run(frames, BATCH)?;
            sent += frames;
            let now = clock.now_ns();
            watch(Progress { elapsed_ns: now - run.start_ns, sent, received: 0 });
            let per_ns = frames as f64 / (now - began).max(1) as f64;
            let possible = (per_ns * run.end_ns.saturating_sub(now) as f64 * RUN_SHARE) as u64;
            frames = possible.min(run.total - sent).min(MAX_RUN);
            // A run that would be over before its grace periods are is not worth starting, unless it is the last.
            if frames == 0 || (frames < FIRST_RUN && frames == possible) {
                return Ok(());
            }
        }
    }

    /// A schedule too slow for the program to wait: single frames cost no grace period. Returns the greatest lag.
    fn one_by_one(
        &mut self,
        run: &Run,
        mut pace: Pace,
        clock: &impl Clock,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<u64> {
        let mut lag_ns = 0;
        while pace.made() < run.total {
            let now = clock.now_ns();
            if run.end_ns <= now {
                break;
            }
            if pace.due(now) == 0 {
                clock.sleep_until(pace.next_due_ns());
                continue;
            }
            lag_ns = pace.lag_ns(now).max(lag_ns);
            self.run(1, 1)?;
            pace.advance(1);
            watch(Progress { elapsed_ns: now - run.start_ns, sent: pace.made(), received: 0 });
        }
        Ok(lag_ns)
    }

    fn run(&mut self, frames: u64, batch: u32) -> Result<Duration> {
        let Ok(frames) = u32::try_from(frames) else { bail!("a run has at most {MAX_RUN} frames") };
        self.generator.send(&self.template, frames, batch).context("live frames need Linux 5.18 and CAP_BPF")
    }

    fn left(&self, cursor: &Cursor) -> Left {
        Left { frames: cursor.made, bytes: (cursor.made as f64 * self.mean_len) as u64 }
    }
}
