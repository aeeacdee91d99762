//! One filter on several engines, which share the queues: each packet is judged by one version on one engine.
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use client::control::{connection::Connection, ruler::Where};
use octroi_tests::lab::{
    self, Config, PairOptions, Served, Tally, Tap, config::ECHO, config::Layout, filter,
};

use crate::NEEDS;

/// Versions after the first.
const VERSIONS: u64 = 40;

/// By turns of IPv4 and IPv6.
const FLOWS: u16 = 64;

/// One rule for each family; nothing is left for the last.
fn rules(version: u64) -> String {
    format!("Ethernet_IPv4 * => accept {version}; Ethernet_IPv6 * => accept {version}; * => reject;")
}

/// Replaces the filter again and again while packets come by every queue, of which `receivers` have one each.
fn replaced_on(id: &'static str, config: &Config, receivers: [u32; 4]) -> Result<()> {
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions { queues: 4, ..PairOptions::default() }, config)?;
    let (tap, at) = (Tap::open(&served.pair.peer)?, Where::Port(served.pair.served.ifname.clone()));
    let load = served.load(ECHO, FLOWS, 100);
    let before = served.drain()?;
    filter::put(served.daemon.control(), &at, &rules(1))?;
    let mut own = Connection::open(&served.daemon.home().socket(), Duration::from_secs(30))?;
    let (mut judged, sent) = std::thread::scope(|scope| -> Result<_> {
        let replacing = scope.spawn(|| -> Result<Vec<_>> {
            let replaced = |version| {
                let (_, old) = filter::put(&mut own, &at, &rules(version))?;
                old.context("it replaced nothing")
            };
            (2..2 + VERSIONS).map(replaced).collect()
        });
        let mut sent = 0;
        while !replacing.is_finished() {
            let part = load.echo_from(&tap, sent, 4 * u64::from(FLOWS))?;
            ensure!(part == Tally::whole(4 * u64::from(FLOWS)), "{part:?}");
            sent += 4 * u64::from(FLOWS);
        }
        Ok((replacing.join().map_err(|_| anyhow::anyhow!("replacing panicked"))??, sent))
    })?;
    let now = served.drain()?;
    judged.push(filter::take(served.daemon.control(), &at)?);
    ensure!(judged.iter().filter(|row| filter::judged(row) != 0).count() > 1, "one version judged all");
    // Of every family half the packets, each judged once; the counts of a rule are those of all engines.
    let of = |rule: usize| judged.iter().map(|row| row.rules[rule].matched).sum::<u64>();
    assert_eq!((of(0), of(1), of(2)), (sent / 2, sent / 2, 0));
    let by = |name| now.sum(name) - before.sum(name);
    assert_eq!(by("ruler_from_class") + by("ruler_from_zero"), sent);
    assert_eq!((by("transmitted"), by("ruler_reject"), by("ruler_no_match")), (sent, 0, 0));
    let queues = served.daemon.status()?.queues;
    for queue in &queues {
        ensure!(queue.counters.get("rx").is_some_and(|rx| *rx != 0), "nothing came by {queue:?}");
    }
    let mut receive: Vec<_> = queues.iter().map(|queue| queue.engine).collect();
    receive.sort_unstable();
    ensure!(receive == receivers, "queues are shared out as {receive:?}");
    served.finish()
}

#[test]
fn rt10_two_engines_judge_each_packet_once_while_filters_are_replaced() -> Result<()> {
    let id = "rt10_two_engines_judge_each_packet_once_while_filters_are_replaced";
    replaced_on(id, &Config { cores: vec![0, 1], ..Config::echo_and_sink() }, [0, 0, 1, 1])
}

/// One engine receives, and two others judge.
#[test]
fn rt10_a_pipeline_judges_each_packet_once_while_filters_are_replaced() -> Result<()> {
    let id = "rt10_a_pipeline_judges_each_packet_once_while_filters_are_replaced";
    let config = Config { layout: Layout::Pipeline, cores: vec![0, 1, 0, 1], ..Config::echo_and_sink() };
    replaced_on(id, &config, [0; 4])
}
