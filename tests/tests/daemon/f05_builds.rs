//! A daemon takes over from one of another build: what it understands it takes up, what it does not it leaves alone, and
//! what is damaged it keeps aside.
use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use client::control::{
    connection::Connection,
    stack::{Lease, StackAttach},
};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
use octroi_tests::lab::{
    self, App, Config, Daemon, Home, Pair, PairOptions, Ping, Reading, Served, Started, Tally, Tap, Wrapper,
    app::know_taps,
    daemon::{NEWER_OCTROID, OCTROID},
};

use crate::{
    NEEDS,
    stacks::{claimed, tuples},
};

const PORT: u16 = 5001;

/// Frames that come while no daemon runs.
const ORPHANS: u64 = 50;

/// A file of saved sessions, as the first format had it.
const FORMAT_1: &str = include_str!("../../../userspace/octroid/testdata/state/format-1.json");

fn pair() -> Result<Pair> {
    let pair = Pair::new(PairOptions::default())?;
    know_taps(&pair)?;
    Ok(pair)
}

fn state_file(home: &Home) -> PathBuf {
    home.socket().with_file_name("stack.state")
}

fn back(app: &mut App) -> Result<()> {
    let events = [app.event()?, app.event()?];
    ensure!(events == ["Disconnected", "Reconnected([TupleId(0)])"], "{events:?}");
    Ok(())
}

/// Starts a daemon that must refuse, and returns where it would have run: nothing there was touched.
fn refuses(home: Home, pair: &Pair, words: &[&str]) -> Result<Home> {
    let (pins, state) = (home.pins().list()?, fs::read(state_file(&home))?);
    let said = home.log().len();
    let refusal = match home.launch_build(OCTROID, &pair.served, &Wrapper::default())? {
        Started::Refused(refusal) => refusal,
        Started::Ready(_) => bail!("it started, and should have refused"),
    };
    let log = refusal.log.get(said..).unwrap_or_default();
    for word in words {
        ensure!(log.contains(word), "{word} is not in: {log}");
    }
    let home = refusal.home;
    ensure!(home.pins().list()? == pins && fs::read(state_file(&home))? == state, "something was touched");
    Ping::open(&pair.peer.netns, pair.served.v4.into())?.times(3)?;
    Ok(home)
}

#[test]
fn f05_a_newer_build_takes_over_and_an_older_one_refuses_its_sessions() -> Result<()> {
    let id = "f05_a_newer_build_takes_over_and_an_older_one_refuses_its_sessions";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = pair()?;
    let daemon = Daemon::start(&pair.served, &Config::default())?;
    let mut app = App::start(daemon.home(), &pair.served, &Wrapper::default())?;
    app.udp(PORT)?;
    let tap = Tap::open(&pair.peer)?;
    let mut served = Served { daemon, pair };
    let load = served.load(PORT, 4, 100);
    assert_eq!(load.echo(&tap, 200)?, Tally::whole(200));
    assert_eq!(served.daemon.status()?.head.version, env!("CARGO_PKG_VERSION"));
    // Up.
    let before = claimed(&served.drain()?);
    let Served { daemon, pair } = served;
    let home = daemon.crash()?;
    (0..ORPHANS).try_for_each(|n| tap.send(&load.frame(10_000 + n)?))?;
    let mut daemon = home.launch_build(NEWER_OCTROID, &pair.served, &Wrapper::default())?.ready()?;
    back(&mut app)?;
    assert_eq!(daemon.status()?.head.version, "99.0.0");
    let after = claimed(&Reading::of(&mut daemon)?);
    assert_eq!((after.0, after.1), (before.0, before.1 + ORPHANS), "what was lost is counted");
    let tally = load.echo_from(&tap, 20_000, 200)?;
    assert_eq!(Tally { foreign: 0, ..tally }, Tally::whole(200));
    // Down: not with sessions that the older build cannot read.
    let home = daemon.crash()?;
    let path = state_file(&home).display().to_string();
    let words = [path.as_str(), "octroid 99.0.0", "format 3", "up to 2", "octroi down --crashed"];
    let home = refuses(home, &pair, &words)?;
    (0..ORPHANS).try_for_each(|n| tap.send(&load.frame(30_000 + n)?))?;
    // And up again, with everything that there was.
    let mut daemon = home.launch_build(NEWER_OCTROID, &pair.served, &Wrapper::default())?.ready()?;
    back(&mut app)?;
    let last = claimed(&Reading::of(&mut daemon)?);
    ensure!(after.1 + ORPHANS == last.1, "{after:?}, then {last:?}");
    let tally = load.echo_from(&tap, 40_000, 200)?;
    assert_eq!(Tally { foreign: 0, ..tally }, Tally::whole(200));
    drop(app);
    Served { daemon, pair }.finish()
}

#[test]
fn f05_sessions_of_an_older_format_are_taken_up() -> Result<()> {
    let id = "f05_sessions_of_an_older_format_are_taken_up";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = pair()?;
    let daemon = Daemon::start(&pair.served, &Config::default())?;
    let home = daemon.crash()?;
    fs::write(state_file(&home), FORMAT_1)?;
    let mut daemon = home.start(&pair.served)?;
    let rows = tuples(&mut daemon)?;
    let shown: Vec<_> = rows.iter().map(|row| (row.port, row.state.to_string())).collect();
    let orphan = || "orphan".to_owned();
    assert_eq!(shown, [(5001, orphan()), (5002, orphan()), (8080, orphan()), (443, "reserved".to_owned())]);
    let mut control = Connection::open(&daemon.home().socket(), Duration::from_secs(10))?;
    let lease: Lease = "0123456789abcdef0123456789abcdef".parse()?;
    let (attached, fds) = control.call_with(&StackAttach { lease }, &[])?;
    assert_eq!((attached.opened.slot, attached.opened.generation, attached.tuples), (0, 0, vec![0, 1]));
    ensure!(fds.len() == 3, "two regions and a bell: {}", fds.len());
    let rows = tuples(&mut daemon)?;
    assert_eq!(
        rows.iter().filter(|row| row.pid.is_some()).map(|row| row.port).collect::<Vec<_>>(),
        [5001, 5002]
    );
    let written: serde_json::Value = serde_json::from_slice(&fs::read(state_file(daemon.home()))?)?;
    assert_eq!(written["format"], 2, "what is saved now is of the newest format");
    drop(control);
    lab::until("its session is over", || Ok(tuples(&mut daemon)?.len() == 2))?;
    Served { daemon, pair }.finish()
}

#[test]
fn f05_a_damaged_state_is_kept_aside_and_the_daemon_starts() -> Result<()> {
    let id = "f05_a_damaged_state_is_kept_aside_and_the_daemon_starts";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = pair()?;
    let mut daemon = Daemon::start(&pair.served, &Config::default())?;
    for (n, damage) in (1..).zip([truncated as fn(&[u8]) -> Vec<u8>, corrupted]) {
        let mut app = App::start(daemon.home(), &pair.served, &Wrapper::default())?;
        app.udp(PORT)?;
        let home = daemon.crash()?;
        let damaged = damage(&fs::read(state_file(&home))?);
        fs::write(state_file(&home), &damaged)?;
        daemon = home.start(&pair.served)?;
        let kept = state_file(daemon.home()).with_file_name(format!("stack.state.unusable-{n}"));
        ensure!(fs::read(&kept).context("it was not kept")? == damaged, "it was changed");
        ensure!(daemon.log().contains(&kept.display().to_string()), "{}", daemon.log());
        // The application is told, and what it had is the OS's and the next one's.
        ensure!(app.event()? == "Disconnected");
        let over = app.event()?;
        ensure!(over.contains("NotTakenBack") && over.contains("Estale"), "{over}");
        ensure!(tuples(&mut daemon)?.is_empty());
        fs::remove_file(kept)?;
        if n == 1 {
            // A free name is used again only once whoever looked at the file has removed it.
            fs::write(state_file(daemon.home()).with_file_name("stack.state.unusable-1"), "looked at")?;
        }
    }
    fs::remove_file(state_file(daemon.home()).with_file_name("stack.state.unusable-1"))?;
    Served { daemon, pair }.finish()
}

fn truncated(text: &[u8]) -> Vec<u8> {
    text[..text.len() / 2].to_vec()
}

/// A lease with a letter that is no digit.
fn corrupted(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    text.replacen("\"lease\":\"", "\"lease\":\"g", 1).into_bytes()
}

#[test]
fn f06_pins_of_another_layout_are_refused_and_left_alone() -> Result<()> {
    let id = "f06_pins_of_another_layout_are_refused_and_left_alone";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = pair()?;
    let daemon = Daemon::start(&pair.served, &Config::default())?;
    let mut app = App::start(daemon.home(), &pair.served, &Wrapper::default())?;
    app.udp(PORT)?;
    let mut home = daemon.crash()?;
    let layout = MapHandle::from_pinned_path(home.pins().path().join(abi::pins::LAYOUT))?;
    let set = |number: u32| layout.update(&0_u32.to_ne_bytes(), &number.to_ne_bytes(), MapFlags::ANY);
    for other in [abi::LAYOUT + 1, abi::LAYOUT - 1] {
        set(other)?;
        home = refuses(home, &pair, &[&format!("layout {other},")])?;
    }
    set(abi::LAYOUT)?;
    let daemon = home.start(&pair.served)?;
    back(&mut app)?;
    let tap = Tap::open(&pair.peer)?;
    let served = Served { daemon, pair };
    assert_eq!(served.load(PORT, 4, 100).echo(&tap, 200)?, Tally::whole(200));
    drop((app, layout));
    served.finish()
}
