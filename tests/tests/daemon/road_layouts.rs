//! The same road by several queues, behind VLAN tags, in generic mode and through a pipeline of engines.
use anyhow::{Result, ensure};
use client::control::status::QueueRow;
use octroi_tests::lab::{
    self, Config, PairOptions, Served, Tap, XskTap,
    config::{ECHO, Layout, Mode},
};

use crate::NEEDS;

fn echo_through(pair: PairOptions, config: &Config, count: u64) -> Result<Vec<QueueRow>> {
    let mut served = Served::new(pair, config)?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 64, 100);
    served.echoes(&load, &tap, 0, count)?;
    let queues = served.daemon.status()?.queues;
    served.finish()?;
    Ok(queues)
}

#[test]
fn road_every_queue_is_served() -> Result<()> {
    let Some(_lab) = lab::require("road_every_queue_is_served", NEEDS)? else { return Ok(()) };
    let pair = PairOptions { queues: 4, ..PairOptions::default() };
    let queues = echo_through(pair, &Config::echo_and_sink(), 4000)?;
    assert_eq!(queues.iter().map(|q| q.queue).collect::<Vec<_>>(), [0, 1, 2, 3]);
    for queue in &queues {
        let rx = queue.counters.get("rx").copied().unwrap_or_default();
        ensure!(rx != 0, "64 flows, and none came by queue {}: {queues:?}", queue.queue);
    }
    Ok(())
}

#[test]
fn road_two_engines_share_the_queues() -> Result<()> {
    let Some(_lab) = lab::require("road_two_engines_share_the_queues", NEEDS)? else { return Ok(()) };
    let pair = PairOptions { queues: 4, ..PairOptions::default() };
    let config = Config { cores: vec![0, 1], ..Config::echo_and_sink() };
    let queues = echo_through(pair, &config, 4000)?;
    let mut engines: Vec<_> = queues.iter().map(|q| q.engine).collect();
    engines.sort_unstable();
    assert_eq!(engines, [0, 0, 1, 1]);
    Ok(())
}

#[test]
fn road_a_pipeline_forwards_as_one_engine_does() -> Result<()> {
    let Some(_lab) = lab::require("road_a_pipeline_forwards_as_one_engine_does", NEEDS)? else {
        return Ok(());
    };
    let pair = PairOptions { queues: 2, ..PairOptions::default() };
    let config = Config { layout: Layout::Pipeline, cores: vec![0, 1, 0, 1], ..Config::echo_and_sink() };
    echo_through(pair, &config, 4000).map(drop)
}

#[test]
fn road_generic_mode_works_when_it_is_asked_for() -> Result<()> {
    let Some(_lab) = lab::require("road_generic_mode_works_when_it_is_asked_for", NEEDS)? else {
        return Ok(());
    };
    let config = Config { mode: Mode::Generic, ..Config::echo_and_sink() };
    echo_through(PairOptions::default(), &config, 2000).map(drop)
}

#[test]
fn road_tagged_frames_are_served_behind_exactly_their_tags() -> Result<()> {
    let Some(_lab) = lab::require("road_tagged_frames_are_served_behind_exactly_their_tags", NEEDS)? else {
        return Ok(());
    };
    for tags in [vec![100], vec![100, 7]] {
        let mut served =
            Served::new(PairOptions::default(), &Config { vlan: tags.clone(), ..Config::echo_and_sink() })?;
        // A packet socket would not see the tags.
        let tap = XskTap::open(&served.pair.peer)?;
        let mut load = served.load(ECHO, 4, 100);
        load.vlan = tags;
        served.echoes(&load, &tap, 0, 500)?;

        // Untagged, or behind another tag: the OS's.
        for other in [vec![], vec![101], vec![7, 100]] {
            let before = served.drain()?;
            load.vlan = other;
            load.sink(&tap, 10, || {
                Ok(lab::Reading::of(&mut served.daemon)?.sum("xdp.pass_vlan") - before.sum("xdp.pass_vlan"))
            })?;
            served.drain()?.moved(&before, &[("xdp.rx", 10), ("xdp.pass_vlan", 10)])?;
        }
        drop(tap);
        served.finish()?;
    }
    Ok(())
}
