//! Filters that the configuration names: in force from the first packet on, and again after the daemon is killed.
use std::fs;

use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{
    self, Config, Home, Pair, PairOptions, Reading, Served, Tap, Wrapper,
    config::{ECHO, SINK},
    filter,
};

use crate::NEEDS;

/// Rejects what goes to the echo. One of two filters of its file.
const OF_THE_INTERFACE: &str = "include \"layouts.rli\"\n\
    filter other 1 * => reject;\n\
    filter lab\n  Ethernet_IPv4 IPv4_UDP UDP with [dest=7~2] * => reject 3;\n  * => accept 1;\n";

const OF_THE_SINK: &str = "filter sink * => accept 9;";

/// What follows the last `[[target]]`, which is the sink.
const TABLES: &str = "\n[target.filter]\nfile = \"filters/sink.rl\"\n\
    [interface.filter]\nfile = \"filters/lab.rl\"\nname = \"lab\"\nscope = \"interface\"\nforce = true\n";

fn home(pair: &Pair, of_the_interface: &str) -> Result<Home> {
    let config = Config { more: TABLES.to_owned(), ..Config::echo_and_sink() };
    let home = Home::new(&pair.served, &config)?;
    let beside = home.config().parent().context("a file without a directory")?.join("filters");
    fs::create_dir_all(&beside)?;
    fs::write(beside.join("lab.rl"), of_the_interface)?;
    fs::write(beside.join("sink.rl"), OF_THE_SINK)?;
    Ok(home)
}

/// Sends to both targets, and checks who judged what.
fn judged(served: &mut Served) -> Result<()> {
    let tap = Tap::open(&served.pair.peer)?;
    let (echo, sink) = (served.load(ECHO, 1, 100), served.load(SINK, 1, 100));
    let rows = filter::list(served.daemon.control())?;
    let named: Vec<_> = rows.iter().map(|row| row.filter.as_str()).collect();
    assert_eq!(named, ["lab", "sink"]);
    ensure!(rows[0].header.instructions.is_some(), "{:?}", rows[0].header);
    let before = served.drain()?;
    (0..20).try_for_each(|n| tap.send(&echo.frame(n)?))?;
    (0..30).try_for_each(|n| tap.send(&sink.frame(n)?))?;
    lab::until("all are judged", || {
        let now = Reading::of(&mut served.daemon)?;
        Ok(now.sum("xdp.ruler_reject") == before.sum("xdp.ruler_reject") + 20
            && now.sum("target.packets") == before.sum("target.packets") + 30)
    })?;
    let rows = filter::list(served.daemon.control())?;
    assert_eq!((rows[1].rules[0].matched, rows[1].rules[0].code), (30, 9));
    Ok(())
}

#[test]
fn rt10_configured_filters_are_in_force_at_once_and_again_after_a_crash() -> Result<()> {
    let id = "rt10_configured_filters_are_in_force_at_once_and_again_after_a_crash";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let daemon = home(&pair, OF_THE_INTERFACE)?.start(&pair.served)?;
    let mut served = Served { pair, daemon };
    judged(&mut served)?;
    let Served { pair, daemon } = served;
    let home = daemon.crash()?;
    let mut served = Served { daemon: home.start(&pair.served)?, pair };
    judged(&mut served)?;
    served.finish()
}

#[test]
fn rt10_a_configured_filter_that_is_wrong_ends_the_start_with_its_place() -> Result<()> {
    let id = "rt10_a_configured_filter_that_is_wrong_ends_the_start_with_its_place";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let wrong = OF_THE_INTERFACE.replace("dest=7~2", "dest=7");
    let home = home(&pair, &wrong)?;
    let file = home.config();
    let file = file.to_str().context("a path that is not text")?;
    let judged = home.command(&Wrapper::default(), "octroi", &["check-config", file])?.output()?;
    let said = String::from_utf8(judged.stderr)?;
    ensure!(!judged.status.success(), "{said}");
    let refusal = home.launch(&pair.served, &Wrapper::default())?.refused()?;
    for told in [&said, &refusal.log] {
        ensure!(told.contains("RL205") && told.contains("lab.rl:4:"), "{told}");
    }
    ensure!(said.contains("interface[0].filter.file"), "{said}");
    let mut home = refusal.home;
    home.check_nothing_left(&pair.served)
}
