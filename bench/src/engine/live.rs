//! Frames made inside the kernel: `generate`, run on live frames that leave by a devmap.
//!
//! The fastest sender there is, and it only sends. Each run of more than one frame costs the kernel two RCU grace
//! periods, some 5 to 30 ms, because it patches its XDP dispatcher; so a schedule is carried out in one run, by the
//! program itself, and a schedule too slow for that frame by frame. Frames leave by the queue of the core that
//! this thread runs on. What the device refuses is lost without a word: the receiver's numbers show it.
use std::time::Instant;

use abi::pktgen::{Config, Cursor};
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
/// Longest interval that the program waits out, in nanoseconds: `abi::pktgen::MAX_LOOKS` looks, with room.
const PATIENCE_NS: u64 = 40_000;
/// Frames of the first run of a job without a count or a rate.
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
        self.config.interval_q = job.rate.interval_q();
        let start = clock.now_ns();
        let pace = Pace::new(start, self.config.interval_q);
        let total = job.total(&pace);
        let waits = 0 < self.interval_ns() && self.interval_ns() <= PATIENCE_NS;
        self.generator.set_config(&Config { waits: u8::from(waits), ..self.config })?;
        self.generator.set_cursor(&Cursor::starting(start))?;
        if PATIENCE_NS < self.interval_ns() {
            self.one_by_one(pace, total, job, clock, watch)?;
        } else if total == u64::MAX {
            self.as_long_as(start + job.duration_ns, clock, watch, start)?;
        } else {
            self.all_at_once(total)?;
        }
        let cursor = self.generator.cursor()?;
        let took = clock.now_ns() - start;
        let known = (total != u64::MAX).then_some(total);
        let sent = Sent::new(self.left(&cursor), known, cursor.lag_max_ns, took);
        Ok(self.in_time(sent, job, took))
    }

    /// What left after the job's time was not sent by its schedule.
    fn in_time(&self, sent: Sent, job: &Job, took_ns: u64) -> Sent {
        if self.config.interval_q == 0 || took_ns <= job.duration_ns {
            return sent;
        }
        let late = sent.sent as f64 * (1.0 - job.duration_ns as f64 / took_ns as f64);
        // The kernel's own start and end of a run take time, too; a hundredth is not worth a word.
        if late <= 0.01 * sent.sent as f64 {
            sent
        } else {
            Sent { unsent: sent.unsent + late as u64, ..sent }
        }
    }

    fn one_by_one(
        &mut self,
        mut pace: Pace,
        total: u64,
        job: &Job,
        clock: &impl Clock,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let start = pace.next_due_ns();
        let end = start + job.duration_ns;
        while pace.made() < total {
            let now = clock.now_ns();
            if end <= now {
                break;
            }
            if pace.due(now) == 0 {
                clock.sleep_until(pace.next_due_ns());
                continue;
            }
            self.run(1, 1)?;
            pace.advance(1);
            watch(Progress { elapsed_ns: now - start, sent: pace.made(), received: 0 });
        }
        Ok(())
    }

    fn as_long_as(
        &mut self,
        end: u64,
        clock: &impl Clock,
        watch: &mut dyn FnMut(Progress),
        start: u64,
    ) -> Result<()> {
        let (mut frames, mut sent) = (FIRST_RUN, 0);
        loop {
            let began = Instant::now();
            self.run(frames, BATCH)?;
            sent += frames;
            let now = clock.now_ns();
            watch(Progress { elapsed_ns: now - start, sent, received: 0 });
            let left_s = end.saturating_sub(now) as f64 / 1e9;
            let per_second = frames as f64 / began.elapsed().as_secs_f64();
            frames = ((per_second * left_s * RUN_SHARE) as u64).min(MAX_RUN);
            // A run that would be over before its grace periods are is not worth starting.
            if frames < FIRST_RUN {
                return Ok(());
            }
        }
    }

    fn all_at_once(&mut self, mut total: u64) -> Result<()> {
        let batch = match self.interval_ns() {
            0 => BATCH,
            interval => ((BATCH_NS / interval as f64) as u32).clamp(1, BATCH),
        };
        while total != 0 {
            let frames = total.min(MAX_RUN);
            self.run(frames, batch)?;
            total -= frames;
        }
        Ok(())
    }

    fn run(&mut self, frames: u64, batch: u32) -> Result<()> {
        let Ok(frames) = u32::try_from(frames) else { bail!("a run has at most {MAX_RUN} frames") };
        self.generator.send(&self.template, frames, batch).context("live frames need Linux 5.18 and CAP_BPF")
    }

    const fn interval_ns(&self) -> u64 {
        self.config.interval_q >> abi::pktgen::TIME_SHIFT
    }

    fn left(&self, cursor: &Cursor) -> Left {
        Left { frames: cursor.made, bytes: (cursor.made as f64 * self.mean_len) as u64 }
    }
}
