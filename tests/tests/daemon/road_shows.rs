//! What the road shows of itself: the command line, JSON and Prometheus are three views of one registry.
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use client::control::{
    answer::{DoctorRow, Health, StatRow},
    status::{QueueRow, Status},
};
use libbpf_rs::{MapCore as _, MapHandle};
use octroi_tests::lab::{self, Config, Home, Pair, PairOptions, Served, Tap, Wrapper, config::ECHO};

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

#[test]
fn road_status_is_the_same_by_every_way() -> Result<()> {
    let Some(_lab) = lab::require("road_status_is_the_same_by_every_way", NEEDS)? else { return Ok(()) };
    let mut served =
        Served::new(PairOptions { queues: 2, ..PairOptions::default() }, &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 4, 100);
    served.echoes(&load, &tap, 0, 1000)?;
    let asked = served.daemon.status()?;
    let printed: Status = serde_json::from_str(&served.daemon.home().octroi(&["status", "--json"])?)?;
    // What goes on while one looks is left out: time, and what the looking costs the engines.
    assert_eq!(printed.head.books, asked.head.books);
    assert_eq!((&printed.interfaces, &printed.targets), (&asked.interfaces, &asked.targets));
    let queue = |row: &QueueRow| (row.interface.clone(), row.queue, row.engine, row.counters.clone());
    assert_eq!(
        printed.queues.iter().map(queue).collect::<Vec<_>>(),
        asked.queues.iter().map(queue).collect::<Vec<_>>()
    );
    let shown = asked.interfaces.iter().map(|row| (row.mode.as_str(), row.copy.as_str()));
    assert_eq!(shown.collect::<Vec<_>>(), [("native", "copy")]);
    let books = &asked.head.books;
    assert_eq!((books.rx, books.transmitted, books.unaccounted), (1000, 1000, 0));
    served.finish()
}

#[test]
fn road_doctor_finds_a_served_machine_well() -> Result<()> {
    let Some(_lab) = lab::require("road_doctor_finds_a_served_machine_well", NEEDS)? else { return Ok(()) };
    let served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let rows: Vec<DoctorRow> = serde_json::from_str(&served.daemon.home().octroi(&["doctor", "--json"])?)?;
    let ids: BTreeSet<_> = rows.iter().map(|row| (&row.id, &row.subject)).collect();
    assert_eq!(ids.len(), rows.len(), "a check is shown twice: {rows:?}");
    for row in &rows {
        ensure!(row.status != Health::Fail, "{row:?}");
        ensure!(
            (row.status == Health::Ok) == row.fix.is_none(),
            "a finding has a remedy, and only then: {row:?}"
        );
    }
    served.finish()
}

#[test]
fn road_what_the_programs_say_is_in_the_log_once() -> Result<()> {
    const LINE: &str = "broken chain: no program judged a frame";
    let Some(_lab) = lab::require("road_what_the_programs_say_is_in_the_log_once", NEEDS)? else {
        return Ok(());
    };
    let pair = Pair::new(PairOptions::default())?;
    let home = Home::new(&pair.served, &Config::echo_and_sink())?;
    // The words before the program's own: octroid in an environment that asks for more of its log.
    let daemon = home.launch(&pair.served, &Wrapper::words("env OCTROI_LOG=debug"))?.ready()?;
    // Somebody empties a slot of the pinned chain behind its back.
    let chain = daemon.home().pins().path().join(&pair.served.ifname).join(abi::pins::JUMP);
    MapHandle::from_pinned_path(chain)?.delete(&abi::pins::SLOT_STEER.to_ne_bytes())?;
    let mut served = Served { daemon, pair };
    let before = served.drain()?;
    let load = served.load(ECHO, 1, 100);
    // All by one CPU, each of which says it once.
    let cpu = nix::sched::sched_getcpu()?;
    let mut here = nix::sched::CpuSet::new();
    here.set(cpu)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &here)?;
    let tap = Tap::open(&served.pair.peer)?;
    (0..100).try_for_each(|n| tap.send(&load.frame(n)?))?;
    lab::until("the daemon passes it on", || Ok(served.daemon.log().contains(LINE)))?;
    served.drain()?.moved(&before, &[("xdp.rx", 100), ("xdp.jump_missed", 100)])?;
    let log = served.daemon.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains(LINE)).collect();
    ensure!(
        said.len() == 1 && said[0].contains("DEBUG") && said[0].contains(&served.pair.served.ifname),
        "{log}"
    );
    served.daemon.down(&served.pair.served)
}
