//! ICMP errors: to whoever sent what they quote, if he asked for them, and otherwise to the OS.
use std::net::IpAddr;

use abi::rxmeta::flag;
use anyhow::{Context as _, Result, bail, ensure};
use client::control::stack::StackRegister;
use etherparse::PacketBuilder;
use octroi_tests::lab::{self, Config, Hostile, Ping, Served, Tap, hostile::udp};

use super::{
    FIRST, NOBODYS, SECOND, V, VERSIONS, account, account_of_port, frames, moved, next_at, out, send, told,
};
use crate::{NEEDS, stacks::served};

/// An ICMP error of a router at the other end about a packet, of which it quotes the header and eight bytes.
fn error(served: &Served, v: V, (kind, code): (u8, u8), packet: &[u8]) -> Result<Vec<u8>> {
    let quoted = &packet[..v.header() + 8];
    let link = PacketBuilder::ethernet2(served.pair.peer.mac.0, served.pair.served.mac.0);
    let mut frame = Vec::new();
    match (v.away(served), v.of(served)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => link
            .ipv4(from.octets(), to.octets(), 64)
            .icmpv4_raw(kind, code, [0, 0, 5, 220])
            .write(&mut frame, quoted),
        (IpAddr::V6(from), IpAddr::V6(to)) => link
            .ipv6(from.octets(), to.octets(), 64)
            .icmpv6_raw(kind, code, [0, 0, 5, 0])
            .write(&mut frame, quoted),
        _ => bail!("two versions"),
    }?;
    Ok(frame)
}

/// Every kind of error: unreachable, too big, time exceeded, wrong parameter.
fn kinds(v: V) -> [(u8, u8); 4] {
    if v == V::Six { [(1, 4), (2, 0), (3, 0), (4, 0)] } else { [(3, 3), (3, 4), (11, 0), (12, 0)] }
}

/// ICMP and ICMPv6 messages that the OS of the served end got.
fn messages_of_the_os(served: &Served) -> Result<u64> {
    let end = &served.pair.served;
    let (four, six) = (end.run("cat /proc/net/snmp")?, end.run("cat /proc/net/snmp6")?);
    // Two lines, of which the second has the figures.
    let four = four.lines().filter(|line| line.starts_with("Icmp: ")).nth(1).context("no ICMP")?;
    let six = six.lines().find(|line| line.starts_with("Icmp6InMsgs")).context("no ICMPv6")?;
    let figure =
        |line: &str| line.split_whitespace().nth(1).context("no figure")?.parse::<u64>().context("none");
    Ok(figure(four)? + figure(six)?)
}

/// Sends a frame of ICMP that is the OS's: it gets it, and nobody else.
fn passes(served: &mut Served, tap: &Tap, frame: &[u8]) -> Result<()> {
    let (before, messages) = (served.drain()?, messages_of_the_os(served)?);
    tap.send(frame)?;
    moved(served, &before, &[("xdp.rx", 1), ("xdp.pass_icmp", 1)])?;
    lab::until("the OS has it", || Ok(messages_of_the_os(served)? == messages + 1))
}

#[test]
fn mt09_an_error_about_a_packet_reaches_its_sender_if_he_asked_for_such() -> Result<()> {
    let id = "mt09_an_error_about_a_packet_reaches_its_sender_if_he_asked_for_such";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let (mut one, mut other) = (Hostile::open(served.daemon.home())?, Hostile::open(served.daemon.home())?);
    let asked = one.control.call(&StackRegister { icmp: true, ..udp(FIRST) })?.tuple;
    other.udp(SECOND)?;
    let tap = Tap::open(&served.pair.peer)?;
    for v in VERSIONS {
        for (application, port) in [(&mut one, FIRST), (&mut other, SECOND)] {
            // About a packet that was really sent, as it was on the wire.
            let frame = frames(&out(&served, v, port), 1)?;
            let before = served.drain()?;
            send(application, &frame)?;
            moved(&mut served, &before, &[("submitted", 1), ("transmitted", 1)])?;
            let wire = next_at(&tap)?;
            ensure!(wire == frame[0], "{wire:02x?}");
            for kind in kinds(v) {
                let error = error(&served, v, kind, &wire[14..])?;
                if port == SECOND {
                    passes(&mut served, &tap, &error).with_context(|| format!("{v:?} {kind:?}"))?;
                    continue;
                }
                let (before, messages) = (served.drain()?, messages_of_the_os(&served)?);
                tap.send(&error)?;
                let got = application.wait_received(1)?;
                let flags = u16::from(flag::ICMP_ERROR | v.flag());
                let wanted = [(told(&error, asked, flags, 14 + v.header()), error)];
                ensure!(got == wanted, "{v:?} {kind:?}: {got:02x?} is not {wanted:02x?}");
                let every = ["xdp.rx", "xdp.redirect", "xdp.icmp_error", "rx", "rx_from_meta", "delivered"];
                moved(&mut served, &before, &every.map(|name| (name, 1)))?;
                ensure!(messages_of_the_os(&served)? == messages, "the OS has it too");
            }
        }
    }
    let reading = served.drain()?;
    account(&reading, &one, &[("tx_read", 2), ("tx_sent", 2), ("rx_delivered", 8)])?;
    account_of_port(&reading, FIRST, &[("tx_read", 2), ("tx_sent", 2), ("rx_delivered", 8)])?;
    account(&reading, &other, &[("tx_read", 2), ("tx_sent", 2)])?;
    // Once he has given the tuple back, errors about it are the OS's.
    one.release(asked)?;
    for v in VERSIONS {
        let late = error(&served, v, kinds(v)[0], &frames(&out(&served, v, FIRST), 1)?[0][14..])?;
        passes(&mut served, &tap, &late)?;
    }
    ensure!(one.receive().is_empty() && other.receive().is_empty());
    drop((one, other));
    served.finish()
}

#[test]
fn mt09_whoever_asks_for_errors_gets_those_about_his_own_packets_only() -> Result<()> {
    let id = "mt09_whoever_asks_for_errors_gets_those_about_his_own_packets_only";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let mut one = Hostile::open(served.daemon.home())?;
    one.control.call(&StackRegister { icmp: true, ..udp(FIRST) })?;
    let tap = Tap::open(&served.pair.peer)?;
    for v in VERSIONS {
        let own = frames(&out(&served, v, FIRST), 1)?[0][14..].to_vec();
        let of_another_port = frames(&out(&served, v, NOBODYS), 1)?[0][14..].to_vec();
        // The same port of another protocol, and a packet that the served address did not send.
        let (mut of_tcp, mut of_another_address) = (own.clone(), own.clone());
        (of_tcp[if v == V::Six { 6 } else { 9 }], of_another_address[if v == V::Six { 23 } else { 15 }]) =
            (6, 99);
        for packet in [of_another_port, of_tcp, of_another_address] {
            let frame = error(&served, v, kinds(v)[0], &packet)?;
            passes(&mut served, &tap, &frame).with_context(|| format!("{v:?} {packet:02x?}"))?;
        }
        // Nor anything that is no error, whatever it quotes: an echo reply here.
        let reply = error(&served, v, if v == V::Six { (129, 0) } else { (0, 0) }, &own)?;
        passes(&mut served, &tap, &reply)?;
        let before = served.drain()?;
        Ping::open(&served.pair.peer.netns, v.of(&served))?.times(3)?;
        moved(&mut served, &before, &[("xdp.rx", 3), ("xdp.pass_icmp", 3)])?;
    }
    let reading = served.drain()?;
    account(&reading, &one, &[])?;
    ensure!(one.receive().is_empty());
    drop(one);
    served.finish()
}
