//! Ports kept from a real kernel, and by it: who comes first has it, and a release gives it back whole.
use std::{
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    thread,
};

use anyhow::{Result, ensure};
use octroi_tests::lab::{self, App, Config, End, Tap, process};

use crate::{
    NEEDS,
    stacks::{app, served, tuples},
};

const PORT: u16 = 5001;

/// Whether the OS lets a socket of ours have the port there.
fn os_gets(end: &End, proto: &str, addr: IpAddr, port: u16) -> Result<bool> {
    let at = SocketAddr::new(addr, port);
    let bound = end.netns.enter(|| match proto {
        "tcp" => TcpListener::bind(at).map(process::close),
        _ => UdpSocket::bind(at).map(process::close),
    })?;
    match bound {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == std::io::ErrorKind::AddrInUse => Ok(false),
        Err(why) => Err(why.into()),
    }
}

#[test]
fn mt03_a_registered_port_is_taken_for_the_os_and_free_after() -> Result<()> {
    let Some(_lab) = lab::require("mt03_a_registered_port_is_taken_for_the_os_and_free_after", NEEDS)? else {
        return Ok(());
    };
    let served = served(&Config::default())?;
    let end = &served.pair.served;
    let mut app = app(&served)?;
    let [v4, v6] = [IpAddr::from(end.v4), end.v6.into()];
    let wild = [IpAddr::from([0; 4]), IpAddr::from([0_u16; 8])];
    for proto in ["tcp", "udp"] {
        for (addr, taken, free) in [
            ("any".to_owned(), vec![v4, v6, wild[0], wild[1]], vec![]),
            (v4.to_string(), vec![v4, wild[0], wild[1]], vec![v6]),
            (v6.to_string(), vec![v6, wild[1]], vec![v4, wild[0]]),
        ] {
            let held =
                app.register(&format!("{proto} {addr} {PORT}"))?.map_err(|r| anyhow::anyhow!("{r:?}"))?;
            for &at in &taken {
                ensure!(!os_gets(end, proto, at, PORT)?, "{proto} {addr} is registered, and the OS has {at}");
            }
            for &at in &free {
                ensure!(
                    os_gets(end, proto, at, PORT)?,
                    "{proto} {addr} is registered, and {at} is taken too"
                );
            }
            app.release(held.number)?;
            for &at in taken.iter().chain(&free) {
                ensure!(os_gets(end, proto, at, PORT)?, "{proto} {addr} is released, and {at} still taken");
            }
        }
    }
    drop(app);
    served.finish()
}

#[test]
fn mt03_a_port_of_the_os_is_refused_and_nothing_is_left_of_the_attempt() -> Result<()> {
    let id = "mt03_a_port_of_the_os_is_refused_and_nothing_is_left_of_the_attempt";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let end = &served.pair.served;
    let mut app = app(&served)?;
    let os = end.netns.enter(|| UdpSocket::bind((end.v6, PORT)))??;
    let mut refused = |tuple: &str| -> Result<String> {
        Ok(app.register(tuple)?.err().map_or("granted".to_owned(), |refused| refused.code))
    };
    assert_eq!(refused(&format!("udp any {PORT}"))?, "EADDRINUSE");
    assert_eq!(refused(&format!("udp {} {PORT}", end.v6))?, "EADDRINUSE");
    // The placeholder of the other family was undone: both halves of `any` are free once the OS lets go.
    ensure!(os_gets(end, "udp", end.v4.into(), PORT)?);
    ensure!(tuples(&mut served.daemon)?.is_empty());
    process::close(os);
    let mut granted = |tuple: &str| app.register(tuple);
    granted(&format!("udp any {PORT}"))?.map_err(|r| anyhow::anyhow!("{r:?}"))?;
    // Another session's, a builtin's address, an address of nobody here, and what nobody may have.
    for (tuple, code) in [
        (format!("udp {} {PORT}", end.v4), "EBUSY"),
        ("udp 192.0.2.1 5002".to_owned(), "EADDRNOTAVAIL"),
        ("udp 127.0.0.1 5002".to_owned(), "EINVAL"),
        ("udp 224.0.0.1 5002".to_owned(), "EINVAL"),
    ] {
        let refused = granted(&tuple)?.err().map(|refused| refused.code);
        assert_eq!(refused.as_deref(), Some(code), "{tuple}");
    }
    let chosen = granted("udp any 0")?.map_err(|r| anyhow::anyhow!("{r:?}"))?;
    ensure!(chosen.port >= 1024 && !os_gets(end, "udp", end.v4.into(), chosen.port)?);
    drop(app);
    served.finish()
}

#[test]
fn mt03_a_lent_socket_is_the_credential() -> Result<()> {
    let Some(_lab) = lab::require("mt03_a_lent_socket_is_the_credential", NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let v4 = served.pair.served.v4;
    let mut app = app(&served)?;
    let mut lend = |tuple: &str, at: &str| app.lend(tuple, at);
    for (tuple, at, detail) in [
        (format!("udp {v4} 5003"), format!("{v4}:5004"), "getsockname"),
        ("udp any 5003".to_owned(), format!("{v4}:5003"), "getsockname"),
        (format!("tcp {v4} 5003"), format!("{v4}:5003"), "SO_REUSEADDR"),
    ] {
        let refused = lend(&tuple, &at)?.err();
        ensure!(
            refused.as_ref().is_some_and(|r| r.code == "EINVAL" && r.detail.contains(detail)),
            "{tuple} at {at}: {refused:?}"
        );
    }
    lend(&format!("udp {v4} 5003"), &format!("{v4}:5003"))?.map_err(|r| anyhow::anyhow!("{r:?}"))?;
    lend("udp any 5005", "0.0.0.0:5005")?.map_err(|r| anyhow::anyhow!("{r:?}"))?;
    let rows = tuples(&mut served.daemon)?;
    assert_eq!(
        rows.iter().map(|row| (row.port, row.state.to_string())).collect::<Vec<_>>(),
        [(5003, "live".to_owned()), (5005, "live".to_owned())]
    );
    let tap = Tap::open(&served.pair.peer)?;
    assert_eq!(served.load(5003, 1, 100).echo(&tap, 100)?, lab::Tally::whole(100));
    drop(app);
    served.finish()
}

#[test]
fn mt03_the_os_never_answers_for_a_tuple_that_comes_and_goes() -> Result<()> {
    let Some(_lab) = lab::require("mt03_the_os_never_answers_for_a_tuple_that_comes_and_goes", NEEDS)? else {
        return Ok(());
    };
    let mut served = served(&Config::default())?;
    let mut app = app(&served)?;
    let tap = Tap::open(&served.pair.peer)?;
    let load = served.load(PORT, 2, 100);
    let before = served.drain()?;
    for round in 0..50 {
        let held = app.udp(PORT)?;
        // Registered: the next packet is the application's.
        let tally = load.echo_from(&tap, 100 * round, 20)?;
        assert_eq!(tally, lab::Tally::whole(20), "round {round}");
        app.release(held.number)?;
    }
    served.drain()?.moved(&before, &crate::stacks::echoed_by_app(1000))?;
    drop(app);
    served.finish()
}

#[test]
fn mt03_the_administrator_keeps_a_port_for_a_users_applications() -> Result<()> {
    let Some(_lab) = lab::require("mt03_the_administrator_keeps_a_port_for_a_users_applications", NEEDS)?
    else {
        return Ok(());
    };
    let mut served = served(&Config::default())?;
    let home = served.daemon.home();
    home.octroi(&["stack", "register", "udp", "any:53", "--uid", "0"])?;
    let listed = home.octroi(&["stack", "list", "--json"])?;
    ensure!(listed.contains("\"reserved\"") && listed.contains("\"port\":53"), "{listed}");
    ensure!(home.octroi(&["stack", "register", "udp", "any:53"]).is_err(), "it is taken");
    let end = &served.pair.served;
    ensure!(!os_gets(end, "udp", end.v4.into(), 53)?);
    let mut user: App = app(&served)?;
    user.udp(53)?;
    drop(user);
    lab::until("the tuple is waiting again", || {
        Ok(tuples(&mut served.daemon)?.iter().map(|row| row.state.to_string()).eq(["reserved"]))
    })?;
    served.daemon.home().octroi(&["stack", "release", "udp", "any:53"])?;
    let end = &served.pair.served;
    ensure!(os_gets(end, "udp", end.v4.into(), 53)? && tuples(&mut served.daemon)?.is_empty());
    served.finish()
}

#[test]
fn mt03_by_force_root_takes_a_tuple_from_an_application() -> Result<()> {
    let Some(_lab) = lab::require("mt03_by_force_root_takes_a_tuple_from_an_application", NEEDS)? else {
        return Ok(());
    };
    let served = served(&Config::default())?;
    let mut app = app(&served)?;
    app.udp(PORT)?;
    let port = format!("any:{PORT}");
    let home = served.daemon.home();
    ensure!(home.octroi(&["stack", "release", "udp", &port]).is_err(), "not without force");
    home.octroi(&["stack", "release", "udp", &port, "--force"])?;
    let event = thread::scope(|scope| scope.spawn(|| app.event()).join());
    let event = event.map_err(|_| anyhow::anyhow!("it panicked"))??;
    ensure!(event.contains("Revoked") && event.contains("Released"), "{event}");
    drop(app);
    served.finish()
}
