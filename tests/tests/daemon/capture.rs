//! What `octroi capture` shows: exactly the packets that came, left and were dropped, with why, in the order they had.
use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use octroi_tests::lab::{
    self, Config, Flow, Listens, PairOptions, Reading, Served, Stamp, Tally, Tap, WINDOW, Wrapper,
    config::{ECHO, Layout, SINK},
    process,
};

use crate::{
    NEEDS,
    capture_file::{Capturing, Read, piped},
    stacks::{app, served},
};

const FIRST: u16 = 5001;
const SECOND: u16 = 5002;
const EVERYWHERE: [&str; 2] = ["--at", "rx,tx,drop"];

/// A datagram that no echo answers: from port 0.
fn unanswerable(served: &Served) -> Result<Vec<u8>> {
    let flow = Flow::v4(&served.pair.peer, 0, &served.pair.served, ECHO);
    flow.udp(&[], &Stamp { flow: 9, sequence: 0 }.payload(60))
}

fn now_ns() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64)
}

#[test]
fn capture_shows_what_came_what_left_and_what_was_dropped() -> Result<()> {
    let Some(_lab) = lab::require("capture_shows_what_came_what_left_and_what_was_dropped", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let (load, sunk, lost) = (served.load(ECHO, 4, 100), served.load(SINK, 2, 60), unanswerable(&served)?);
    let began = now_ns()?;
    let tuple = ["--tuple", "udp", &format!("any:{ECHO}")];
    let capturing = Capturing::start(served.daemon.home(), &[&EVERYWHERE[..], &tuple].concat())?;
    let before = served.drain()?;
    assert_eq!(load.echo(&tap, 300)?, Tally::whole(300));
    (0..50).try_for_each(|n| tap.send(&sunk.frame(n)?))?;
    (0..3).try_for_each(|_| tap.send(&lost))?;
    let after = served.drain()?;
    let captured = capturing.interrupt()?;
    let ended = now_ns()?;
    let file = &captured.file;

    let sent = (0..300).map(|n| load.frame(n)).collect::<Result<Vec<_>>>()?;
    let answers = (0..300).map(|n| load.answer(n)).collect::<Result<Vec<_>>>()?;
    assert_eq!(file.bytes_at("received"), [&sent[..], &vec![lost.clone(); 3]].concat());
    assert_eq!(file.bytes_at("sent"), answers);
    assert_eq!(file.bytes_at("dropped"), vec![&lost[..]; 3]);
    assert_eq!(file.comments_at("received"), BTreeMap::from([("echo", 303)]));
    assert_eq!(file.comments_at("sent"), BTreeMap::from([("", 300)]));
    assert_eq!(file.comments_at("dropped"), BTreeMap::from([("echo_refused", 3)]));
    // The books say the same.
    assert_eq!(after.sum("transmitted") - before.sum("transmitted"), 300);
    assert_eq!(after.sum("echo_refused") - before.sum("echo_refused"), 3);
    assert_eq!(after.sum("rx") - before.sum("rx"), 353, "50 of them of a tuple that nobody captures");

    for packet in &file.packets {
        ensure!((began..=ended).contains(&packet.time_ns), "{began} … {ended}: {packet:?}");
        assert_eq!(packet.direction, if packet.point == "sent" { 2 } else { 1 });
        assert_eq!((packet.queue, packet.len as usize), (Some(0), packet.bytes.len()));
    }
    ensure!(file.packets.is_sorted_by_key(|packet| packet.time_ns), "times go back");
    let ifname = served.pair.served.ifname.as_str();
    ensure!(file.interfaces.iter().all(|(name, _)| name == ifname), "{:?}", file.interfaces);
    assert_eq!(file.statistics, BTreeMap::from([(0, (0, 303)), (1, (0, 300)), (2, (0, 3))]));
    let summary = captured.summary()?;
    assert_eq!(
        (&summary["ended"], &summary["written"], &summary["lost"]),
        (&"signal".into(), &606.into(), &0.into())
    );
    ensure!(captured.succeeded);
    served.finish()
}

#[test]
fn capture_takes_one_address_and_all_packets_if_asked() -> Result<()> {
    let Some(_lab) = lab::require("capture_takes_one_address_and_all_packets_if_asked", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    // Flows are of IPv4 and IPv6 by turns.
    let load = served.load(ECHO, 2, 100);
    let v6 = format!("[{}]:{ECHO}", served.pair.served.v6);
    let home = served.daemon.home();
    let one = Capturing::start(home, &["--at", "rx", "--tuple", "udp", &v6, "--snaplen", "60"])?;
    let all = Capturing::start(home, &["--at", "rx"])?;
    let two = Capturing::start(home, &["--at", "tx", "--tuple", "tcp", "any:7", "--tuple", "udp", &v6])?;
    assert_eq!(load.echo(&tap, 100)?, Tally::whole(100));
    served.drain()?;
    let sent = (0..100).map(|n| load.frame(n)).collect::<Result<Vec<_>>>()?;
    let (of_v6, all) = (one.interrupt()?.file, all.interrupt()?.file);
    assert_eq!(of_v6.packets.len(), 50);
    for (packet, frame) in of_v6.packets.iter().zip(sent.iter().skip(1).step_by(2)) {
        assert_eq!((&packet.bytes[..], packet.len as usize), (&frame[..60], frame.len()));
    }
    assert_eq!(all.bytes_at("received"), sent);
    assert_eq!(two.interrupt()?.file.packets.len(), 50);
    served.finish()
}

#[test]
fn capture_ends_after_a_count_and_goes_into_a_pipe() -> Result<()> {
    let Some(_lab) = lab::require("capture_ends_after_a_count_and_goes_into_a_pipe", NEEDS)? else {
        return Ok(());
    };
    let served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 1, 100);
    let words = ["capture", "--at", "rx", "--count", "10", "--json", "-w", "-"];
    let command = served.daemon.home().command(&Wrapper::default(), "octroi", &words)?;
    let (bytes, said) = piped(command, || {
        assert_eq!(load.echo(&tap, 100)?, Tally::whole(100));
        Ok(())
    })?;
    let file = Read::of(&bytes)?;
    let sent = (0..10).map(|n| load.frame(n)).collect::<Result<Vec<_>>>()?;
    assert_eq!(file.bytes_at("received"), sent);
    assert_eq!(file.totals(), (0, 10));
    ensure!(said.contains(r#""ended":"count""#), "{said}");
    served.finish()
}

#[test]
fn capture_of_applications_shows_hairpins_and_what_they_may_not_send() -> Result<()> {
    let id = "capture_of_applications_shows_hairpins_and_what_they_may_not_send";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let (mut one, mut other) = (app(&served)?, app(&served)?);
    one.udp(FIRST)?;
    other.udp(SECOND)?;
    other.listen(Listens::No)?;
    let capturing = Capturing::start(served.daemon.home(), &EVERYWHERE)?;
    let before = served.drain()?;
    // To the other application of this host, which has the tap's port for its own.
    let local = |port| -> Result<Vec<u8>> {
        let end = &served.pair.served;
        let flow = Flow {
            from_mac: end.mac,
            to_mac: end.mac,
            from: (IpAddr::from(end.v4), FIRST).into(),
            to: (IpAddr::from(end.v4), port).into(),
        };
        flow.udp(&[], &Stamp { flow: 0, sequence: 1 }.payload(60))
    };
    let (hairpin, to_os) = (local(SECOND)?, local(9999)?);
    let foreign = served.load(6000, 1, 100).answer(0)?;
    for packet in [&hairpin, &to_os, &foreign] {
        one.send(&packet[14..])?;
    }
    lab::until("they are judged", || {
        Ok(Reading::of(&mut served.daemon)?.sum("submitted") == before.sum("submitted") + 3)
    })?;
    // And one from the wire, which is answered.
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(FIRST, 1, 100);
    assert_eq!(load.echo(&tap, 1)?, Tally::whole(1));
    let after = served.drain()?;
    let file = capturing.interrupt()?.file;

    let whose = |slot: u16| format!("stack {slot}.0");
    let (first, second) = (whose(0), whose(1) + ", hairpin");
    let came: Vec<_> = file.at("received").map(|p| (p.comment.clone(), p.bytes.clone())).collect();
    assert_eq!(came, [(second, hairpin.clone()), (first, load.frame(0)?)]);
    let left: Vec<_> = file.at("sent").map(|p| (p.comment.as_str(), p.bytes.clone())).collect();
    assert_eq!(left, [("hairpin", hairpin), ("", load.answer(0)?)]);
    // What is refused before it has an Ethernet header gets one of nobody's.
    let bare = |frame: &[u8]| [&[0; 12][..], &[8, 0], &frame[14..]].concat();
    let dropped: Vec<_> = file.at("dropped").map(|p| (p.comment.as_str(), p.bytes.clone())).collect();
    assert_eq!(dropped, [("tx_local_os", bare(&to_os)), ("tx_not_owner", bare(&foreign))]);
    after.moved(
        &before,
        &[
            ("xdp.rx", 1),
            ("xdp.redirect", 1),
            ("rx", 1),
            ("rx_from_meta", 1),
            ("submitted", 4),
            ("delivered", 2),
            ("transmitted", 1),
            ("tx_local_os", 1),
            ("tx_not_owner", 1),
        ]
        .into_iter()
        .chain(
            after
                .moves(&before)
                .into_iter()
                .filter(|(name, _)| name.contains('.') && !name.starts_with("xdp.")),
        )
        .collect::<Vec<_>>(),
    )?;
    drop((one, other));
    served.finish()
}

#[test]
fn capture_shows_every_packet_that_a_full_ring_dropped() -> Result<()> {
    let Some(_lab) = lab::require("capture_shows_every_packet_that_a_full_ring_dropped", NEEDS)? else {
        return Ok(());
    };
    let mut served = served(&Config::default())?;
    let mut deaf = app(&served)?;
    deaf.udp(FIRST)?;
    deaf.listen(Listens::No)?;
    let capturing = Capturing::start(served.daemon.home(), &["--at", "drop"])?;
    let tap = Tap::open(&served.pair.peer)?;
    let before = served.drain()?;
    let flood = served.load(FIRST, 1, 100);
    let daemon = &mut served.daemon;
    flood.sink(&tap, 6 * WINDOW, || {
        let now = Reading::of(daemon)?;
        Ok(["delivered", "rx_ring_full"].iter().map(|name| now.sum(name) - before.sum(name)).sum())
    })?;
    let after = served.drain()?;
    let lost = after.sum("rx_ring_full") - before.sum("rx_ring_full");
    let file = capturing.interrupt()?.file;
    ensure!(lost != 0);
    assert_eq!(file.comments_at("dropped"), BTreeMap::from([("rx_ring_full", lost)]));
    // The ring holds the first ones.
    let last = (6 * WINDOW - lost..6 * WINDOW).map(|n| flood.frame(n)).collect::<Result<Vec<_>>>()?;
    assert_eq!(file.bytes_at("dropped"), last);
    drop(deaf);
    served.finish()
}

#[test]
fn capture_sees_the_engines_of_a_pipeline_and_several_queues() -> Result<()> {
    let id = "capture_sees_the_engines_of_a_pipeline_and_several_queues";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    for (layout, cores) in [(Layout::Pipeline, vec![0, 1, 0, 1]), (Layout::RunToCompletion, vec![0, 1])] {
        let pair = PairOptions { queues: 2, ..PairOptions::default() };
        let mut served = Served::new(pair, &Config { layout, cores, ..Config::echo_and_sink() })?;
        let tap = Tap::open(&served.pair.peer)?;
        let load = served.load(ECHO, 16, 100);
        let capturing = Capturing::start(served.daemon.home(), &EVERYWHERE)?;
        assert_eq!(load.echo(&tap, 1000)?, Tally::whole(1000));
        served.drain()?;
        let file = capturing.interrupt()?.file;
        let sorted = |mut all: Vec<Vec<u8>>| {
            all.sort();
            all
        };
        for (point, expected) in [
            ("received", (0..1000).map(|n| load.frame(n)).collect::<Result<Vec<_>>>()?),
            ("sent", (0..1000).map(|n| load.answer(n)).collect::<Result<Vec<_>>>()?),
        ] {
            let got = file.bytes_at(point).into_iter().map(<[u8]>::to_vec).collect();
            ensure!(sorted(got) == sorted(expected), "{layout:?}: {point}");
            let queues: std::collections::BTreeSet<_> = file.at(point).map(|packet| packet.queue).collect();
            assert_eq!(queues, [Some(0), Some(1)].into(), "{layout:?}: {point}");
        }
        assert_eq!(file.totals(), (0, 2000));
        served.finish()?;
    }
    Ok(())
}

#[test]
fn f20_who_captures_and_does_not_read_costs_nobody_a_packet() -> Result<()> {
    let Some(_lab) = lab::require("f20_who_captures_and_does_not_read_costs_nobody_a_packet", NEEDS)? else {
        return Ok(());
    };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 4, 1400);
    let capturing = Capturing::start(served.daemon.home(), &["--at", "rx"])?;
    let before = served.drain()?;
    process::stop(capturing.pid())?;
    let count = 5000;
    assert_eq!(load.echo(&tap, count)?, Tally::whole(count));
    let after = served.drain()?;
    let lost = after.sum("capture_lost") - before.sum("capture_lost");
    ensure!(1000 < lost && lost < count, "{lost} of {count}");
    let mut expected = lab::echoed(count, load.bytes(0, count)?);
    expected.push(("capture_lost", lost));
    after.moved(&before, &expected)?;
    process::go_on(capturing.pid())?;
    let captured = capturing.interrupt()?;
    assert_eq!(captured.file.totals(), (lost, count - lost));
    assert_eq!(captured.summary()?["lost"], lost);
    let first = (0..count - lost).map(|n| load.frame(n)).collect::<Result<Vec<_>>>()?;
    assert_eq!(captured.file.bytes_at("received"), first, "those that came before the ring was full");
    served.finish()
}
