//! Tuples that come and go under load: what they do not concern loses nothing, and what was acknowledged holds at once.
use std::{io::ErrorKind, net::UdpSocket, time::Duration};

use anyhow::{Context as _, Result, ensure};
use octroi_tests::{
    lab::{self, App, Served, Victim, os, process},
    scale,
};

use crate::{
    NEEDS,
    hostile_rings::roomy,
    stacks::{app, served, tuples},
};

/// The port that changes hands.
const PORT: u16 = 5001;

/// Changes between two looks at the clock of a test.
const ROUND: u64 = 500;

/// Applications that take turns, so that none asks more often than it may.
const APPS: usize = 10;

#[test]
fn f18_tuples_come_and_go_at_once_and_other_flows_lose_nothing() -> Result<()> {
    let id = "f18_tuples_come_and_go_at_once_and_other_flows_lose_nothing";
    let changes = scale::F18_CHANGES.count();
    for round in 0..changes.div_ceil(ROUND) {
        let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
        changed(ROUND.min(changes - round * ROUND)).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

fn changed(changes: u64) -> Result<()> {
    let mut served = served(&roomy())?;
    // Each answer that nobody listens is a proof that the OS has the port; none is to be withheld.
    served.pair.served.netns.sysctl("ipv4/icmp_ratelimit", "0")?;
    let mut victim = Victim::new(&served)?;
    let mut apps = (0..APPS).map(|_| app(&served)).collect::<Result<Vec<_>>>()?;
    let here = os::udp_socket(&served.pair.peer, (served.pair.peer.v4, 0).into())?;
    here.connect(served.address(PORT))?;
    let before = served.drain()?;
    let sent = victim.sent();
    victim.beside(|| {
        for n in 0..changes {
            change(&mut apps[n as usize % APPS], &here).with_context(|| format!("change {n}"))?;
        }
        Ok(())
    })?;
    let sent = victim.sent() - sent;
    // One packet of each change was the application's and was answered, the next one was the OS's.
    let mut moves: Vec<_> = crate::stacks::echoed_by_app(sent + changes);
    moves[0].1 += changes;
    moves.push(("xdp.pass_miss", changes));
    served.drain()?.moved(&before, &moves)?;
    ensure!(tuples(&mut served.daemon)?.iter().all(|row| row.port == lab::victim::PORT));
    finish(served, victim, apps)
}

/// A tuple is registered, and the next packet is its owner's; it is released, and the next packet is the OS's.
fn change(app: &mut App, here: &UdpSocket) -> Result<()> {
    let mut buffer = [0; 16];
    let held = app.udp(PORT)?;
    here.send(b"whose?")?;
    let len = process::again(|| here.recv(&mut buffer)).context("the application did not answer")?;
    ensure!(&buffer[..len] == b"whose?");
    app.release(held.number)?;
    here.send(b"whose?")?;
    let refused = process::again(|| here.recv(&mut buffer)).map_err(|error| error.kind());
    ensure!(refused == Err(ErrorKind::ConnectionRefused), "{refused:?}");
    Ok(())
}

fn finish(mut served: Served, victim: Victim, apps: Vec<App>) -> Result<()> {
    let reading = served.drain()?;
    victim.unharmed(&reading)?;
    drop((victim, apps));
    served.finish()
}

#[test]
fn f18_applications_come_and_go_and_other_flows_lose_nothing() -> Result<()> {
    let Some(_lab) = lab::require("f18_applications_come_and_go_and_other_flows_lose_nothing", NEEDS)? else {
        return Ok(());
    };
    let mut served = served(&roomy())?;
    let mut victim = Victim::new(&served)?;
    let here = os::udp_socket(&served.pair.peer, (served.pair.peer.v4, 0).into())?;
    here.connect(served.address(PORT))?;
    here.set_read_timeout(Some(Duration::from_secs(10)))?;
    victim.beside(|| {
        for n in 0..20 {
            let mut app = app(&served)?;
            // Whose process is gone frees its port a moment later.
            lab::until("the port is free", || Ok(app.register(&format!("udp any {PORT}"))?.is_ok()))?;
            here.send(b"whose?")?;
            process::again(|| here.recv(&mut [0; 16]))
                .with_context(|| format!("application {n} did not answer"))?;
            if n % 2 == 0 {
                app.crash()?;
            }
        }
        Ok(())
    })?;
    lab::until("all are gone", || {
        Ok(tuples(&mut served.daemon)?.iter().all(|row| row.port == lab::victim::PORT))
    })?;
    finish(served, victim, Vec::new())
}
