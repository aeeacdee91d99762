//! Applications with stacks of their own, each other, and the OS on one address: nobody is in anybody's way.
use std::net::IpAddr;

use anyhow::{Result, bail, ensure};
use octroi_tests::lab::{
    self, Chatter, Config, Daemon, Load, Pair, PairOptions, Reading, Served, Tally, Tap, os,
};

use crate::{
    NEEDS,
    stacks::{app, echoed_by_app, served, served_on, tuples},
};

const FIRST: u16 = 5001;
const SECOND: u16 = 5002;

#[test]
fn mt06_an_application_in_another_process_receives_and_sends() -> Result<()> {
    let Some(_lab) = lab::require("mt06_an_application_in_another_process_receives_and_sends", NEEDS)? else {
        return Ok(());
    };
    let mut served = served(&Config::default())?;
    let mut app = app(&served)?;
    let held = app.udp(FIRST)?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(FIRST, 4, 200);
    let before = served.drain()?;
    assert_eq!(load.echo(&tap, 2000)?, Tally::whole(2000));
    served.drain()?.moved(&before, &echoed_by_app(2000))?;
    // Once it has given the tuple back nothing of it reaches the application, and the OS has it again.
    app.release(held.number)?;
    let before = served.drain()?;
    (0..10).try_for_each(|n| tap.send(&load.frame(3000 + n)?))?;
    lab::until("they are counted", || {
        Ok(Reading::of(&mut served.daemon)?.sum("xdp.rx") == before.sum("xdp.rx") + 10)
    })?;
    served.drain()?.moved(&before, &[("xdp.rx", 10), ("xdp.pass_miss", 10)])?;
    drop(app);
    served.finish()
}

#[test]
fn mt06_two_applications_and_the_os_share_one_address() -> Result<()> {
    let Some(_lab) = lab::require("mt06_two_applications_and_the_os_share_one_address", NEEDS)? else {
        return Ok(());
    };
    let options = PairOptions { queues: 2, ..PairOptions::default() };
    let mut served = served_on(options, &Config { cores: vec![0, 1], ..Config::default() })?;
    let (mut one, mut other) = (app(&served)?, app(&served)?);
    one.udp(FIRST)?;
    other
        .register(&format!("udp {} {SECOND}", served.pair.served.v4))?
        .map_err(|r| anyhow::anyhow!("{r:?}"))?;
    let rows = tuples(&mut served.daemon)?;
    assert_eq!(
        rows.iter().map(|row| (row.port, row.addrs.len(), row.pid)).collect::<Vec<_>>(),
        [(FIRST, 2, Some(one.pid())), (SECOND, 1, Some(other.pid()))]
    );
    let taps = [Tap::open(&served.pair.peer)?, Tap::open(&served.pair.peer)?];
    let second = lab::Flow::v4(&served.pair.peer, 21_000, &served.pair.served, SECOND);
    let loads = [served.load(FIRST, 4, 200), Load::new(vec![second], 200)];
    let before = served.drain()?;
    // An OS server, pings and both applications at once, through the same address.
    let (tallies, _pings) = os::beside_legacy(&served.pair, || {
        std::thread::scope(|scope| {
            let running: Vec<_> =
                loads.iter().zip(&taps).map(|(load, tap)| scope.spawn(|| load.echo(tap, 3000))).collect();
            let tally = running
                .into_iter()
                .map(|load| load.join().map_err(|_| anyhow::anyhow!("a load panicked"))?);
            tally.collect::<Result<Vec<Tally>>>()
        })
    })?;
    for tally in tallies {
        assert_eq!(Tally { foreign: 0, ..tally }, Tally::whole(3000));
    }
    let after = served.drain()?;
    for name in ["xdp.redirect", "delivered", "submitted", "transmitted"] {
        assert_eq!(after.sum(name) - before.sum(name), 6000, "{name}");
    }
    drop((one, other));
    served.finish()
}

#[test]
fn mt06_packets_of_another_ones_tuple_are_not_sent() -> Result<()> {
    let Some(_lab) = lab::require("mt06_packets_of_another_ones_tuple_are_not_sent", NEEDS)? else {
        return Ok(());
    };
    let mut served = served(&Config::default())?;
    let (mut honest, mut liar) = (app(&served)?, app(&served)?);
    honest.udp(FIRST)?;
    liar.udp(SECOND)?;
    let tap = Tap::open(&served.pair.peer)?;
    // As if it answered a packet that came to the other one, and to nobody at all.
    for port in [FIRST, 6000] {
        let answer = served.load(port, 1, 100).answer(0)?;
        let before = served.drain()?;
        liar.send(&answer[14..])?;
        lab::until("it is judged", || {
            Ok(Reading::of(&mut served.daemon)?.sum("submitted") == before.sum("submitted") + 1)
        })?;
        served.drain()?.moved(&before, &[("submitted", 1), ("tx_not_owner", 1)])?;
    }
    let own = served.load(SECOND, 1, 100).answer(0)?;
    let before = served.drain()?;
    liar.send(&own[14..])?;
    assert_eq!(
        lab::Wire::receive(&tap, std::time::Instant::now() + std::time::Duration::from_secs(10))?,
        Some(own)
    );
    served.drain()?.moved(&before, &[("submitted", 1), ("transmitted", 1)])?;
    drop((honest, liar));
    served.finish()
}

#[test]
fn mt06_a_next_hop_is_resolved_by_the_kernel_and_stays_so() -> Result<()> {
    let Some(_lab) = lab::require("mt06_a_next_hop_is_resolved_by_the_kernel_and_stays_so", NEEDS)? else {
        return Ok(());
    };
    // Here both kernels speak ARP and neighbour discovery, and know nobody yet.
    let pair = Pair::new(PairOptions { chatter: Chatter::Ordinary, ..PairOptions::default() })?;
    // Neighbour discovery begins at a link-local address, which a lab's ends do not have by themselves.
    for (end, addr) in [(&pair.served, "fe80::2"), (&pair.peer, "fe80::1")] {
        end.run(&format!("ip -6 addr add {addr}/64 dev {} nodad", end.ifname))?;
    }
    let mut served = Served { daemon: Daemon::start(&pair.served, &Config::default())?, pair };
    let mut app = app(&served)?;
    let Served { pair, .. } = &served;
    app.udp(FIRST)?;
    for addr in [IpAddr::from(pair.peer.v4), pair.peer.v6.into()] {
        let listener = os::udp_socket(&pair.peer, (addr, 0).into())?;
        listener.set_nonblocking(true)?;
        let from = if addr.is_ipv4() { IpAddr::from(pair.served.v4) } else { pair.served.v6.into() };
        let flow = lab::Flow {
            from_mac: pair.served.mac,
            to_mac: pair.peer.mac,
            from: (from, FIRST).into(),
            to: listener.local_addr()?,
        };
        let packet = &flow.udp(&[], b"who is there?")?[14..];
        // The first are dropped while the kernel resolves; nobody asks the application to know.
        let arrived = lab::until("a packet arrives", || {
            app.send(packet)?;
            Ok(listener.recv(&mut [0; 64]).is_ok())
        });
        if let Err(why) = arrived {
            let neighbours = pair.served.run("ip neigh")?;
            bail!("{why}\n{neighbours}{:?}", Reading::of(&mut served.daemon)?.moves(&Reading::default()));
        }
        let neighbours = pair.served.run(&format!("ip neigh show {addr}"))?;
        ensure!(neighbours.contains("managed"), "the kernel may forget it: {neighbours}");
    }
    drop(app);
    served.finish()
}
