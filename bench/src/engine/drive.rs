//! The loops: send by a schedule, collect into a book, or both at once.
//!
//! Every loop ends: by its count, by its duration, or some time after the last frame. With a rate, sending is open
//! loop: each frame has its time, and what could not be sent in time is reported, not forgiven. Without one, an echo is
//! closed loop: a window of frames is under way, and each that returns lets the next one go.
use anyhow::Result;
use serde::Serialize;

use super::{
    Inlet, Left, Outlet,
    clock::{Clock, SLACK_NS},
};
use crate::traffic::{
    book::Book,
    pace::{Pace, Rate},
};

/// Longest job, so that none runs for ever: a day.
pub const MAX_DURATION_NS: u64 = 86_400_000_000_000;
/// How long a lost frame may hold up a window.
const FORGIVEN_NS: u64 = 200_000_000;
/// Empty rounds before a loop sleeps.
const EMPTY_ROUNDS: u32 = 64;
/// Longest sleep: progress is shown in between.
const SLEEP_NS: u64 = 10_000_000;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// How fast.
    pub rate: Rate,
    /// At most so many frames.
    pub frames: Option<u64>,
    /// For at most so long.
    pub duration_ns: u64,
    /// How long to wait for what is still under way.
    pub linger_ns: u64,
    /// Without a rate: so many frames under way. With one: no limit.
    pub window: u64,
    /// What to do while there is nothing to do.
    pub idle: Idle,
}

/// What a loop does between frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Sleep until a frame arrives or is due; costs a wake-up.
    #[default]
    Sleep,
    /// Look again and again; needs a core of its own.
    Spin,
}

/// What a sender did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sent {
    /// Frames that left.
    pub sent: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Frames that should have left by the schedule and did not.
    pub unsent: u64,
    /// From the first frame to the last, in seconds.
    pub duration_s: f64,
    /// Frames a second.
    pub rate_pps: f64,
    /// Furthest that a frame was behind its time.
    pub lag_ns_max: u64,
}

/// What a receiver did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Received {
    /// From the first frame to the last, in seconds.
    pub duration_s: f64,
    /// Frames a second.
    pub rate_pps: f64,
    /// Frames lost in the receiver's own rings.
    pub ring_losses: u64,
}

/// How far a loop is, for whoever watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since the start.
    pub elapsed_ns: u64,
    /// Frames that left.
    pub sent: u64,
    /// Frames that arrived.
    pub received: u64,
}

impl Job {
    /// A job of `duration_ns` without a count, with the defaults of the rest.
    #[must_use]
    pub fn lasting(duration_ns: u64, rate: Rate) -> Self {
        let duration_ns = duration_ns.min(MAX_DURATION_NS);
        Self { rate, frames: None, duration_ns, linger_ns: 500_000_000, window: 256, idle: Idle::Sleep }
    }

    /// The frames that the job and the schedule allow together.
    pub(super) fn total(&self, pace: &Pace) -> u64 {
        pace.planned(self.duration_ns).min(self.frames.unwrap_or(u64::MAX))
    }
}

impl Sent {
    /// What a sender did from `start_ns` to `end_ns`, of `total` frames planned.
    pub(super) fn new(left: Left, total: Option<u64>, lag_ns_max: u64, took_ns: u64) -> Self {
        Self {
            sent: left.frames,
            bytes: left.bytes,
            unsent: total.map_or(0, |total| total.saturating_sub(left.frames)),
            duration_s: took_ns as f64 / 1e9,
            rate_pps: rate(left.frames, took_ns),
            lag_ns_max,
        }
    }
}

/// Frames a second; 0 if no time has passed.
#[must_use]
pub fn rate(frames: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { frames as f64 * 1e9 / ns as f64 }
}

/// Sends until the job is done.
///
/// # Errors
/// The wire is gone.
pub fn send(
    outlet: &mut impl Outlet,
    job: &Job,
    clock: &impl Clock,
    watch: &mut dyn FnMut(Progress),
) -> Result<Sent> {
    let mut sending = Sending::start(outlet, job, clock);
    loop {
        let now = clock.now_ns();
        if sending.over(now) {
            return Ok(sending.sent(now));
        }
        sending.offer(outlet, now, u64::MAX)?;
        watch(Progress { elapsed_ns: now - sending.start_ns, sent: sending.left.frames, received: 0 });
        if sending.pace.due(now) == 0 && job.idle == Idle::Sleep {
            clock.sleep_until(sending.pace.next_due_ns().min(sending.end_ns));
        }
    }
}

/// Collects into `book` until the job is done.
///
/// The linger starts with the first frame: before it, the whole duration is waited.
///
/// # Errors
/// The wire is gone.
pub fn collect(
    inlet: &mut impl Inlet,
    book: &mut Book,
    job: &Job,
    clock: &impl Clock,
    watch: &mut dyn FnMut(Progress),
) -> Result<Received> {
    let start = clock.now_ns();
    let end = start.saturating_add(job.duration_ns);
    let mut collecting = Collecting::default();
    let mut empty = 0;
    loop {
        let ours = collecting.take(inlet, book, clock)?;
        let now = clock.now_ns();
        let received = book.tally().received;
        watch(Progress { elapsed_ns: now - start, sent: 0, received });
        let silent = collecting.first_ns.is_some() && job.linger_ns <= now - collecting.last_ns;
        if end <= now || silent || job.frames.is_some_and(|frames| frames <= received) {
            return Ok(collecting.received(inlet, received));
        }
        empty = if ours == 0 { empty + 1 } else { 0 };
        if EMPTY_ROUNDS <= empty && job.idle == Idle::Sleep {
            inlet.wait(SLEEP_NS.min(end - now))?;
        }
    }
}

/// Sends and collects at once until the job is done and what is under way had its time to return.
///
/// # Errors
/// The wire is gone.
pub fn echo(
    engine: &mut (impl Outlet + Inlet),
    book: &mut Book,
    job: &Job,
    clock: &impl Clock,
    watch: &mut dyn FnMut(Progress),
) -> Result<(Sent, Received)> {
    let mut sending = Sending::start(engine, job, clock);
    book.begin(sending.start_ns);
    let mut collecting = Collecting::default();
    let mut window = Window::new(job);
    let mut sent = None;
    let mut empty = 0;
    loop {
        let ours = collecting.take(engine, book, clock)?;
        let now = clock.now_ns();
        let received = book.tally().received;
        watch(Progress { elapsed_ns: now - sending.start_ns, sent: sending.left.frames, received });
        if sent.is_none() && sending.over(now) {
            sent = Some(sending.sent(now));
        }
        let mut left = 0;
        match sent {
            None => left = sending.offer(engine, now, window.open(sending.left.frames, received, now))?,
            Some(sent)
                if sent.sent <= received || job.linger_ns <= sending.since_last(collecting.last_ns, now) =>
            {
                return Ok((sent, collecting.received(engine, received)));
            }
            Some(_) => {}
        }
        empty = if ours == 0 && left == 0 { empty + 1 } else { 0 };
        if EMPTY_ROUNDS <= empty && job.idle == Idle::Sleep {
            let until = if sent.is_none() { sending.pace.next_due_ns() } else { u64::MAX };
            // A schedule without times has none to sleep until; whoever is late does not sleep.
            let until = if job.rate == Rate::UNLIMITED { u64::MAX } else { until };
            let sleep = until.saturating_sub(now + SLACK_NS).min(SLEEP_NS);
            if sleep != 0 {
                engine.wait(sleep)?;
            }
        }
    }
}

/// The sending side of a loop.
struct Sending {
    start_ns: u64,
    end_ns: u64,
    pace: Pace,
    total: u64,
    left: Left,
    last_ns: u64,
    lag_ns_max: u64,
}

impl Sending {
    fn start(outlet: &mut impl Outlet, job: &Job, clock: &impl Clock) -> Self {
        let (start_ns, interval_q) = (clock.now_ns(), job.rate.interval_q());
        outlet.restart(start_ns, interval_q);
        let pace = Pace::new(start_ns, interval_q);
        Self {
            start_ns,
            end_ns: start_ns.saturating_add(job.duration_ns),
            total: job.total(&pace),
            pace,
            left: Left::default(),
            last_ns: start_ns,
            lag_ns_max: 0,
        }
    }

    fn over(&self, now: u64) -> bool {
        self.end_ns <= now || self.total <= self.left.frames
    }

    fn offer(&mut self, outlet: &mut impl Outlet, now: u64, window: u64) -> Result<u64> {
        let due = self.pace.due(now).min(self.total - self.left.frames).min(window);
        if due == 0 {
            return Ok(0);
        }
        self.lag_ns_max = self.lag_ns_max.max(self.pace.lag_ns(now));
        let left = outlet.offer(due, now)?;
        self.pace.advance(left.frames);
        self.left.frames += left.frames;
        self.left.bytes += left.bytes;
        if left.frames != 0 {
            self.last_ns = now;
        }
        Ok(left.frames)
    }

    fn since_last(&self, received_ns: u64, now: u64) -> u64 {
        now.saturating_sub(self.last_ns.max(received_ns))
    }

    fn sent(&self, now: u64) -> Sent {
        let total = (self.total != u64::MAX).then_some(self.total);
        // A schedule takes its time even if its last frame leaves early in it.
        Sent::new(self.left, total, self.lag_ns_max, now - self.start_ns)
    }
}

/// The collecting side of a loop.
#[derive(Default)]
struct Collecting {
    first_ns: Option<u64>,
    last_ns: u64,
}

impl Collecting {
    /// Enters what has arrived and returns how many frames were ours.
    fn take(&mut self, inlet: &mut impl Inlet, book: &mut Book, clock: &impl Clock) -> Result<u64> {
        let before = book.tally().received;
        inlet.collect(clock, &mut |frame, now_ns| {
            let known = book.tally().received;
            let _ = book.enter(frame, now_ns);
            if known != book.tally().received {
                self.first_ns.get_or_insert(now_ns);
                self.last_ns = now_ns;
            }
        })?;
        Ok(book.tally().received - before)
    }

    fn received(&self, inlet: &impl Inlet, frames: u64) -> Received {
        let took = self.last_ns - self.first_ns.unwrap_or(self.last_ns);
        Received { duration_s: took as f64 / 1e9, rate_pps: rate(frames, took), ring_losses: inlet.losses() }
    }
}

/// How many frames may be under way without a rate.
struct Window {
    size: u64,
    written_off: u64,
    seen: u64,
    moved_ns: u64,
}

impl Window {
    fn new(job: &Job) -> Self {
        let size = if job.rate == Rate::UNLIMITED { job.window.max(1) } else { u64::MAX };
        Self { size, written_off: 0, seen: 0, moved_ns: 0 }
    }

    /// Frames that may leave now. Those that did not come back for a while are written off: lost frames must not
    /// close the window for good.
    fn open(&mut self, sent: u64, received: u64, now: u64) -> u64 {
        let under_way = sent.saturating_sub(received + self.written_off);
        if self.seen != received || under_way < self.size {
            (self.seen, self.moved_ns) = (received, now);
        } else if FORGIVEN_NS <= now - self.moved_ns {
            self.written_off += under_way;
            return self.size;
        }
        self.size.saturating_sub(under_way)
    }
}

#[cfg(test)]
mod tests;
