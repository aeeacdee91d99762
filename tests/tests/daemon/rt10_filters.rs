//! Filters attached to a running daemon: what they say is done, and replacing one loses no packet.
use anyhow::{Context as _, Result, ensure};
use client::{
    control::{
        answer::ReplyError,
        connection::{CallError, Connection},
        refusal::Code,
        ruler::{MAX_BUNDLE, RulerAttach, Scope, Where},
    },
    document,
};
use octroi_tests::lab::{
    self, Config, Listens, PairOptions, Reading, Served, Tally, Tap,
    config::{ECHO, SINK},
    filter,
};

use crate::{
    NEEDS,
    stacks::{app, served},
};

fn port(served: &Served) -> Where {
    Where::Port(served.pair.served.ifname.clone())
}

/// The code of a refusal.
fn refused<T>(outcome: Result<T, CallError>) -> Result<Code> {
    match outcome.err().context("it was not refused")? {
        CallError::Reply(ReplyError::Refused(refusal)) => Ok(refusal.code),
        other => Err(other.into()),
    }
}

#[test]
fn rt10_a_ports_filter_accepts_rejects_and_rewrites() -> Result<()> {
    let id = "rt10_a_ports_filter_accepts_rejects_and_rewrites";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let (tap, at) = (Tap::open(&served.pair.peer)?, port(&served));
    // Only flows of IPv4, which have even numbers.
    let (echo, sink) = (served.load(ECHO, 1, 100), served.load(SINK, 1, 100));
    let before = served.drain()?;
    let rules = "e:Ethernet_IPv4 i:IPv4_UDP u:UDP with [dest=7~2] p:* \
                   => e i with [tos=0x28, csum=ipv4_csum()] u p class 5;\n\
                 Ethernet_IPv4 IPv4_UDP UDP with [dest=9~2] * => reject 3;";
    let (row, replaced) = filter::put(served.daemon.control(), &at, rules)?;
    ensure!(replaced.is_none() && row.at == at, "{row:?}");
    let lines: Vec<_> = row.rules.iter().map(|r| (r.line, r.action.as_str(), r.code)).collect();
    assert_eq!(lines, [(3, "rewrite", 5), (4, "reject", 3)]);
    (0..10).try_for_each(|n| tap.send(&echo.frame(n)?))?;
    (0..20).try_for_each(|n| tap.send(&sink.frame(n)?))?;
    // IPv6, which no rule matches.
    let v6 = served.load(ECHO, 2, 100);
    let unmatched = (0..5).map(|n| v6.frame(2 * n + 1)).collect::<Result<Vec<_>>>()?;
    unmatched.iter().try_for_each(|frame| tap.send(frame))?;
    lab::until("all are counted", || {
        Ok(Reading::of(&mut served.daemon)?.sum("xdp.rx") == before.sum("xdp.rx") + 35)
    })?;
    // What headers alone reject ends in XDP; the others come with the class that was found there.
    let moves = [
        ("xdp.rx", 35),
        ("xdp.ruler_reject", 25),
        ("xdp.redirect", 10),
        ("rx", 10),
        ("rx_from_meta", 10),
        ("ruler_from_class", 10),
        ("transmitted", 10),
        ("target.packets", 10),
        ("target.bytes", echo.bytes(0, 10)?),
    ];
    served.drain()?.moved(&before, &moves)?;
    // The answers have the type of service that the filter wrote.
    let answers = Served::frames_of(&tap, ECHO)?;
    assert_eq!(answers.len(), 10);
    ensure!(answers.iter().all(|answer| answer[15] == 0x28), "{:02x?}", answers[0]);
    let rows = filter::list(served.daemon.control())?;
    let counts: Vec<_> = rows[0].rules.iter().map(|rule| (rule.matched, rule.header)).collect();
    assert_eq!((rows.len(), counts, rows[0].unmatched), (1, vec![(10, 10), (0, 20)], 0));
    ensure!(rows[0].header.instructions.is_some(), "{:?}", rows[0].header);
    // The registry, the status and the command line show the same.
    let reading = Reading::of(&mut served.daemon)?;
    assert_eq!((reading.sum("ruler.matched"), reading.sum("ruler.header")), (10, 30));
    let status = served.daemon.status()?;
    assert_eq!((status.filters.len(), status.filters[0].matched, status.rules.len()), (1, 10, 2));
    let shown = served.daemon.home().octroi(&["ruler", "list"])?;
    ensure!(shown.contains("f (f.rl) on ") && shown.contains("rewrite"), "{shown}");

    let gone = filter::take(served.daemon.control(), &at)?;
    assert_eq!(filter::judged(&gone), 10);
    ensure!(filter::list(served.daemon.control())?.is_empty());
    served.echoes(&echo, &tap, 100, 20)?;
    served.finish()
}

#[test]
fn rt10_the_command_line_attaches_and_detaches() -> Result<()> {
    let id = "rt10_the_command_line_attaches_and_detaches";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let (home, ifname) = (served.daemon.home(), served.pair.served.ifname.clone());
    let file = home.run().join("f.rl");
    // What it includes lies beside it, and is sent along.
    std::fs::write(home.run().join("port.rli"), "pattern Port : byte#12 0x0800~2 ;")?;
    std::fs::write(&file, "include \"port.rli\"\nfilter f\n  Port * => reject 4;\n  * => accept;\n")?;
    let name = file.to_str().context("a path that is not text")?;
    let said = home.octroi(&["ruler", "run", name, "--port", &ifname])?;
    ensure!(said.contains(&format!("f on {ifname} (generation 1) is attached")), "{said}");
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(ECHO, 2, 100);
    let before = served.drain()?;
    (0..20).try_for_each(|n| tap.send(&load.frame(n)?))?;
    lab::until("all are counted", || {
        let now = Reading::of(&mut served.daemon)?;
        // Headers alone decide here, so that it is XDP that rejects.
        Ok(now.sum("xdp.ruler_reject") == before.sum("xdp.ruler_reject") + 10
            && now.sum("transmitted") == before.sum("transmitted") + 10)
    })?;
    let said = served.daemon.home().octroi(&["ruler", "run", name, "--port", &ifname])?;
    ensure!(said.contains("it replaces generation 1, which judged 10 packets"), "{said}");
    let said = served.daemon.home().octroi(&["ruler", "run", "--port", &ifname, "--detach"])?;
    ensure!(said.contains("is detached; it judged 0 packets"), "{said}");
    served.finish()
}

#[test]
fn rt10_a_hundred_replacements_lose_no_packet_and_none_is_judged_twice() -> Result<()> {
    let id = "rt10_a_hundred_replacements_lose_no_packet_and_none_is_judged_twice";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let (tap, at) = (Tap::open(&served.pair.peer)?, port(&served));
    let load = served.load(ECHO, 4, 100);
    let before = served.drain()?;
    // Every version accepts all, with a code of its own; in between is none.
    filter::put(served.daemon.control(), &at, "* => accept 1;")?;
    let mut own = Connection::open(&served.daemon.home().socket(), std::time::Duration::from_secs(30))?;
    let (judged, sent) = std::thread::scope(|scope| -> Result<_> {
        let mut sent = 0;
        let replacing = scope.spawn(|| -> Result<u64> {
            let mut judged = 0;
            for version in 2..102 {
                let rules = format!("* => accept {version};");
                let (_, old) = filter::put(&mut own, &at, &rules)?;
                judged += filter::judged(&old.context("it replaced nothing")?);
            }
            Ok(judged)
        });
        while !replacing.is_finished() {
            let part = load.echo_from(&tap, sent, 400)?;
            ensure!(part == Tally::whole(400), "{part:?}");
            sent += 400;
        }
        let judged = replacing.join().map_err(|_| anyhow::anyhow!("replacing panicked"))??;
        Ok((judged, sent))
    })?;
    let last = filter::take(served.daemon.control(), &at)?;
    assert_eq!(last.rules[0].code, 101);
    ensure!(judged != 0, "no version but the last has judged a packet");
    assert_eq!(judged + filter::judged(&last), sent, "each packet is judged by exactly one version");
    let mut expected = lab::echoed(sent, load.bytes(0, sent)?);
    // What came with the class of a version that was replaced meanwhile is judged from its first byte by the next.
    let now = served.drain()?;
    let by = |name| (name, now.sum(name) - before.sum(name));
    let entries = [by("ruler_from_class"), by("ruler_from_zero")];
    assert_eq!(entries[0].1 + entries[1].1, sent, "{entries:?}");
    expected.extend(entries.into_iter().filter(|(_, moved)| *moved != 0));
    now.moved(&before, &expected)?;
    served.finish()
}

/// Between two filters there is none, and packets go on as they are.
#[test]
fn rt10_filters_come_and_go_under_load_and_no_packet_is_lost() -> Result<()> {
    let id = "rt10_filters_come_and_go_under_load_and_no_packet_is_lost";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let (tap, at) = (Tap::open(&served.pair.peer)?, port(&served));
    let load = served.load(ECHO, 4, 100);
    let before = served.drain()?;
    let mut own = Connection::open(&served.daemon.home().socket(), std::time::Duration::from_secs(30))?;
    let (judged, sent) = std::thread::scope(|scope| -> Result<_> {
        let changing = scope.spawn(|| -> Result<u64> {
            (0..50).try_fold(0, |judged, code| {
                filter::put(&mut own, &at, &format!("* => accept {code};"))?;
                Ok(judged + filter::judged(&filter::take(&mut own, &at)?))
            })
        });
        let mut sent = 0;
        while !changing.is_finished() {
            let part = load.echo_from(&tap, sent, 400)?;
            ensure!(part == Tally::whole(400), "{part:?}");
            sent += 400;
        }
        let judged = changing.join().map_err(|_| anyhow::anyhow!("changing panicked"))??;
        Ok((judged, sent))
    })?;
    let now = served.drain()?;
    let by = |name| now.sum(name) - before.sum(name);
    let seen = by("ruler_from_class") + by("ruler_from_zero");
    ensure!(judged != 0 && judged == seen && seen <= sent, "{judged} of {seen} of {sent}");
    ensure!(by("transmitted") == sent && filter::list(served.daemon.control())?.is_empty());
    served.finish()
}

/// With scope `interface` the OS stack's packets are judged too, and a code may send claimed ones to it.
#[test]
fn rt10_scope_interface_judges_what_nobody_claims() -> Result<()> {
    let id = "rt10_scope_interface_judges_what_nobody_claims";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let (tap, at) = (Tap::open(&served.pair.peer)?, port(&served));
    let rules = "Ethernet_IPv4 IPv4_UDP UDP with [dest=5000~2] * => reject 2;\n\
                 Ethernet_IPv4 IPv4_UDP UDP with [dest=9~2] * => accept 1;\n\
                 * => accept;";
    let order = RulerAttach { scope: Scope::Interface, pass: vec![1], ..filter::attach(&at) };
    let (_, said) = filter::ask(served.daemon.control(), &order, &[filter::bundle(rules)?])?;
    ensure!(said.attached.is_some(), "{}", said.text);
    // Flows with even numbers are IPv4.
    let frames =
        [(5_000, 10), (5_001, 10), (SINK, 10)].map(|(port, count)| (served.load(port, 1, 100), count));
    let before = served.drain()?;
    for (load, count) in &frames {
        (0..*count).try_for_each(|n| tap.send(&load.frame(n)?))?;
    }
    lab::until("all are counted", || {
        let now = Reading::of(&mut served.daemon)?;
        let by = |name| now.sum(name) - before.sum(name);
        Ok(by("xdp.ruler_reject") == 10 && by("xdp.ruler_pass") == 10 && by("xdp.rx") == 30)
    })?;
    // The sink, which is claimed, got nothing, as its code is the OS stack's; an echo is an echo.
    let now = served.drain()?;
    assert_eq!(now.sum("rx"), before.sum("rx"));
    let echo = served.load(ECHO, 1, 100);
    // A new tap, as the OS stack told of ports that nobody listens on.
    assert_eq!(echo.echo_from(&Tap::open(&served.pair.peer)?, 0, 20)?, Tally::whole(20));
    filter::take(served.daemon.control(), &at)?;
    served.finish()
}

#[test]
fn rt10_a_targets_filter_judges_its_packets_and_goes_with_it() -> Result<()> {
    let id = "rt10_a_targets_filter_judges_its_packets_and_goes_with_it";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let tap = Tap::open(&served.pair.peer)?;
    let tuple = |served: &mut Served, port| -> Result<u16> {
        let targets = served.daemon.status()?.targets;
        let found = targets.iter().find(|row| row.target.port == port).context("no such target")?;
        Ok(found.target.tuple)
    };
    let sink = tuple(&mut served, SINK)?;
    let at = Where::Target(format!("builtin:{sink}").parse()?);
    filter::put(served.daemon.control(), &at, "* => reject 1;")?;
    let (to_sink, to_echo) = (served.load(SINK, 1, 100), served.load(ECHO, 2, 100));
    let before = served.drain()?;
    (0..10).try_for_each(|n| tap.send(&to_sink.frame(n)?))?;
    assert_eq!(to_echo.echo(&tap, 50)?, Tally::whole(50));
    let mut expected = lab::echoed(50, to_echo.bytes(0, 50)?);
    for (name, by) in &mut expected {
        match *name {
            "xdp.rx" | "xdp.redirect" | "rx" | "rx_from_meta" | "target.packets" => *by += 10,
            "target.bytes" => *by += to_sink.bytes(0, 10)?,
            _ => {}
        }
    }
    expected.extend([("ruler_reject", 10), ("ruler_from_zero", 10)]);
    served.drain()?.moved(&before, &expected)?;
    served.daemon.remove(sink)?;
    lab::until("its filter is gone", || Ok(filter::list(served.daemon.control())?.is_empty()))?;
    served.finish()
}

#[test]
fn rt10_an_applications_filter_goes_with_its_session() -> Result<()> {
    let id = "rt10_an_applications_filter_goes_with_its_session";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let tap = Tap::open(&served.pair.peer)?;
    let mut app = app(&served)?;
    app.udp(5001)?;
    app.listen(Listens::Swallows)?;
    let slot = served.daemon.status()?.sessions[0].slot;
    let at = Where::Target(format!("stack:{slot}").parse()?);
    let rules = "Ethernet_IPv4 * => accept 77; * => reject;";
    filter::put(served.daemon.control(), &at, rules)?;
    let load = served.load(5001, 2, 100);
    let before = served.drain()?;
    (0..20).try_for_each(|n| tap.send(&load.frame(n)?))?;
    lab::until("all are counted", || {
        let now = Reading::of(&mut served.daemon)?;
        let by = |name| now.sum(name) - before.sum(name);
        Ok(by("delivered") == 10 && by("ruler_reject") == 10)
    })?;
    lab::until("the application has the code of each", || Ok(app.classes()? == "77=10"))?;
    drop(app);
    lab::until("its filter is gone", || Ok(filter::list(served.daemon.control())?.is_empty()))?;
    served.finish()
}

#[test]
fn rt10_what_cannot_be_attached_is_refused_and_changes_nothing() -> Result<()> {
    let id = "rt10_what_cannot_be_attached_is_refused_and_changes_nothing";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = Served::new(PairOptions::default(), &Config::echo_and_sink())?;
    let at = port(&served);
    let (kept, _) = filter::put(served.daemon.control(), &at, "* => accept 1;")?;
    let control = served.daemon.control();
    // A program that is wrong is answered with what is wrong, and where.
    let (answer, said) =
        filter::ask(control, &filter::attach(&at), &[filter::bundle("TCP with [dest=80] * => accept;")?])?;
    ensure!(answer.generation.is_none() && said.attached.is_none(), "{said:?}");
    assert_eq!(
        (&said.diagnostics[0]["code"], &said.diagnostics[0]["file"]),
        (&"RL205".into(), &"f.rl".into())
    );
    ensure!(said.diagnostics[0]["span"]["start"].is_u64() && said.text.contains("f.rl:3:"), "{}", said.text);
    let anonymising = filter::bundle("Ethernet i:IPv4 p:* => i with [src=prefix_anon(i.src)] p;")?;
    let (_, said) = filter::ask(control, &filter::attach(&at), &[anonymising])?;
    ensure!(said.text.contains("RL404"), "{}", said.text);
    let cut_off = RulerAttach { scope: Scope::Interface, ..filter::attach(&at) };
    let (_, said) = filter::ask(control, &cut_off, &[filter::bundle("* => reject;")?])?;
    ensure!(said.text.contains("RL405"), "{}", said.text);

    let good = || filter::bundle("* => accept 2;");
    let mut refuses = |at: &Where, lent: Vec<_>| refused(filter::ask(control, &filter::attach(at), &lent));
    assert_eq!(refuses(&Where::Port("nowhere0".into()), vec![good()?])?, Code::Enoent);
    assert_eq!(refuses(&Where::Target("builtin:999".parse()?), vec![good()?])?, Code::Enoent);
    assert_eq!(refuses(&Where::Target("stack:0".parse()?), vec![good()?])?, Code::Enoent);
    assert_eq!(refuses(&at, Vec::new())?, Code::Einval);
    assert_eq!(refuses(&at, vec![document::write(b"no JSON")?])?, Code::Einval);
    assert_eq!(refuses(&at, vec![std::fs::File::open("/dev/null")?.into()])?, Code::Einval);
    let long = vec![b' '; usize::try_from(MAX_BUNDLE)? + 1];
    assert_eq!(refuses(&at, vec![document::write(&long)?])?, Code::Enospc);
    assert_eq!(refuses(&at, vec![good()?, document::write(&[7; 31])?])?, Code::Einval);
    assert_eq!(refuses(&at, vec![good()?, document::write(&[7; 33])?])?, Code::Enospc);
    let rows = filter::list(served.daemon.control())?;
    assert_eq!((rows.len(), rows[0].generation), (1, kept.generation));
    served.finish()
}
