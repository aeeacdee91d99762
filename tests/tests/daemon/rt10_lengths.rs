//! What a filter makes of a packet is as long as packets of its interface may be, whatever the MTU becomes: never cut.
use anyhow::{Context as _, Result, ensure};
use client::control::ruler::Where;
use octroi_tests::lab::{
    self, Config, PairOptions, Served, Tap,
    config::{ECHO, SINK},
    filter,
    frame::V4_HEADERS,
};

use crate::NEEDS;

/// How much longer [`RULES`] makes a packet: as much as any length here needs that a tap at the first MTU must send.
const MORE: usize = 300;

const RULES: &str = "e:Ethernet_IPv4 i:IPv4_UDP u:UDP p:* => e i u p 0#300;";

/// What an output may have beside the MTU: an Ethernet header and two tags.
const LINK: usize = 22;

/// The first is the largest, as the far end keeps it.
const MTUS: [usize; 5] = [1700, 1400, 1600, 1500, 1700];

/// Gives the served end this MTU, and waits until the daemon has it.
fn set_mtu(served: &mut Served, mtu: usize) -> Result<()> {
    let end = &served.pair.served;
    end.run(&format!("ip link set {} mtu {mtu}", end.ifname))?;
    lab::until("it is served again", || {
        let status = served.daemon.status()?;
        let row = status.interfaces.first().context("no interface is shown")?;
        Ok(row.state == "served" && row.mtu == u32::try_from(mtu).ok())
    })
}

/// Whether packets come with a class of the filter.
const fn entry(at: &Where) -> &'static str {
    match at {
        Where::Port(_) => "ruler_from_class",
        Where::Target(_) => "ruler_from_zero",
    }
}

/// Sends what becomes as long as it may be, and what becomes one byte longer.
fn bounded(served: &mut Served, tap: &Tap, at: &Where, mtu: usize) -> Result<()> {
    let payload = mtu + LINK - MORE - V4_HEADERS;
    let (fits, longer) = (served.load(SINK, 1, payload), served.load(SINK, 1, payload + 1));
    let before = served.drain()?;
    (0..10).try_for_each(|n| tap.send(&fits.frame(n)?))?;
    (0..10).try_for_each(|n| tap.send(&longer.frame(n)?))?;
    lab::until("all are judged", || {
        Ok(lab::Reading::of(&mut served.daemon)?.sum(entry(at)) == before.sum(entry(at)) + 20)
    })?;
    // The target's counters have what came for it.
    let mut moves = lab::sunk(20, fits.bytes(0, 10)? + longer.bytes(0, 10)?);
    moves.iter_mut().filter(|(name, _)| *name == "delivered").for_each(|(_, by)| *by = 10);
    moves.extend([(entry(at), 20), ("ruler_too_long", 10)]);
    served.drain()?.moved(&before, &moves)
}

#[test]
fn rt10_outputs_are_as_long_as_the_mtu_allows_whatever_it_becomes() -> Result<()> {
    let id = "rt10_outputs_are_as_long_as_the_mtu_allows_whatever_it_becomes";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = PairOptions { mtu: MTUS[0] as u32, ..PairOptions::default() };
    let mut served = Served::new(pair, &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let at = Where::Port(served.pair.served.ifname.clone());
    let (put, _) = filter::put(served.daemon.control(), &at, RULES)?;
    for (round, mtu) in (1..).zip(MTUS) {
        set_mtu(&mut served, mtu)?;
        bounded(&mut served, &tap, &at, mtu).with_context(|| format!("MTU {mtu}"))?;
        // It is the same filter: it goes on counting, and its header program is the one that was loaded.
        let rows = filter::list(served.daemon.control())?;
        let [row] = rows.as_slice() else { anyhow::bail!("{rows:?}") };
        assert_eq!((row.generation, &row.header), (put.generation, &put.header));
        let counts = (row.rules[0].matched, row.rules[0].refused);
        assert_eq!(counts, (20 * round + (round - 1), 10 * round));
        // The longest packet that the device sends comes back whole.
        let echo = served.load(ECHO, 1, mtu + 14 - MORE - V4_HEADERS);
        tap.send(&echo.frame(round)?)?;
        let mut back = Vec::new();
        lab::until("the answer is here", || {
            back.extend(Served::frames_of(&tap, ECHO)?);
            Ok(!back.is_empty())
        })?;
        ensure!(back[0].len() == mtu + 14 && back[0].ends_with(&[0; MORE]), "{} bytes", back[0].len());
    }
    served.finish()
}

#[test]
fn rt10_outputs_of_a_targets_filter_follow_the_mtu_too() -> Result<()> {
    let id = "rt10_outputs_of_a_targets_filter_follow_the_mtu_too";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = PairOptions { mtu: MTUS[0] as u32, ..PairOptions::default() };
    let mut served = Served::new(pair, &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let targets = served.daemon.status()?.targets;
    let sink = targets.iter().find(|row| row.target.port == SINK).context("no sink")?.target.tuple;
    let at = Where::Target(format!("builtin:{sink}").parse()?);
    filter::put(served.daemon.control(), &at, RULES)?;
    for (round, mtu) in (1..).zip(MTUS) {
        set_mtu(&mut served, mtu)?;
        bounded(&mut served, &tap, &at, mtu).with_context(|| format!("MTU {mtu}"))?;
        let rows = filter::list(served.daemon.control())?;
        assert_eq!((rows[0].rules[0].matched, rows[0].rules[0].refused), (20 * round, 10 * round));
    }
    served.finish()
}
