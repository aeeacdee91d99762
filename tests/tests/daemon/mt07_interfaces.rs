//! Addresses and interfaces that go away under applications: they hear of it, the rest goes on, nothing is left behind.
use std::net::{IpAddr, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use octroi_tests::lab::{self, App, Config, Pair, Reading, Served, Tally, Tap, app::know_taps};

use crate::{
    NEEDS,
    stacks::{app, served, tuples},
};

const FIRST: u16 = 5001;
const SECOND: u16 = 5002;

/// A second interface of the served namespace, and the address at it.
const EXTRA: &str = "extra0";
const EXTRA_ADDR: &str = "10.78.0.1";

/// The code of a refusal.
fn refused(app: &mut App, tuple: &str) -> Result<String> {
    Ok(app.register(tuple)?.err().map_or("granted".to_owned(), |refused| refused.code))
}

fn registered(app: &mut App, tuple: &str) -> Result<u16> {
    app.register(tuple)?.map(|held| held.number).map_err(|r| anyhow::anyhow!("{tuple}: {r:?}"))
}

/// Waits until the daemon says this of its interface number `at`.
fn until_state(served: &mut Served, at: usize, state: &str) -> Result<()> {
    lab::until(state, || {
        Ok(served.daemon.status()?.interfaces.get(at).context("no such interface")?.state == state)
    })
}

/// The next event that is not one of `passing`: what comes first while a device is taken apart depends on when one looks.
fn event_after(app: &mut App, passing: &str) -> Result<String> {
    let event = app.event()?;
    if event == passing { app.event() } else { Ok(event) }
}

/// Waits until an application's answers reach the wire. A packet whose next hop is missing for a moment makes the kernel
/// resolve it, which a silent wire answers with nothing: what is known of the taps is said again each time.
fn answers_again(served: &mut Served, tap: &Tap, port: u16) -> Result<()> {
    let load = served.load(port, 1, 100);
    let before = served.drain()?.sum("transmitted");
    let mut probe = 100_000;
    lab::until("answers find their way again", || {
        probe += 1;
        know_taps(&served.pair)?;
        tap.send(&load.frame(probe)?)?;
        Ok(before < Reading::of(&mut served.daemon)?.sum("transmitted"))
    })
}

#[test]
fn mt07_an_address_that_goes_suspends_its_tuple_until_it_is_back() -> Result<()> {
    let id = "mt07_an_address_that_goes_suspends_its_tuple_until_it_is_back";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let v4 = served.pair.served.v4;
    let (mut one, mut other) = (app(&served)?, app(&served)?);
    registered(&mut one, &format!("udp {v4} {FIRST}"))?;
    other.udp(SECOND)?;
    let set = |served: &Served, verb: &str| {
        served.pair.served.run(&format!("ip addr {verb} {v4}/24 dev {}", served.pair.served.ifname)).map(drop)
    };
    set(&served, "del")?;
    assert_eq!(one.event()?, "AddressGone(TupleId(0))");
    let states = |served: &mut Served| -> Result<Vec<String>> {
        Ok(tuples(&mut served.daemon)?.iter().map(|row| row.state.to_string()).collect())
    };
    assert_eq!(states(&mut served)?, ["suspended", "live"], "the other one still has an IPv6 address");
    for app in [&mut one, &mut other] {
        assert_eq!(refused(app, &format!("udp {v4} 5003"))?, "EADDRNOTAVAIL");
    }
    // Its packets are nobody's here any more.
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(FIRST, 4, 100);
    let before = served.drain()?;
    (0..10).try_for_each(|n| tap.send(&load.frame(n)?))?;
    lab::until("they are counted", || {
        Ok(Reading::of(&mut served.daemon)?.sum("xdp.rx") == before.sum("xdp.rx") + 10)
    })?;
    served.drain()?.moved(&before, &[("xdp.rx", 10), ("xdp.pass_miss", 10)])?;
    set(&served, "add")?;
    know_taps(&served.pair)?;
    assert_eq!(one.event()?, "AddressBack(TupleId(0))");
    assert_eq!(states(&mut served)?, ["live", "live"]);
    for port in [FIRST, SECOND] {
        answers_again(&mut served, &tap, port)?;
    }
    drop((one, other));
    served.finish()
}

/// A daemon that also serves the second interface.
fn served_twice() -> Result<Served> {
    let more = format!(
        "\n[[interface]]\nname = \"{EXTRA}\"\nmode = \"native\"\ncopy = \"copy\"\nqueues = \"all\"\nrings = 64\numem = {{ chunk = 2048, frames = 256 }}\n"
    );
    let config = Config { more, ..Config::default() };
    let pair = Pair::new(Default::default())?;
    know_taps(&pair)?;
    plug_extra(&pair)?;
    Ok(Served { daemon: lab::Daemon::start(&pair.served, &config)?, pair })
}

fn plug_extra(pair: &Pair) -> Result<()> {
    for line in [
        format!("ip link add {EXTRA} type veth peer name extra1"),
        format!("ethtool -K {EXTRA} rxvlan off txvlan off"),
        "ip link set extra1 up".to_owned(),
        format!("ip link set {EXTRA} up"),
        format!("ip addr add {EXTRA_ADDR}/24 dev {EXTRA}"),
    ] {
        pair.served.run(&line)?;
    }
    Ok(())
}

#[test]
fn mt07_an_interface_that_goes_revokes_its_tuples_and_leaves_the_others_alone() -> Result<()> {
    let id = "mt07_an_interface_that_goes_revokes_its_tuples_and_leaves_the_others_alone";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served_twice()?;
    let mut app = app(&served)?;
    registered(&mut app, &format!("udp {EXTRA_ADDR} {FIRST}"))?;
    app.udp(SECOND)?;
    let tap = Tap::open(&served.pair.peer)?;
    assert_eq!(served.load(SECOND, 4, 100).echo(&tap, 500)?, Tally::whole(500));
    served.pair.served.run(&format!("ip link del {EXTRA}"))?;
    let revoked = event_after(&mut app, "AddressGone(TupleId(0))")?;
    assert_eq!(revoked, "Revoked { tuple: TupleId(0), reason: InterfaceGone }");
    until_state(&mut served, 1, "absent")?;
    assert_eq!(refused(&mut app, &format!("udp {EXTRA_ADDR} {FIRST}"))?, "ENETDOWN");
    // Its port is the OS's again, and what is registered elsewhere goes on.
    let end = &served.pair.served;
    drop(
        end.netns
            .enter(|| UdpSocket::bind((IpAddr::from([0; 4]), FIRST)))?
            .context("the port is still kept")?,
    );
    let rows = tuples(&mut served.daemon)?;
    assert_eq!(
        rows.iter().map(|row| (row.port, row.state.to_string())).collect::<Vec<_>>(),
        [(SECOND, "live".into())]
    );
    let tally = served.load(SECOND, 4, 100).echo_from(&tap, 1000, 500)?;
    assert_eq!(Tally { foreign: 0, ..tally }, Tally::whole(500));
    // Another device of that name is served, and registered at, like the first.
    plug_extra(&served.pair)?;
    until_state(&mut served, 1, "served")?;
    lab::until("the address is known", || {
        Ok(refused(&mut app, &format!("udp {EXTRA_ADDR} {FIRST}"))? == "granted")
    })?;
    drop(app);
    served.finish()
}

#[test]
fn mt07_the_only_interface_may_go_to_another_namespace_and_come_back() -> Result<()> {
    let id = "mt07_the_only_interface_may_go_to_another_namespace_and_come_back";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    // The kernel makes a device's IPv6 anew in each namespace.
    served.daemon.home_mut().device().excuse("/proc/sys/net/ipv6/conf/served0/accept_dad");
    let mut app = app(&served)?;
    let (v4, v6) = (served.pair.served.v4, served.pair.served.v6);
    registered(&mut app, &format!("udp {v4} {FIRST}"))?;
    app.udp(SECOND)?;
    let before = served.drain()?;
    let (here, there) =
        (served.pair.served.netns.name().to_owned(), served.pair.peer.netns.name().to_owned());
    let ifname = served.pair.served.ifname.clone();
    served.pair.served.run(&format!("ip link set {ifname} netns {there}"))?;
    let mut events = vec![app.event()?, app.event()?];
    if events.contains(&"AddressGone(TupleId(0))".to_owned()) {
        events.retain(|event| event != "AddressGone(TupleId(0))");
        events.push(app.event()?);
    }
    events.sort();
    assert_eq!(events, ["AddressGone(TupleId(1))", "Revoked { tuple: TupleId(0), reason: InterfaceGone }"]);
    until_state(&mut served, 0, "absent")?;
    for addr in [IpAddr::from(v4), v6.into()] {
        assert_eq!(refused(&mut app, &format!("udp {addr} 5003"))?, "ENETDOWN", "{addr}");
    }
    // The daemon waits, says so, and has taken its program along with it.
    let warnings = served.daemon.status()?.head.warnings;
    assert_eq!(warnings, [format!("{ifname} is absent")]);
    let shown = served.pair.peer.run(&format!("ip -d link show {ifname}"))?;
    ensure!(!shown.contains("xdp"), "a program is left on it: {shown}");
    served.drain()?.moved(&before, &[])?;
    served.pair.peer.run(&format!("ip link set {ifname} netns {here}"))?;
    served.pair.settle()?;
    know_taps(&served.pair)?;
    until_state(&mut served, 0, "served")?;
    assert_eq!(app.event()?, "AddressBack(TupleId(1))");
    let tap = Tap::open(&served.pair.peer)?;
    answers_again(&mut served, &tap, SECOND)?;
    served.drain()?;
    // One that has seen no answer to a probe.
    let tap = Tap::open(&served.pair.peer)?;
    assert_eq!(served.load(SECOND, 4, 100).echo(&tap, 500)?, Tally::whole(500));
    drop(app);
    served.finish()
}

#[test]
fn mt07_a_tuple_whose_address_is_missing_at_a_restart_waits_for_it() -> Result<()> {
    let id = "mt07_a_tuple_whose_address_is_missing_at_a_restart_waits_for_it";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let Served { daemon, pair } = served(&Config::default())?;
    let mut app = App::start(daemon.home(), &pair.served, &Default::default())?;
    let v4 = pair.served.v4;
    registered(&mut app, &format!("udp {v4} {FIRST}"))?;
    let home = daemon.crash()?;
    pair.served.run(&format!("ip addr del {v4}/24 dev {}", pair.served.ifname))?;
    let mut served = Served { daemon: home.start(&pair.served)?, pair };
    let events = [app.event()?, app.event()?];
    ensure!(events == ["Disconnected", "Reconnected([TupleId(0)])"], "{events:?}");
    assert_eq!(app.event()?, "AddressGone(TupleId(0))");
    let rows = tuples(&mut served.daemon)?;
    ensure!(rows.iter().map(|row| row.state.to_string()).eq(["suspended"]), "{rows:?}");
    served.pair.settle()?;
    know_taps(&served.pair)?;
    assert_eq!(app.event()?, "AddressBack(TupleId(0))");
    let tap = Tap::open(&served.pair.peer)?;
    answers_again(&mut served, &tap, FIRST)?;
    drop(app);
    served.finish()
}
