//! Filters that the configuration names: in force from the first packet on, and again after the daemon is killed.
use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use client::control::{connection::Connection, request::TargetKind, stack::StackRelease};
use nix::libc::SYS_bpf;
use octroi_tests::lab::{
    self, App, Config, Daemon, Home, Listens, Pair, PairOptions, Reading, Served, Tally, Tap, Wrapper,
    app::know_taps,
    config::{ECHO, SINK, reservation, udp},
    filter,
    halted::{Call, Watched},
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

/// A port that somebody has, and that an echo is configured for, whose packets are all rejected.
const TAKEN: u16 = 5001;

const OF_THE_TAKEN: &str = "\n[target.filter]\nfile = \"filters/echo.rl\"\n";

/// Putting an entry into a map: the first argument of bpf(2), from `linux/bpf.h`.
const MAP_UPDATE_ELEM: u64 = 2;

/// A daemon with an echo that waits for its tuple, and that tuple's filter, in the place of one that was killed.
fn again_with_an_echo(home: Home, pair: Pair) -> Result<Served> {
    let targets = vec![udp(TargetKind::Echo, ECHO), udp(TargetKind::Echo, TAKEN)];
    let config = Config { targets, more: OF_THE_TAKEN.to_owned(), ..Config::default() };
    home.configure(&config.text(&pair.served.ifname, &format!("unix:{}", home.metrics().display())))?;
    let beside = home.config().parent().context("a file without a directory")?.join("filters");
    fs::create_dir_all(&beside)?;
    fs::write(beside.join("echo.rl"), "filter echo * => reject 1;")?;
    let mut served = Served { daemon: home.start(&pair.served)?, pair };
    ensure!(served.daemon.status()?.targets.len() == 1, "it has its tuple already");
    Ok(served)
}

/// Has `release` give the tuple of the echo up, and sends to the echo when XDP knows it at its IPv4 address, but not yet at
/// the other: not one packet is answered.
fn judged_from_the_first(served: &mut Served, release: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let tap = Tap::open(&served.pair.peer)?;
    let (taken, other) = (served.load(TAKEN, 1, 100), served.load(ECHO, 2, 100));
    let before = served.drain()?;
    let watched = Watched::new(served.daemon.pid())?;
    thread::scope(|scope| {
        let releasing = scope.spawn(release);
        let halted = watched.halt(Call { number: SYS_bpf, first: MAP_UPDATE_ELEM }, 2)?;
        (0..20).try_for_each(|n| tap.send(&taken.frame(n)?))?;
        // These come behind them, so those have been judged when these are answered.
        let answered = other.echo(&tap, 20)?;
        halted.go_on();
        assert_eq!(answered, Tally::whole(20));
        releasing.join().map_err(|_| anyhow!("releasing panicked"))?
    })?;
    let now = served.drain()?;
    let by = |name| now.sum(name) - before.sum(name);
    assert_eq!((by("ruler_reject"), by("transmitted"), by("target.packets")), (20, 20, 40));
    let rows = filter::list(served.daemon.control())?;
    ensure!(rows.len() == 1 && rows[0].rules[0].matched == 20, "{rows:?}");
    // It is there for good, and everywhere.
    let everywhere = served.load(TAKEN, 2, 100);
    (0..40).try_for_each(|n| tap.send(&everywhere.frame(n)?))?;
    lab::until("all are rejected", || {
        Ok(Reading::of(&mut served.daemon)?.sum("ruler_reject") == now.sum("ruler_reject") + 40)
    })
}

#[test]
fn rt10_a_target_that_waited_for_a_reservation_is_filtered_from_its_first_packet() -> Result<()> {
    let id = "rt10_a_target_that_waited_for_a_reservation_is_filtered_from_its_first_packet";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let mut daemon = Daemon::start(&pair.served, &Config::default())?;
    let target = udp(TargetKind::Echo, TAKEN);
    daemon.control().call(&reservation(&target, 1000))?;
    let mut served = again_with_an_echo(daemon.crash()?, pair)?;
    let mut own = Connection::open(&served.daemon.home().socket(), Duration::from_secs(30))?;
    judged_from_the_first(&mut served, || {
        let (proto, addr, port) = (Some(target.proto), Some(target.addr), Some(TAKEN));
        own.call(&StackRelease { proto, addr, port, ..StackRelease::default() })?;
        Ok(())
    })?;
    served.finish()
}

#[test]
fn rt10_a_target_that_waited_for_a_session_is_filtered_from_its_first_packet() -> Result<()> {
    let id = "rt10_a_target_that_waited_for_a_session_is_filtered_from_its_first_packet";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    know_taps(&pair)?;
    let daemon = Daemon::start(&pair.served, &Config::default())?;
    let mut app = App::start(daemon.home(), &pair.served, &Wrapper::default())?;
    app.udp(TAKEN)?;
    app.listen(Listens::Swallows)?;
    let mut served = again_with_an_echo(daemon.crash()?, pair)?;
    ensure!(app.event()? == "Disconnected" && app.event()? == "Reconnected([TupleId(0)])");
    judged_from_the_first(&mut served, || app.release(0))?;
    drop(app);
    served.finish()
}
