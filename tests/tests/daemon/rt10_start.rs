//! What a filter of the configuration keeps from the OS stack stays away from it: as soon as programs are attached, while no
//! daemon runs, and while the next one takes over.
use std::{
    fs,
    io::ErrorKind,
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};
use octroi_tests::lab::{
    self, Config, Daemon, Flow, Home, Load, Pair, PairOptions, Reading, Served, Tap, os::udp_socket,
};

use crate::NEEDS;

/// A port on which a program of the OS listens.
const PORT: u16 = 5000;

const RULES: &str = "include \"layouts.rli\"\n\
    filter lab\n  Ethernet_IPv4 IPv4_UDP UDP with [dest=5000~2] * => reject 3;\n  * => accept;\n";

const TABLE: &str = "\n[interface.filter]\nfile = \"lab.rl\"\nscope = \"interface\"\n";

/// Sends to the port all the time while `work` goes on.
fn flooded<T>(pair: &Pair, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let tap = Tap::open(&pair.peer)?;
    let frame = Load::new(vec![Flow::v4(&pair.peer, 20_000, &pair.served, PORT)], 100).frame(0)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                tap.send(&frame)?;
            }
            Ok(())
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| anyhow!("sending panicked"))?.and(worked)
    })
}

/// Waits until so many frames more have come to the programs.
fn until_came(daemon: &mut Daemon, frames: u64) -> Result<()> {
    let before = Reading::of(daemon)?;
    lab::until("many frames have come", || {
        Ok(before.sum("xdp.rx") + frames <= Reading::of(daemon)?.sum("xdp.rx"))
    })
}

/// How many datagrams wait at a socket.
fn received(socket: &UdpSocket) -> Result<u64> {
    for count in 0.. {
        match socket.recv(&mut [0; 1500]) {
            Ok(_) => {}
            Err(none) if none.kind() == ErrorKind::WouldBlock => return Ok(count),
            Err(error) => bail!(error),
        }
    }
    unreachable!("the range has no end")
}

/// Every frame that came since the programs were attached was rejected.
fn all_rejected(daemon: &mut Daemon) -> Result<()> {
    let reading = lab::drain(daemon)?;
    let came = reading.sum("xdp.rx");
    reading.moved(&Reading::default(), &[("xdp.rx", came), ("xdp.ruler_reject", came)])
}

fn home(pair: &Pair) -> Result<Home> {
    let home = Home::new(&pair.served, &Config { more: TABLE.to_owned(), ..Config::default() })?;
    let directory = home.config().parent().context("a file without a directory")?.to_owned();
    fs::write(directory.join("lab.rl"), RULES)?;
    Ok(home)
}

#[test]
fn rt10_no_packet_of_the_os_gets_past_while_a_daemon_starts_or_is_followed() -> Result<()> {
    let id = "rt10_no_packet_of_the_os_gets_past_while_a_daemon_starts_or_is_followed";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let socket = udp_socket(&pair.served, (pair.served.v4, PORT).into())?;
    socket.set_nonblocking(true)?;
    let home = home(&pair)?;
    let mut daemon = flooded(&pair, || {
        // Before anything is attached they are the OS stack's.
        lab::until("datagrams arrive", || Ok(received(&socket)? != 0))?;
        let mut daemon = home.start(&pair.served)?;
        until_came(&mut daemon, 1000)?;
        Ok(daemon)
    })?;
    all_rejected(&mut daemon)?;
    received(&socket)?;

    // From here on none arrives: not while the daemon dies, nor while none runs, nor while the next one takes over.
    let mut daemon = flooded(&pair, || {
        until_came(&mut daemon, 1000)?;
        let mut daemon = daemon.crash()?.start(&pair.served)?;
        until_came(&mut daemon, 1000)?;
        Ok(daemon)
    })?;
    all_rejected(&mut daemon)?;
    assert_eq!(received(&socket)?, 0);

    // One that is told of no filter takes the old one's away.
    let home = daemon.crash()?;
    let plain = Config::default().text(&pair.served.ifname, &format!("unix:{}", home.metrics().display()));
    home.configure(&plain)?;
    let daemon = home.start(&pair.served)?;
    flooded(&pair, || lab::until("datagrams arrive again", || Ok(received(&socket)? != 0)))?;
    let served = Served { daemon, pair };
    drop(socket);
    served.finish()
}
