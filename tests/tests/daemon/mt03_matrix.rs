//! Reservation against a real kernel, all ways round: protocols, addresses, flags, states of sockets, packets throughout.
use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use client::control::{
    answer::ReplyError,
    connection::CallError,
    request::{LocalAddr, Proto},
    stack::{ReserveMode, StackRegister},
};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, listen,
        setsockopt, socket, sockopt,
    },
};
use octroi_tests::lab::{self, Config, End, Hostile, Stamp, Tap, hostile, process};

use crate::{NEEDS, stacks::served};

const PORT: u16 = 5001;

/// Flags of an OS socket that may let it share a port with others of its kind.
const FLAGS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// Where an OS socket is bound.
#[derive(Clone, Copy, Debug)]
struct At {
    addr: IpAddr,
    v6_only: bool,
}

impl At {
    /// Every kind of address that a socket can have on this host.
    fn all(end: &End) -> [Self; 5] {
        let plain = |addr| Self { addr, v6_only: false };
        [
            plain(end.v4.into()),
            plain(end.v6.into()),
            plain(Ipv4Addr::UNSPECIFIED.into()),
            plain(Ipv6Addr::UNSPECIFIED.into()),
            Self { addr: Ipv6Addr::UNSPECIFIED.into(), v6_only: true },
        ]
    }

    /// Whether it has a packet's worth in common with a registration there.
    fn meets(self, registered: LocalAddr) -> bool {
        let LocalAddr::Ip(other) = registered else { return true };
        let dual = self.addr == IpAddr::from(Ipv6Addr::UNSPECIFIED) && !self.v6_only;
        self.addr == other || dual || (self.addr.is_unspecified() && self.addr.is_ipv4() == other.is_ipv4())
    }
}

/// Binds a socket of the OS, and listens where that is done.
fn os_socket(end: &End, proto: Proto, at: At, flags: (bool, bool)) -> Result<Result<OwnedFd, Errno>> {
    end.netns.enter(|| {
        let family = if at.addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let kind = if proto == Proto::Tcp { SockType::Stream } else { SockType::Datagram };
        let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &flags.0)?;
        setsockopt(&fd, sockopt::ReusePort, &flags.1)?;
        if at.addr.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &at.v6_only)?;
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(at.addr, PORT)))?;
        if proto == Proto::Tcp {
            listen(&fd, Backlog::new(1)?)?;
        }
        Ok(fd)
    })
}

fn want(proto: Proto, addr: LocalAddr) -> StackRegister {
    StackRegister { proto, addr, ..hostile::udp(PORT) }
}

/// Why a call was refused: its code and what else was said.
fn why<T>(outcome: Result<T, CallError>) -> Result<Option<(String, String)>> {
    match outcome {
        Ok(_) => Ok(None),
        Err(CallError::Reply(ReplyError::Refused(refusal))) => {
            Ok(Some((refusal.code.to_string(), refusal.detail.clone())))
        }
        Err(other) => Err(other.into()),
    }
}

fn registrable(end: &End) -> [LocalAddr; 3] {
    [LocalAddr::Any, LocalAddr::Ip(end.v4.into()), LocalAddr::Ip(end.v6.into())]
}

#[test]
fn mt03_no_socket_of_the_os_gets_a_held_port_whatever_its_flags() -> Result<()> {
    let id = "mt03_no_socket_of_the_os_gets_a_held_port_whatever_its_flags";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let served = served(&Config::default())?;
    let end = &served.pair.served;
    let mut holder = Hostile::open(served.daemon.home())?;
    for proto in [Proto::Tcp, Proto::Udp] {
        for addr in registrable(end) {
            let tuple = holder.control.call(&want(proto, addr))?.tuple;
            let mut tries: Vec<_> =
                At::all(end).into_iter().flat_map(|at| FLAGS.map(|flags| (at, flags))).collect();
            // Those that must fail come first. The kernel remembers of a port that somebody bound it with SO_REUSEPORT, if
            // only at another address, and after that lets the same user bind a wildcard beside a holder without: XDP takes
            // the holder's packets all the same.
            tries.sort_by_key(|(at, _)| !at.meets(addr));
            for (at, flags) in tries {
                let bound = os_socket(end, proto, at, flags)?.map(process::close);
                let expected = if at.meets(addr) { Err(Errno::EADDRINUSE) } else { Ok(()) };
                ensure!(bound == expected, "{proto} {addr} is held, {at:?} with {flags:?}: {bound:?}");
            }
            holder.release(tuple)?;
            for at in At::all(end) {
                let bound = os_socket(end, proto, at, (false, false))?.map(process::close);
                ensure!(bound == Ok(()), "{proto} {addr} is released, {at:?}: {bound:?}");
            }
        }
    }
    drop(holder);
    served.finish()
}

#[test]
fn mt03_a_port_that_the_os_has_is_refused_whatever_its_flags() -> Result<()> {
    let id = "mt03_a_port_that_the_os_has_is_refused_whatever_its_flags";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let served = served(&Config::default())?;
    let end = &served.pair.served;
    let mut asker = Hostile::open(served.daemon.home())?;
    for proto in [Proto::Tcp, Proto::Udp] {
        for (at, flags) in At::all(end).into_iter().flat_map(|at| FLAGS.map(|flags| (at, flags))) {
            let os = os_socket(end, proto, at, flags)?.context("nobody has the port")?;
            for addr in registrable(end) {
                match asker.control.call(&want(proto, addr)) {
                    Ok(registered) => {
                        ensure!(!at.meets(addr), "{proto} {addr} is granted beside {at:?} with {flags:?}");
                        asker.release(registered.tuple)?;
                    }
                    refused => {
                        let (code, detail) = why(refused)?.context("refused")?;
                        ensure!(
                            at.meets(addr) && code == "EADDRINUSE",
                            "{proto} {addr}, {at:?}: {code} {detail}"
                        );
                        ensure!(detail != "time_wait", "{proto} {addr}, {at:?} lives");
                    }
                }
            }
            process::close(os);
        }
        // Nothing is left of all the attempts.
        let tuple = asker.control.call(&want(proto, LocalAddr::Any))?.tuple;
        asker.release(tuple)?;
    }
    drop(asker);
    served.finish()
}

#[test]
fn mt03_connect_never_picks_a_held_port() -> Result<()> {
    let Some(_lab) = lab::require("mt03_connect_never_picks_a_held_port", NEEDS)? else { return Ok(()) };
    let served = served(&Config::default())?;
    let (end, peer) = (&served.pair.served, &served.pair.peer);
    // Four ports, of which applications hold two.
    end.netns.sysctl("ipv4/ip_local_port_range", "5000 5003")?;
    let mut holder = Hostile::open(served.daemon.home())?;
    for (proto, port) in [(Proto::Udp, 5001), (Proto::Udp, 5002), (Proto::Tcp, 5001), (Proto::Tcp, 5002)] {
        holder.control.call(&StackRegister { port, proto, ..hostile::udp(port) })?;
    }
    let listener = peer.netns.enter(|| TcpListener::bind((peer.v4, 0)))??;
    let to = SockaddrStorage::from(listener.local_addr()?);
    for kind in [SockType::Datagram, SockType::Stream] {
        let mut sockets = Vec::new();
        let picked = end.netns.enter(|| -> Result<BTreeSet<u16>> {
            let mut picked = BTreeSet::new();
            for _ in 0..4 {
                let fd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
                match connect(fd.as_raw_fd(), &to) {
                    Ok(()) => {
                        let local: SockaddrStorage = nix::sys::socket::getsockname(fd.as_raw_fd())?;
                        picked.extend(local.as_sockaddr_in().map(|at| at.port()));
                        sockets.push(fd);
                    }
                    Err(Errno::EADDRNOTAVAIL | Errno::EAGAIN) => {}
                    Err(other) => bail!("{kind:?}: {other}"),
                }
            }
            Ok(picked)
        })??;
        ensure!(picked == BTreeSet::from([5000, 5003]), "{kind:?} picked {picked:?}");
    }
    drop(holder);
    served.finish()
}

/// A TCP connection from the peer to this port of the served end, whose listener is gone.
fn connection(served: &lab::Served) -> Result<(TcpStream, TcpStream)> {
    let (end, peer) = (&served.pair.served, &served.pair.peer);
    let listener = end.netns.enter(|| TcpListener::bind((end.v4, PORT)))??;
    let client = peer.netns.enter(|| TcpStream::connect((end.v4, PORT)))??;
    let (server, _) = listener.accept()?;
    process::close(listener);
    Ok((client, server))
}

#[test]
fn mt03_a_living_connection_of_the_os_keeps_its_port_and_its_packets() -> Result<()> {
    let id = "mt03_a_living_connection_of_the_os_keeps_its_port_and_its_packets";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let served = served(&Config::default())?;
    let (mut client, mut server) = connection(&served)?;
    let mut asker = Hostile::open(served.daemon.home())?;
    for addr in registrable(&served.pair.served) {
        let outcome = asker.control.call(&want(Proto::Tcp, addr));
        if addr == LocalAddr::Ip(served.pair.served.v6.into()) {
            let tuple = outcome?.tuple;
            asker.release(tuple)?;
        } else {
            let (code, detail) = why(outcome)?.with_context(|| format!("{addr} is granted"))?;
            ensure!(code == "EADDRINUSE" && detail != "time_wait", "{addr}: {code} {detail}");
        }
        client.write_all(b"still there?")?;
        let mut buffer = [0; 12];
        server.read_exact(&mut buffer)?;
        ensure!(&buffer == b"still there?");
    }
    drop(asker);
    served.finish()
}

#[test]
fn mt03_a_port_in_time_wait_is_reported_as_such() -> Result<()> {
    let Some(_lab) = lab::require("mt03_a_port_in_time_wait_is_reported_as_such", NEEDS)? else {
        return Ok(());
    };
    let served = served(&Config::default())?;
    let (client, server) = connection(&served)?;
    // Who closes first is left waiting.
    process::close(server);
    let mut rest = Vec::new();
    (&client).read_to_end(&mut rest)?;
    process::close(client);
    let mut asker = Hostile::open(served.daemon.home())?;
    let end = &served.pair.served;
    for addr in [LocalAddr::Any, LocalAddr::Ip(end.v4.into())] {
        lab::until("it is in TIME_WAIT", || {
            let refused = why(asker.control.call(&want(Proto::Tcp, addr)))?.context("it is granted")?;
            ensure!(refused.0 == "EADDRINUSE", "{refused:?}");
            Ok(refused.1 == "time_wait")
        })?;
    }
    // The port of another address and of another protocol has nothing to do with it.
    for free in [want(Proto::Tcp, LocalAddr::Ip(end.v6.into())), want(Proto::Udp, LocalAddr::Any)] {
        asker.control.call(&free)?;
    }
    drop(asker);
    served.finish()
}

#[test]
fn mt03_each_check_of_a_lent_socket_broken_once() -> Result<()> {
    let Some(_lab) = lab::require("mt03_each_check_of_a_lent_socket_broken_once", NEEDS)? else {
        return Ok(());
    };
    let served = served(&Config::default())?;
    let (end, peer) = (&served.pair.served, &served.pair.peer);
    end.netns.sysctl("ipv4/ping_group_range", "0 0")?;
    let here: SocketAddr = (end.v4, PORT).into();
    let udp = |at: SocketAddr| -> Result<OwnedFd> { Ok(end.netns.enter(|| UdpSocket::bind(at))??.into()) };
    let plain = |family, kind, protocol: Option<SockProtocol>| -> Result<OwnedFd> {
        Ok(end.netns.enter(|| socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol))??)
    };
    let tcp = |listens: bool| -> Result<OwnedFd> {
        let fd = plain(AddressFamily::Inet, SockType::Stream, None)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(here))?;
        if listens {
            listen(&fd, Backlog::new(1)?)?;
        }
        Ok(fd)
    };
    let flagged = |addr: bool, port: bool| -> Result<OwnedFd> {
        let fd = plain(AddressFamily::Inet, SockType::Datagram, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &addr)?;
        setsockopt(&fd, sockopt::ReusePort, &port)?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(here))?;
        Ok(fd)
    };
    let connected = || -> Result<OwnedFd> {
        let fd = udp(here)?;
        connect(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((peer.v4, 9))))?;
        Ok(fd)
    };
    let elsewhere = || -> Result<OwnedFd> {
        Ok(peer.netns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))??.into())
    };
    type Make<'a> = Box<dyn Fn() -> Result<OwnedFd> + 'a>;
    let (v4, v6) = (LocalAddr::Ip(end.v4.into()), LocalAddr::Ip(end.v6.into()));
    let broken: Vec<(&str, Proto, LocalAddr, Make<'_>)> = vec![
        ("no socket", Proto::Udp, v4, Box::new(|| Ok(File::open("/dev/null")?.into()))),
        ("SO_NETNS_COOKIE", Proto::Udp, v4, Box::new(elsewhere)),
        ("SO_DOMAIN", Proto::Udp, v4, Box::new(|| Ok(end.netns.enter(UnixDatagram::unbound)??.into()))),
        ("SO_TYPE", Proto::Tcp, v4, Box::new(|| udp(here))),
        ("SO_TYPE", Proto::Udp, v4, Box::new(|| tcp(false))),
        (
            "SO_PROTOCOL",
            Proto::Udp,
            v4,
            Box::new(|| plain(AddressFamily::Inet, SockType::Datagram, Some(SockProtocol::Icmp))),
        ),
        ("getsockname", Proto::Udp, v4, Box::new(|| plain(AddressFamily::Inet, SockType::Datagram, None))),
        ("getsockname", Proto::Udp, v4, Box::new(|| udp((end.v4, PORT + 1).into()))),
        ("getsockname", Proto::Udp, v6, Box::new(|| udp(here))),
        ("getsockname", Proto::Udp, LocalAddr::Any, Box::new(|| udp(here))),
        ("SO_REUSEADDR", Proto::Udp, v4, Box::new(|| flagged(true, false))),
        ("SO_REUSEPORT", Proto::Udp, v4, Box::new(|| flagged(false, true))),
        ("SO_ACCEPTCONN", Proto::Tcp, v4, Box::new(|| tcp(true))),
        ("getpeername", Proto::Udp, v4, Box::new(connected)),
    ];
    let mut asker = Hostile::open(served.daemon.home())?;
    let mut lend = |proto, addr, fd: &OwnedFd| {
        let lent = StackRegister { reserve: ReserveMode::Fd, ..want(proto, addr) };
        asker.control.call_with(&lent, &[fd.as_fd()]).map(|(registered, _)| registered.tuple)
    };
    for (check, proto, addr, make) in &broken {
        let fd = make()?;
        let outcome = lend(*proto, *addr, &fd);
        process::close(fd);
        let (code, detail) = why(outcome)?.with_context(|| format!("{check}: it is granted"))?;
        ensure!(code == "EINVAL" && detail.contains(check), "{check}: {code} {detail}");
    }
    // The same sockets, unbroken.
    for (proto, fd) in [(Proto::Udp, udp(here)?), (Proto::Tcp, tcp(false)?)] {
        lend(proto, v4, &fd)?;
    }
    drop(asker);
    drop(broken);
    served.finish()
}

#[test]
fn mt03_packets_throughout_go_to_who_has_the_port_and_to_nobody_after_a_release() -> Result<()> {
    let id = "mt03_packets_throughout_go_to_who_has_the_port_and_to_nobody_after_a_release";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&crate::hostile_rings::roomy())?;
    let mut holder = Hostile::with_slots(served.daemon.home(), 4096)?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    let before = served.drain()?;
    let (sent, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let changed = thread::scope(|scope| -> Result<()> {
        let (sent, done, load, tap) = (&sent, &done, &load, &tap);
        let flow = scope.spawn(move || -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                tap.send(&load.frame(sent.load(Ordering::Relaxed))?)?;
                sent.fetch_add(1, Ordering::Release);
                // The pace of a load: slow enough for a veth's ring of 256 though a core stands still for 20 ms, fast enough to
                // fall into every gap.
                thread::sleep(Duration::from_micros(50));
            }
            Ok(())
        });
        let deed =
            (0..30).try_for_each(|round| owned(&mut holder, sent).with_context(|| format!("round {round}")));
        done.store(true, Ordering::Relaxed);
        flow.join().map_err(|_| anyhow::anyhow!("the flow panicked"))??;
        deed
    });
    changed?;
    let reading = served.drain()?;
    let moved = |name| reading.sum(name) - before.sum(name);
    let ends = ["delivered", "rx_stale", "xdp.pass_miss", "rx_ring_full", "xsk_ring_full", "xsk_no_buffer"];
    ensure!(
        ends.map(moved).iter().sum::<u64>() == sent.load(Ordering::Relaxed),
        "{:?}",
        reading.moves(&before)
    );
    ensure!(moved("rx_ring_full") + moved("xsk_ring_full") + moved("xsk_no_buffer") == 0, "they were lost");
    drop(holder);
    served.finish()
}

/// Takes the port for a while amid packets.
fn owned(holder: &mut Hostile, sent: &AtomicU64) -> Result<()> {
    let tuple = holder.udp(PORT)?;
    // Packets that are sent from now on are its own: one may be under way.
    let first = sent.load(Ordering::Acquire) + 1;
    let mut numbers = Vec::new();
    lab::until("some come", || {
        for (_, frame) in holder.receive() {
            numbers.push(Stamp::read(&frame[42..]).context("a stamp")?.sequence);
        }
        Ok(numbers.last().is_some_and(|&last| first + 20 <= last))
    })?;
    let own: Vec<_> = numbers.iter().copied().filter(|&number| first <= number).collect();
    ensure!(own.windows(2).all(|pair| pair[0] + 1 == pair[1]), "one of them was somebody else's: {own:?}");
    ensure!(own.first() == Some(&first), "the first was somebody else's: {own:?} from {first}");
    holder.release(tuple)?;
    // What the daemon has said is over is over.
    let delivered = holder.delivered();
    let after = sent.load(Ordering::Acquire) + 50;
    lab::until("more were sent", || Ok(after <= sent.load(Ordering::Acquire)))?;
    ensure!(holder.delivered() == delivered, "packets came after the release");
    holder.receive();
    Ok(())
}

#[test]
fn mt03_an_owner_that_weakens_its_socket_is_shown() -> Result<()> {
    let Some(_lab) = lab::require("mt03_an_owner_that_weakens_its_socket_is_shown", NEEDS)? else {
        return Ok(());
    };
    let mut served = served(&Config::default())?;
    let end = &served.pair.served;
    let own = end.netns.enter(|| UdpSocket::bind((end.v4, PORT)))??;
    let mut holder = Hostile::open(served.daemon.home())?;
    let lent = StackRegister { reserve: ReserveMode::Fd, ..want(Proto::Udp, LocalAddr::Ip(end.v4.into())) };
    holder.control.call_with(&lent, &[own.as_fd()])?;
    let mut shown = |state: &str| {
        lab::until(&format!("it is shown as {state}"), || {
            Ok(crate::stacks::tuples(&mut served.daemon)?.iter().all(|row| row.state.to_string() == state))
        })
    };
    shown("live")?;
    setsockopt(&own, sockopt::ReuseAddr, &true)?;
    shown("weak")?;
    setsockopt(&own, sockopt::ReuseAddr, &false)?;
    shown("live")?;
    drop(holder);
    served.finish()
}
