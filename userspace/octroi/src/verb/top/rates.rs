//! What happened between two answers of `status`, per second.
use std::{collections::BTreeMap, time::Duration};

use client::control::status::{RuleStatus, SessionRow, Status};
use serde::Serialize;

/// Rates per second over one interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rates {
    /// The daemon's instance.
    pub(crate) instance: String,
    /// Length of the interval, in milliseconds.
    pub(crate) interval_ms: u64,
    /// Served queues.
    pub(crate) queues: Vec<QueueRate>,
    /// Engines.
    pub(crate) engines: Vec<EngineRate>,
    /// Targets.
    pub(crate) targets: Vec<TargetRate>,
    /// Applications.
    pub(crate) sessions: Vec<SessionRate>,
    /// Rules of filters that have ever matched, the fastest first.
    pub(crate) rules: Vec<RuleRate>,
    /// Drop reasons that have ever moved, the fastest first.
    pub(crate) drops: Vec<DropRate>,
    /// Packets per second that the OS stack got.
    pub(crate) passed_pps: u64,
    /// Packets waiting now.
    pub(crate) held: u64,
}

/// Packets per second of one queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct QueueRate {
    /// Its interface.
    pub(crate) interface: String,
    /// Its number.
    pub(crate) queue: u32,
    /// Taken from its socket.
    pub(crate) rx_pps: u64,
    /// Consumed here.
    pub(crate) delivered_pps: u64,
    /// Sent.
    pub(crate) transmitted_pps: u64,
}

/// One engine's load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct EngineRate {
    /// Its number.
    pub(crate) engine: u32,
    /// What it does.
    pub(crate) role: String,
    /// Its core.
    pub(crate) core: Option<u32>,
    /// Its state.
    pub(crate) state: String,
    /// Share of a core it used, in percent.
    pub(crate) cpu_percent: f64,
}

/// One target's rates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct TargetRate {
    /// Its number.
    pub(crate) tuple: u16,
    /// What it does.
    pub(crate) kind: String,
    /// Its tuple as text.
    pub(crate) listens: String,
    /// Packets per second.
    pub(crate) pps: u64,
    /// Bits of frames per second.
    pub(crate) bps: u64,
}

/// One application's rates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SessionRate {
    /// Its slot.
    pub(crate) slot: u16,
    /// What it calls itself.
    pub(crate) name: String,
    /// Packets per second put into its rings.
    pub(crate) rx_pps: u64,
    /// Packets per second that it sent.
    pub(crate) tx_pps: u64,
    /// Packets per second, to it or from it, that were dropped.
    pub(crate) dropped_pps: u64,
}

/// One rule of an attached filter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RuleRate {
    /// To what its filter is attached.
    #[serde(rename = "where")]
    pub(crate) at: String,
    /// Its filter's name.
    pub(crate) filter: String,
    /// Its number, from 1.
    pub(crate) rule: u32,
    /// What it does, and its code.
    pub(crate) action: String,
    /// Packets per second that it was the first to match.
    pub(crate) pps: u64,
    /// Packets since its filter was attached.
    pub(crate) total: u64,
}

/// One drop reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct DropRate {
    /// Its registry name.
    pub(crate) reason: String,
    /// Packets per second.
    pub(crate) pps: u64,
    /// Packets since the daemon started.
    pub(crate) total: u64,
}

type Counts = BTreeMap<String, u64>;

impl Rates {
    /// The rates between two answers, `span` apart.
    #[must_use]
    pub(crate) fn between(before: &Status, after: &Status, span: Duration) -> Self {
        let per_second = PerSecond(span.as_secs_f64().max(1e-6));
        Self {
            instance: after.head.instance.to_string(),
            interval_ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
            queues: queues(before, after, per_second),
            engines: engines(before, after, per_second),
            targets: targets(before, after, per_second),
            sessions: sessions(before, after, per_second),
            rules: rules(before, after, per_second),
            drops: drops(&before.head.books.dropped, &after.head.books.dropped, per_second),
            passed_pps: per_second.of(before.head.books.passed, after.head.books.passed),
            held: after.head.books.held,
        }
    }
}

/// Seconds by which a difference is divided.
#[derive(Clone, Copy)]
struct PerSecond(f64);

impl PerSecond {
    /// A counter that went back belongs to something new: its whole value counts.
    fn of(self, before: u64, after: u64) -> u64 {
        let difference = after.checked_sub(before).unwrap_or(after);
        (difference as f64 / self.0).round() as u64
    }

    fn counter(self, name: &str, before: Option<&Counts>, after: &Counts) -> u64 {
        let value = |counts: &Counts| counts.get(name).copied().unwrap_or(0);
        self.of(before.map_or(0, value), value(after))
    }
}

fn queues(before: &Status, after: &Status, per_second: PerSecond) -> Vec<QueueRate> {
    let rate = |row: &client::control::status::QueueRow| {
        let old = before.queues.iter().find(|old| old.interface == row.interface && old.queue == row.queue);
        let pps = |name| per_second.counter(name, old.map(|old| &old.counters), &row.counters);
        QueueRate {
            interface: row.interface.clone(),
            queue: row.queue,
            rx_pps: pps("rx"),
            delivered_pps: pps("delivered"),
            transmitted_pps: pps("transmitted"),
        }
    };
    after.queues.iter().map(rate).collect()
}

fn engines(before: &Status, after: &Status, per_second: PerSecond) -> Vec<EngineRate> {
    let rate = |row: &client::control::status::EngineRow| {
        let old = before.engines.iter().find(|old| old.engine == row.engine).map_or(0, |old| old.cpu_ns);
        EngineRate {
            engine: row.engine,
            role: row.role.clone(),
            core: row.core,
            state: row.state.clone(),
            cpu_percent: per_second.of(old, row.cpu_ns) as f64 / 1e7,
        }
    };
    after.engines.iter().map(rate).collect()
}

fn targets(before: &Status, after: &Status, per_second: PerSecond) -> Vec<TargetRate> {
    let rate = |row: &client::control::status::TargetStatus| {
        let target = &row.target;
        let old = before.targets.iter().find(|old| old.target == *target).map(|old| &old.counters);
        TargetRate {
            tuple: target.tuple,
            kind: target.kind.to_string(),
            listens: format!("{} {}:{}", target.proto, target.addr, target.port),
            pps: per_second.counter("target.packets", old, &row.counters),
            bps: per_second.counter("target.bytes", old, &row.counters).saturating_mul(8),
        }
    };
    after.targets.iter().map(rate).collect()
}

fn sessions(before: &Status, after: &Status, per_second: PerSecond) -> Vec<SessionRate> {
    let rate = |row: &SessionRow| {
        let same = |old: &&SessionRow| (old.slot, old.generation) == (row.slot, row.generation);
        let old = before.sessions.iter().find(same);
        let pps = |count: fn(&SessionRow) -> u64| per_second.of(old.map_or(0, count), count(row));
        SessionRate {
            slot: row.slot,
            name: row.name.clone(),
            rx_pps: pps(SessionRow::received),
            tx_pps: pps(SessionRow::sent),
            dropped_pps: pps(SessionRow::dropped),
        }
    };
    after.sessions.iter().map(rate).collect()
}

fn rules(before: &Status, after: &Status, per_second: PerSecond) -> Vec<RuleRate> {
    let rate = |row: &RuleStatus| {
        let same = |old: &&RuleStatus| {
            old.at == row.at && (old.generation, old.rule.rule) == (row.generation, row.rule.rule)
        };
        let old = before.rules.iter().find(same).map_or(0, |old| old.rule.matched);
        RuleRate {
            at: row.at.to_string(),
            filter: row.filter.clone(),
            rule: row.rule.rule,
            action: format!("{} {}", row.rule.action, row.rule.code),
            pps: per_second.of(old, row.rule.matched),
            total: row.rule.matched,
        }
    };
    let mut rates: Vec<_> = after.rules.iter().map(rate).collect();
    rates.sort_by_key(|rate| std::cmp::Reverse((rate.pps, rate.total)));
    rates
}

fn drops(before: &Counts, after: &Counts, per_second: PerSecond) -> Vec<DropRate> {
    let rate = |(reason, &total): (&String, &u64)| DropRate {
        reason: reason.clone(),
        pps: per_second.counter(reason, Some(before), after),
        total,
    };
    let mut rates: Vec<_> = after.iter().map(rate).collect();
    rates.sort_by_key(|rate| std::cmp::Reverse((rate.pps, rate.total)));
    rates
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two answers, two seconds apart: 1000 packets delivered, one target new, drops moved.
    pub(crate) fn example() -> Rates {
        let before: Status =
            serde_json::from_str(include_str!("../../../testdata/status.json")).expect("a status");
        let mut after = before.clone();
        let counters = &mut after.queues[0].counters;
        counters.insert("rx".into(), 1_001_002);
        counters.insert("delivered".into(), 1_000_000);
        after.engines[0].cpu_ns += 1_000_000_000;
        after.targets[1].counters.insert("target.packets".into(), 1_000_000);
        after.targets[1].counters.insert("target.bytes".into(), 60_000_000);
        let session = &mut after.sessions[0].counters;
        session.insert("rx_delivered".into(), 1700);
        session.insert("tx_hairpin".into(), 107);
        session.insert("tx_not_owner".into(), 5);
        after.head.books.dropped.insert("rx_stale".into(), 42);
        after.head.books.passed += 10;
        Rates::between(&before, &after, Duration::from_secs(2))
    }

    #[test]
    fn rates_are_differences_by_time() {
        let rates = example();
        assert_eq!((rates.queues[0].rx_pps, rates.queues[0].delivered_pps), (500, 500));
        assert_eq!(rates.queues[0].transmitted_pps, 0);
        assert_eq!(rates.engines[0].cpu_percent, 50.0);
        assert_eq!((rates.targets[1].pps, rates.targets[1].bps), (500, 240_000));
        let session = &rates.sessions[0];
        assert_eq!((session.rx_pps, session.tx_pps, session.dropped_pps), (500, 50, 1));
        assert_eq!(rates.passed_pps, 5);
        let drops: Vec<_> = rates.drops.iter().map(|d| (d.reason.as_str(), d.pps, d.total)).collect();
        assert_eq!(drops, [("rx_stale", 20, 42), ("xsk_ring_full", 0, 1)]);
    }

    #[test]
    fn a_counter_that_went_back_starts_from_nothing() {
        assert_eq!(PerSecond(1.0).of(100, 30), 30);
    }
}
