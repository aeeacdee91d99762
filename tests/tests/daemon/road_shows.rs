//! What the road shows of itself: the command line, JSON and Prometheus are three views of one registry.
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use client::control::answer::StatRow;
use octroi_tests::lab::{self, Config, PairOptions, Served, Tap, config::ECHO};

use crate::NEEDS;

/// A counter by name and labels, both as Prometheus writes them.
type Samples = BTreeMap<String, u64>;

#[test]
fn road_the_command_line_json_and_prometheus_show_equal_sets() -> Result<()> {
    let Some(_lab) = lab::require("road_the_command_line_json_and_prometheus_show_equal_sets", NEEDS)? else {
        return Ok(());
    };
    let mut served =
        Served::new(PairOptions { queues: 2, ..PairOptions::default() }, &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 4, 100);
    served.echoes(&load, &tap, 0, 1000)?;
    let protocol = served.daemon.stats()?;
    let json: Vec<StatRow> = serde_json::from_str(&served.daemon.home().octroi(&["stats", "--json"])?)?;
    ensure!(protocol == json, "`octroi stats --json` shows something else");
    let text = served.daemon.home().octroi(&["stats"])?;
    for row in &protocol {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(&row.name));
        ensure!(line.is_some(), "`octroi stats` does not show {}:\n{text}", row.name);
    }
    let scraped = parse_prometheus(&served.daemon.home().scrape()?)?;
    let wanted: Samples = protocol.iter().map(|row| (prometheus_name(row), row.value)).collect();
    assert_eq!(scraped, wanted);
    served.finish()
}

fn prometheus_name(row: &StatRow) -> String {
    let name = format!("octroi_{}", row.name.replace('.', "_"));
    let labels: Vec<_> = row.labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    if labels.is_empty() { name } else { format!("{name}{{{}}}", labels.join(",")) }
}

fn parse_prometheus(text: &str) -> Result<Samples> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
            Ok((name.replace("_total", "").trim_end_matches("{}").to_owned(), value.parse()?))
        })
        .collect()
}
