//! Notices an engine that has stopped looping while it should: hung, starved of its core, or dead.
//!
//! It looks at how many rounds an engine has done, not at the engine's clock, and takes its own time as an argument:
//! a clock that is stepped neither accuses nor hides anybody. It reports; what to do about it is the supervisor's.
use std::{collections::BTreeMap, time::Duration};

use crate::{
    clock::Nanos,
    engines::EngineId,
    panel::{Activity, Pulse},
};

/// An engine that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Which engine.
    pub engine: EngineId,
    /// For how long, as far as this watchdog has looked.
    pub for_at_least: Duration,
    /// Rounds it had done.
    pub rounds: u64,
}

/// Remembers what each engine had done when it was last looked at.
#[derive(Clone, Debug)]
pub struct Watchdog {
    limit: Duration,
    seen: BTreeMap<EngineId, (u64, Nanos)>,
}

impl Watchdog {
    /// A watchdog that reports engines which stand still for `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, seen: BTreeMap::new() }
    }

    /// Looks at all engines at time `now` and returns those that stand still.
    ///
    /// An engine that sleeps with nothing to do does not stand still.
    pub fn look(&mut self, pulses: &[(EngineId, Pulse)], now: Nanos) -> Vec<Stuck> {
        let mut stuck = Vec::new();
        for &(engine, pulse) in pulses {
            let (rounds, since) = self.seen.entry(engine).or_insert((pulse.rounds, now));
            let sleeps = matches!(pulse.activity, Activity::Blocked | Activity::Stopped) && !pulse.mail_waits;
            if *rounds != pulse.rounds || sleeps || now < *since {
                (*rounds, *since) = (pulse.rounds, now);
            }
            let for_at_least = now.since(*since);
            if self.limit <= for_at_least {
                stuck.push(Stuck { engine, for_at_least, rounds: pulse.rounds });
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: EngineId = EngineId::new(0);
    const MS: Duration = Duration::from_millis(1);

    fn pulse(activity: Activity, rounds: u64, mail_waits: bool) -> [(EngineId, Pulse); 1] {
        let pulse = Pulse {
            activity,
            rounds,
            batches: 0,
            held: 0,
            heartbeat: Nanos::default(),
            mail_waits,
            cpu: None,
        };
        [(ENGINE, pulse)]
    }

    fn at(ms: u32) -> Nanos {
        Nanos::default() + MS * ms
    }

    #[test]
    fn who_loops_or_sleeps_is_left_alone() {
        let mut dog = Watchdog::new(MS * 10);
        for ms in (0..1000).step_by(10) {
            assert_eq!(dog.look(&pulse(Activity::Busy, u64::from(ms), false), at(ms)), []);
        }
        for ms in (1000..2000).step_by(10) {
            assert_eq!(dog.look(&pulse(Activity::Blocked, 5, false), at(ms)), []);
        }
    }

    #[test]
    fn f17_who_stands_still_is_reported_until_it_goes_on() {
        for (activity, mail) in [(Activity::Busy, false), (Activity::Idle, false), (Activity::Blocked, true)]
        {
            let mut dog = Watchdog::new(MS * 10);
            assert_eq!(dog.look(&pulse(activity, 7, mail), at(0)), []);
            assert_eq!(dog.look(&pulse(activity, 7, mail), at(9)), []);
            let stuck = Stuck { engine: ENGINE, for_at_least: MS * 12, rounds: 7 };
            assert_eq!(dog.look(&pulse(activity, 7, mail), at(12)), [stuck], "{activity:?}");
            assert_eq!(dog.look(&pulse(activity, 8, mail), at(13)), []);
        }
    }

    #[test]
    fn f17_a_clock_stepped_back_accuses_nobody() {
        let mut dog = Watchdog::new(MS * 10);
        dog.look(&pulse(Activity::Busy, 7, false), at(5000));
        assert_eq!(dog.look(&pulse(Activity::Busy, 7, false), at(10)), []);
        assert_eq!(dog.look(&pulse(Activity::Busy, 7, false), at(19)), []);
        assert_eq!(dog.look(&pulse(Activity::Busy, 7, false), at(20)).len(), 1);
    }
}
