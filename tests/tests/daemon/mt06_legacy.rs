//! The OS's own traffic beside applications that flood, lie, come, go, break the rules and crash: it loses nothing.
//!
//! Pings and a server's datagrams are sent once: one that is lost is seen. Neighbours are forgotten again and again, so
//! that ARP and neighbour discovery have to work as well.
use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{
    self, Chatter, Daemon, Hostile, Pair, PairOptions, Reading, Served, Tap, WINDOW, app::know_taps, os,
};

use crate::{NEEDS, hostile_rings::roomy, stacks::tuples};

const FIRST: u16 = 5001;
const SECOND: u16 = 5002;

/// Packets of each flood.
const FLOOD: u64 = 50_000;

/// Slots of a flooder's ring.
const SLOTS: u32 = 4096;

#[test]
fn mt06_the_os_loses_nothing_beside_applications_that_flood_lie_come_go_and_crash() -> Result<()> {
    let id = "mt06_the_os_loses_nothing_beside_applications_that_flood_lie_come_go_and_crash";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    // Both kernels speak ARP and neighbour discovery, which begins at a link-local address.
    let pair = Pair::new(PairOptions { chatter: Chatter::Ordinary, ..PairOptions::default() })?;
    for (end, addr) in [(&pair.served, "fe80::2"), (&pair.peer, "fe80::1")] {
        end.run(&format!("ip -6 addr add {addr}/64 dev {} nodad", end.ifname))?;
    }
    know_taps(&pair)?;
    let mut daemon = Daemon::start(&pair.served, &roomy())?;
    let before = Reading::of(&mut daemon)?;
    let ((), rounds) = os::beside_forgetful_legacy(&pair, || {
        floods(&pair, &mut daemon).context("floods")?;
        comes_and_goes(&pair, &mut daemon).context("come and go")?;
        breaks_the_rules(&mut daemon).context("breaks the rules")
    })?;
    // In each round the peer asked everybody for an address at least once.
    let passed = Reading::of(&mut daemon)?.sum("xdp.pass_other_host") - before.sum("xdp.pass_other_host");
    ensure!(rounds <= passed, "asked {passed} times in {rounds} rounds");
    Served { daemon, pair }.finish()
}

/// Packets come faster than they are read, and one application sends all that the wire takes, then only lies.
fn floods(pair: &Pair, daemon: &mut Daemon) -> Result<()> {
    let home = daemon.home();
    let mut hostile = Hostile::with_slots(home, SLOTS)?;
    hostile.udp(FIRST)?;
    let slot = hostile.opened.slot;
    let flow = |port| lab::Flow::v4(&pair.peer, 20_000, &pair.served, port);
    let (tap, load) = (Tap::open(&pair.peer)?, lab::Load::new(vec![flow(FIRST)], 100));
    for n in 0..8 * WINDOW {
        tap.send(&load.frame(n)?)?;
    }
    let foreign = lab::Load::new(vec![flow(SECOND)], 100);
    for (packets, counter) in [(&load, "tx_sent"), (&foreign, "tx_not_owner")] {
        (0..SLOTS).try_for_each(|n| {
            hostile.put(n, &packets.answer(n.into())?[14..]);
            anyhow::Ok(())
        })?;
        let sent = |daemon: &mut Daemon| -> Result<u64> {
            Ok(Reading::of(daemon)?.of_session(slot).get(counter).copied().unwrap_or(0))
        };
        lab::until("the flood is over", || {
            // Full again as soon as there is room, a thousand times between two looks at what it came to.
            (0..1000).for_each(|_| hostile.claim(hostile.taken().wrapping_add(SLOTS)));
            Ok(FLOOD <= sent(daemon)?)
        })?;
        let end = hostile.taken().wrapping_add(SLOTS);
        hostile.claim(end);
        hostile.wait_taken(end)?;
    }
    drop(hostile);
    gone(daemon)
}

fn gone(daemon: &mut Daemon) -> Result<()> {
    lab::until("its tuples are free", || Ok(tuples(daemon)?.is_empty()))
}

/// Applications come, each with a tuple that it takes and gives back twenty times, and are killed while they flood.
fn comes_and_goes(pair: &Pair, daemon: &mut Daemon) -> Result<()> {
    let tap = Tap::open(&pair.peer)?;
    let load = lab::Load::new(vec![lab::Flow::v6(&pair.peer, 20_000, &pair.served, FIRST)], 100);
    for n in 0..10 {
        let wrapper = lab::Wrapper::default();
        let mut app = lab::App::start(daemon.home(), &pair.served, &wrapper)?;
        for _ in 0..20 {
            let held = app.udp(FIRST)?;
            tap.send(&load.frame(n)?)?;
            app.release(held.number)?;
        }
        app.udp(FIRST)?;
        app.flood(&load.answer(n)?[14..])?;
        if n % 2 == 0 {
            app.crash()?
        } else {
            drop(app)
        }
        gone(daemon)?;
    }
    Ok(())
}

/// A session ends because of what it wrote.
fn breaks_the_rules(daemon: &mut Daemon) -> Result<()> {
    for beyond in [SLOTS + 1, u32::MAX] {
        let mut hostile = Hostile::with_slots(daemon.home(), SLOTS)?;
        hostile.udp(FIRST)?;
        hostile.claim(beyond);
        hostile.wait_revoked()?;
        gone(daemon)?;
    }
    Ok(())
}
