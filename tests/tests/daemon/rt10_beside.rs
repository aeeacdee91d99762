//! A filter is made beside the control loop, its header program too: whoever asks for something else is answered meanwhile.
use std::{fmt::Write as _, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use client::control::{
    connection::Connection,
    ruler::{FilterRow, Where},
};
use nix::libc::SYS_bpf;
use octroi_tests::lab::{
    self, Config, PairOptions, Reading, Served, Tally, Tap,
    config::{ECHO, SINK},
    filter,
    halted::{Call, Watched},
};

use crate::NEEDS;

/// Loading a program: the first argument of bpf(2), from `linux/bpf.h`.
const PROG_LOAD: u64 = 5;

/// Rejects what goes to the sink and to many another port.
fn large() -> String {
    (9..209).fold(String::new(), |mut rules, port| {
        // Writing to a string cannot fail.
        let _ = writeln!(rules, "Ethernet_IPv4 IPv4_UDP UDP with [dest={port}~2] * => reject 2;");
        rules
    }) + "* => accept;"
}

/// Attaches the large filter, and does something in the middle of that: it is compiled, and its header program is about to
/// be loaded.
fn while_loading(
    served: &mut Served,
    at: &Where,
    work: impl FnOnce(&mut Served) -> Result<()>,
) -> Result<(FilterRow, Option<FilterRow>)> {
    let mut own = Connection::open(&served.daemon.home().socket(), Duration::from_secs(30))?;
    let watched = Watched::new(served.daemon.pid())?;
    thread::scope(|scope| {
        let attaching = scope.spawn(|| filter::put(&mut own, at, &large()));
        let halted = watched.halt_next(Call { number: SYS_bpf, first: PROG_LOAD })?;
        let worked = work(served);
        ensure!(!attaching.is_finished(), "it is attached, and its header program is not loaded");
        halted.go_on();
        let attached = attaching.join().map_err(|_| anyhow!("attaching panicked"))?;
        worked.and(attached)
    })
}

/// The large filter rejects in XDP, and accepts.
fn in_force(served: &mut Served, tap: &Tap) -> Result<()> {
    let sink = served.load(SINK, 1, 100);
    let before = served.drain()?;
    (0..10).try_for_each(|n| tap.send(&sink.frame(n)?))?;
    lab::until("all are rejected", || {
        Ok(Reading::of(&mut served.daemon)?.sum("xdp.ruler_reject") == before.sum("xdp.ruler_reject") + 10)
    })?;
    assert_eq!(served.load(ECHO, 2, 100).echo(tap, 20)?, Tally::whole(20));
    Ok(())
}

#[test]
fn rt10_who_asks_while_a_header_program_is_loaded_is_answered() -> Result<()> {
    let id = "rt10_who_asks_while_a_header_program_is_loaded_is_answered";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let (tap, at) = (Tap::open(&served.pair.peer)?, Where::Port(served.pair.served.ifname.clone()));
    let (old, _) = filter::put(served.daemon.control(), &at, "* => accept 1;")?;
    let echo = served.load(ECHO, 2, 100);
    let (new, replaced) = while_loading(&mut served, &at, |served| {
        // Until then the old filter is in force, and judges.
        assert_eq!(echo.echo(&tap, 50)?, Tally::whole(50));
        served.daemon.status()?;
        let rows = filter::list(served.daemon.control())?;
        ensure!(rows.len() == 1 && rows[0].generation == old.generation, "{rows:?}");
        Ok(())
    })?;
    ensure!(new.header.instructions.is_some() && old.generation < new.generation, "{new:?}");
    let replaced = replaced.context("it replaced nothing")?;
    assert_eq!((replaced.generation, filter::judged(&replaced)), (old.generation, 50));
    in_force(&mut served, &tap)?;
    served.finish()
}

/// A header program is made for one chain of programs. If that goes with its device, it is made for the next one.
#[test]
fn rt10_a_header_program_is_made_again_for_a_device_that_came_meanwhile() -> Result<()> {
    let id = "rt10_a_header_program_is_made_again_for_a_device_that_came_meanwhile";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let at = Where::Port(served.pair.served.ifname.clone());
    let (new, _) = while_loading(&mut served, &at, |served| {
        served.pair.unplug()?;
        let state = |served: &mut Served, wanted: &str| {
            lab::until("the interface is so", || {
                Ok(served.daemon.status()?.interfaces.first().is_some_and(|row| row.state == wanted))
            })
        };
        state(served, "absent")?;
        served.pair.plug()?;
        state(served, "served")
    })?;
    ensure!(new.header.instructions.is_some(), "{new:?}");
    let tap = Tap::open(&served.pair.peer)?;
    in_force(&mut served, &tap)?;
    served.finish()
}
