//! What may be read of an engine while it runs: its ledger, its state, its pulse.
//!
//! Plain numbers that the engine stores and others load. Nothing here can make an engine wait.
use std::{
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use crate::{clock::Nanos, ledger::Ledger, tables::Generation};

/// What an engine does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// Its last round moved packets.
    Busy = 0,
    /// Its last round found nothing, and it looks again.
    Idle = 1,
    /// It sleeps until something wakes it.
    Blocked = 2,
    /// Its thread has ended.
    Stopped = 3,
}

/// The numbers of one engine at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// What it does.
    pub activity: Activity,
    /// Rounds since start.
    pub rounds: u64,
    /// Rounds that moved packets.
    pub batches: u64,
    /// Frames that wait in its backlogs and in the rings it reads.
    pub held: u64,
    /// The clock when its last round began.
    pub heartbeat: Nanos,
    /// Whether its supervisor left it something to do that it has not taken yet.
    pub mail_waits: bool,
    /// Processor time of its thread, as far as the host tells.
    pub cpu: Option<Duration>,
}

/// One engine's panel.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Panel {
    activity: AtomicU8,
    thread: AtomicU32,
    rounds: AtomicU64,
    batches: AtomicU64,
    held: AtomicU64,
    heartbeat: AtomicU64,
    seen: AtomicU64,
    pub(crate) ledger: Ledger,
}

impl Panel {
    /// The engine's thread says who it is.
    pub(crate) fn started(&self, thread: u32) {
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// The tables that the round beginning now goes by.
    #[inline]
    pub(crate) fn begin(&self, now: Nanos, tables: Generation) {
        self.heartbeat.store(now.get(), Ordering::Relaxed);
        // Release: who sees this knows that every packet judged by older tables has its verdict.
        self.seen.store(tables.get(), Ordering::Release);
    }

    /// A round is over that moved `moved` packets and left `held` waiting.
    #[inline]
    pub(crate) fn end(&self, moved: usize, held: usize) {
        let next =
            |counter: &AtomicU64| counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.held.store(held as u64, Ordering::Relaxed);
        if moved != 0 {
            next(&self.batches);
        }
        self.set(if moved == 0 { Activity::Idle } else { Activity::Busy });
        next(&self.rounds);
    }

    #[inline]
    pub(crate) fn set(&self, activity: Activity) {
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    /// The tables that the last round went by.
    pub(crate) fn seen(&self) -> Generation {
        Generation::from_raw(self.seen.load(Ordering::Acquire))
    }

    /// Whether the engine goes by `tables` or newer ones.
    pub(crate) fn has_seen(&self, tables: Generation) -> bool {
        tables.get() <= self.seen.load(Ordering::Acquire)
    }

    pub(crate) fn pulse(&self) -> Pulse {
        let activity = match self.activity.load(Ordering::Relaxed) {
            0 => Activity::Busy,
            1 => Activity::Idle,
            2 => Activity::Blocked,
            _ => Activity::Stopped,
        };
        Pulse {
            activity,
            rounds: self.rounds.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
            heartbeat: Nanos::new(self.heartbeat.load(Ordering::Relaxed)),
            mail_waits: false,
            cpu: cpu_time(self.thread.load(Ordering::Relaxed)),
        }
    }
}

/// Processor time of a thread of this process: asked from outside, so that the engine need not.
fn cpu_time(thread: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}
