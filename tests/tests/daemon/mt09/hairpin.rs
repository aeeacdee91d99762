//! From one application to another, to itself, and to and from the OS of its own host: never by a wire.
use std::net::IpAddr;

use abi::shm::desc::Form;
use anyhow::{Context as _, Result, ensure};
use client::{
    control::{
        request::{LocalAddr, Proto},
        stack::StackRegister,
    },
    shm::channel::Channel,
    stack::{Client, Reserve, Stack, StackOptions, Tuple},
};
use octroi_tests::lab::{
    self, Config, Hostile, PairOptions, Served, Tap, config::ECHO, hostile::udp, os, process,
};

use super::{
    FIRST, NOBODYS, PORTS, SECOND, Two, V, VERSIONS, account, account_of_port, frames, moved, nothing_at,
    send, told_of_hairpin, within,
};
use crate::{
    NEEDS,
    stacks::{served, served_on},
};

#[test]
fn mt09_packets_cross_between_applications_both_ways_without_a_wire() -> Result<()> {
    let id = "mt09_packets_cross_between_applications_both_ways_without_a_wire";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let Two { one, other, numbers } = Two::new(&served)?;
    let mut both = [one, other];
    let tap = Tap::open(&served.pair.peer)?;
    for v in VERSIONS {
        for (from, to) in [(0, 1), (1, 0)] {
            let sent = frames(&within(&served, v, PORTS[from], PORTS[to]), 10)?;
            let before = served.drain()?;
            send(&mut both[from], &sent)?;
            let got = both[to].wait_received(10)?;
            // Whole, in order, and with a link header as if it came from the interface to itself.
            let wanted: Vec<_> =
                sent.into_iter().map(|frame| (told_of_hairpin(&frame, v, numbers[to]), frame)).collect();
            ensure!(got == wanted, "{v:?}: {got:02x?} is not {wanted:02x?}");
            moved(&mut served, &before, &[("submitted", 10), ("delivered", 10)])?;
        }
    }
    let reading = served.drain()?;
    let all = [("tx_read", 20), ("tx_hairpin", 20), ("rx_delivered", 20)];
    for (session, port) in both.iter().zip(PORTS) {
        account(&reading, session, &all)?;
        account_of_port(&reading, port, &all)?;
    }
    nothing_at(&tap)?;
    drop(both);
    served.finish()
}

#[test]
fn mt09_an_application_sends_to_itself() -> Result<()> {
    let Some(_lab) = lab::require("mt09_an_application_sends_to_itself", NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let mut one = Hostile::open(served.daemon.home())?;
    let numbers = [one.udp(FIRST)?, one.udp(SECOND)?];
    let tap = Tap::open(&served.pair.peer)?;
    for v in VERSIONS {
        // To the very tuple that it sends from, and to its other one.
        for (port, number) in [(FIRST, numbers[0]), (SECOND, numbers[1])] {
            let sent = frames(&within(&served, v, FIRST, port), 10)?;
            let before = served.drain()?;
            send(&mut one, &sent)?;
            let got = one.wait_received(10)?;
            let wanted: Vec<_> =
                sent.into_iter().map(|frame| (told_of_hairpin(&frame, v, number), frame)).collect();
            ensure!(got == wanted, "{v:?}: {got:02x?} is not {wanted:02x?}");
            moved(&mut served, &before, &[("submitted", 10), ("delivered", 10)])?;
        }
    }
    let reading = served.drain()?;
    account(&reading, &one, &[("tx_read", 40), ("tx_hairpin", 40), ("rx_delivered", 40)])?;
    account_of_port(&reading, FIRST, &[("tx_read", 40), ("tx_hairpin", 40), ("rx_delivered", 20)])?;
    account_of_port(&reading, SECOND, &[("rx_delivered", 20)])?;
    nothing_at(&tap)?;
    drop(one);
    served.finish()
}

#[test]
fn mt09_whoever_reads_nothing_loses_what_others_send_him_and_holds_nobody_up() -> Result<()> {
    let id = "mt09_whoever_reads_nothing_loses_what_others_send_him_and_holds_nobody_up";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let mut one = Hostile::open(served.daemon.home())?;
    let mut other = Hostile::with_slots(served.daemon.home(), 64)?;
    one.udp(FIRST)?;
    let number = other.udp(SECOND)?;
    let sent = frames(&within(&served, V::Four, FIRST, SECOND), 101)?;
    let before = served.drain()?;
    send(&mut one, &sent[..100])?;
    let full = [("submitted", 100), ("delivered", 64), ("rx_ring_full", 36)];
    moved(&mut served, &before, &full)?;
    ensure!(one.taken() == 100, "packets for a full ring stayed");
    let got = other.wait_received(64)?;
    ensure!(got.iter().map(|(_, frame)| frame).eq(&sent[..64]), "other packets than the first");
    // There is room again.
    let before = served.drain()?;
    send(&mut one, &sent[100..])?;
    ensure!(other.wait_received(1)? == [(told_of_hairpin(&sent[100], V::Four, number), sent[100].clone())]);
    let reading = moved(&mut served, &before, &[("submitted", 1), ("delivered", 1)])?;
    account(&reading, &one, &[("tx_read", 101), ("tx_hairpin", 101)])?;
    account(&reading, &other, &[("rx_delivered", 65), ("rx_ring_full", 36)])?;
    account_of_port(&reading, SECOND, &[("rx_delivered", 65), ("rx_ring_full", 36)])?;
    drop((one, other));
    served.finish()
}

/// A session with a channel for each of two workers, and a UDP port.
fn by_two_workers(served: &Served, port: u16) -> Result<(Stack, Vec<Channel>)> {
    let client = Client::connect(&served.daemon.home().socket())?;
    let mut stack = client.open(&StackOptions::named("two"))?;
    stack.register(&Tuple::new(Proto::Udp, LocalAddr::Any, port), Reserve::Daemon)?;
    let channels = stack.take_channels();
    ensure!(channels.iter().map(Channel::number).eq([0, 1]), "{} channels", channels.len());
    Ok((stack, channels))
}

#[test]
fn mt09_each_worker_hands_packets_over_by_its_own_channel() -> Result<()> {
    let id = "mt09_each_worker_hands_packets_over_by_its_own_channel";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let options = PairOptions { queues: 2, ..PairOptions::default() };
    let mut served = served_on(options, &Config { cores: vec![0, 1], ..Config::default() })?;
    let (one, mut sending) = by_two_workers(&served, FIRST)?;
    let (other, mut receiving) = by_two_workers(&served, SECOND)?;
    let sent = frames(&within(&served, V::Four, FIRST, SECOND), 10)?;
    for worker in 0..2 {
        let before = served.drain()?;
        for frame in &sent {
            ensure!(sending[worker].tx(1).push(&frame[14..], Form::L3)?.is_some(), "no room for ten");
        }
        let mut got = Vec::new();
        lab::until("they come", || {
            got.extend(receiving[worker].rx(64).iter().map(|frame| frame.bytes.to_vec()));
            Ok(10 <= got.len())
        })?;
        ensure!(got == sent, "{got:02x?} is not {sent:02x?}");
        moved(&mut served, &before, &[("submitted", 10), ("delivered", 10)])?;
        ensure!(receiving.iter_mut().all(|channel| channel.rx(64).is_empty()), "and by the other as well");
    }
    let reading = served.drain()?;
    account_of_port(&reading, FIRST, &[("tx_read", 20), ("tx_hairpin", 20)])?;
    account_of_port(&reading, SECOND, &[("rx_delivered", 20)])?;
    drop((sending, receiving, one, other));
    served.finish()
}

#[test]
fn mt09_no_application_reaches_the_os_of_its_own_host() -> Result<()> {
    let id = "mt09_no_application_reaches_the_os_of_its_own_host";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::echo_and_sink())?;
    let mut one = Hostile::open(served.daemon.home())?;
    one.udp(FIRST)?;
    served.daemon.home().octroi(&["stack", "register", "udp", "any:5003", "--uid", "0"])?;
    let mut refused = 0;
    for v in VERSIONS {
        let socket = os::udp_socket(&served.pair.served, (v.of(&served), 0).into())?;
        let port = socket.local_addr()?.port();
        // A socket of the OS, no socket, a port that is kept for an application to come, and a target of the daemon's.
        for port in [port, NOBODYS, 5003, ECHO] {
            let before = served.drain()?;
            send(&mut one, &frames(&within(&served, v, FIRST, port), 1)?)?;
            moved(&mut served, &before, &[("submitted", 1), ("tx_local_os", 1)])
                .with_context(|| format!("{v:?}, port {port}"))?;
            refused += 1;
        }
        // What the socket gets first is what came by the wire after that.
        let before = served.drain()?;
        let peer = &served.pair.peer;
        let from: IpAddr = if v == V::Six { peer.v6.into() } else { peer.v4.into() };
        os::udp_socket(peer, (from, 0).into())?.send_to(b"by the wire", (v.of(&served), port))?;
        let mut buffer = [0; 200];
        let len = process::again(|| socket.recv(&mut buffer))?;
        ensure!(&buffer[..len] == b"by the wire", "{:02x?}", &buffer[..len]);
        moved(&mut served, &before, &[("xdp.rx", 1), ("xdp.pass_miss", 1)])?;
    }
    let reading = served.drain()?;
    account(&reading, &one, &[("tx_read", refused), ("tx_local_os", refused)])?;
    account_of_port(&reading, FIRST, &[("tx_read", refused), ("tx_local_os", refused)])?;
    ensure!(one.receive().is_empty(), "it got one back");
    drop(one);
    served.finish()
}

/// Packets that the OS dropped at the sockets which hold this UDP port for an application (`proc_net(5)`).
fn dropped_at_placeholders(served: &Served, port: u16) -> Result<u64> {
    let table = served.pair.served.run("cat /proc/net/udp /proc/net/udp6")?;
    let here = format!(":{port:04X}");
    let rows =
        table.lines().filter(|row| row.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&here)));
    rows.map(|row| row.split_whitespace().last().context("no column")?.parse::<u64>().context("no number"))
        .sum()
}

#[test]
fn mt09_the_os_of_the_same_host_reaches_no_application() -> Result<()> {
    let id = "mt09_the_os_of_the_same_host_reaches_no_application";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let mut one = Hostile::open(served.daemon.home())?;
    one.udp(FIRST)?;
    one.control.call(&StackRegister { proto: Proto::Tcp, ..udp(FIRST) })?;
    let before = served.drain()?;
    for (v, dropped) in VERSIONS.into_iter().zip(1..) {
        // It goes by the loopback interface, to the socket that holds the port: in silence or with a reset.
        let socket = os::udp_socket(&served.pair.served, (v.of(&served), 0).into())?;
        socket.send_to(b"is anybody there?", (v.of(&served), FIRST))?;
        lab::until("it is dropped", || Ok(dropped_at_placeholders(&served, FIRST)? == dropped))?;
        let at = (v.of(&served), FIRST);
        let refused = served.pair.served.netns.enter(|| std::net::TcpStream::connect(at))?;
        let kind = refused.err().map(|error| error.kind());
        ensure!(kind == Some(std::io::ErrorKind::ConnectionRefused), "{kind:?}");
    }
    let reading = moved(&mut served, &before, &[])?;
    account(&reading, &one, &[])?;
    ensure!(one.receive().is_empty(), "it got one");
    drop(one);
    served.finish()
}
