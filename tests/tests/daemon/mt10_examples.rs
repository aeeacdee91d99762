//! The example applications, as users without privileges run them, and programs that everybody knows talking to them.
use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use octroi_examples::http::object::{Kib, Objects};
use octroi_tests::lab::{
    self, Config, Ping, Served, Service, Tap, User,
    known::{self, Fetched},
    os, process,
    user::is_powerless,
};

use crate::{
    NEEDS,
    stacks::{echoed_by_app, served, tuples},
};

/// A user whom the lab's policy lets have these ports, and nothing else.
const USER: u32 = 54_310;
const HTTP: u16 = 8080;
const DNS: u16 = 53;
const ECHO: u16 = 7;

/// The OS's own server, of the same handler.
const HTTP_OS: u16 = 8081;

/// KiB of the objects that are fetched.
const SIZES: [u16; 5] = [1, 8, 16, 32, 1024];

/// Longer than any pause of the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon whose socket a user may reach, as a member of group octroi would, and that user.
fn lab() -> Result<(Served, User)> {
    let policy = format!("\n[[stack.policy]]\nuid = {USER}\nports = [{ECHO}, {DNS}, 6000, {HTTP}]\n");
    let served = served(&Config { more: policy, ..Config::default() })?;
    let_everybody_in(&served)?;
    Ok((served, User::new(USER)?))
}

fn let_everybody_in(served: &Served) -> Result<()> {
    let home = served.daemon.home();
    for (path, mode) in [(home.run(), 0o755), (&home.socket(), 0o666)] {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// One of the examples, run by the user: `words` after its control socket.
fn example(served: &Served, user: &User, name: &str, words: &[&str]) -> Result<Command> {
    let mut command = user.command(name)?;
    command.arg("--control").arg(served.daemon.home().socket()).args(words);
    Ok(command)
}

/// An example that serves at every address.
fn server(served: &Served, user: &User, name: &str, port: u16) -> Result<Service> {
    let listen = format!("any:{port}");
    let mut command = example(served, user, name, &["--listen", &listen])?;
    let service = Service::start(&served.pair.served, &mut command)?;
    ensure!(is_powerless(service.pid())?, "{name} has a privilege");
    Ok(service)
}

fn url(addr: IpAddr, port: u16, path: &str) -> String {
    format!("http://{}{path}", SocketAddr::new(addr, port))
}

#[test]
fn mt10_curl_fetches_every_size_from_a_stack_and_from_the_os() -> Result<()> {
    let id = "mt10_curl_fetches_every_size_from_a_stack_and_from_the_os";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (served, user) = lab()?;
    let stack = server(&served, &user, "octroi-http", HTTP)?;
    let mut command = user.command("octroi-http-os")?;
    let os = Service::start(&served.pair.served, command.args(["--listen", &format!("[::]:{HTTP_OS}")]))?;
    let objects = Objects::default();
    let addresses = [IpAddr::from(served.pair.served.v4), served.pair.served.v6.into()];
    for (port, addr) in [HTTP, HTTP_OS].into_iter().flat_map(|port| addresses.map(|addr| (port, addr))) {
        for kib in SIZES {
            let object = objects.get(Kib::new(kib).context("an object")?);
            let fetched = known::curl(&served.pair.peer, &[], &url(addr, port, &format!("/{kib}k")))?;
            assert_eq!(fetched.status, 200);
            assert_eq!(known::sha256(&fetched.body)?, known::sha256(object)?, "{kib} KiB from {addr} {port}");
        }
        manners(&served, addr, port)?;
    }
    for service in [stack, os] {
        ensure!(service.stop()?.success(), "a server does not end cleanly");
    }
    served.finish()
}

/// What an HTTP server does besides serving objects.
fn manners(served: &Served, addr: IpAddr, port: u16) -> Result<()> {
    let peer = &served.pair.peer;
    let missing = known::curl(peer, &[], &url(addr, port, "/nothing"))?;
    assert_eq!((missing.status, missing.body.as_slice()), (404, &b"There is no such object.\n"[..]));
    let head = known::curl(peer, &["--head"], &url(addr, port, "/8k"))?;
    let head = (head.status, String::from_utf8(head.body)?);
    ensure!(head.0 == 200 && head.1.contains("Content-Length: 8192\r\n"), "{head:?}");
    let posted = known::curl(peer, &["--data", "x=1"], &url(addr, port, "/8k"))?;
    assert_eq!(posted, Fetched { status: 405, body: Vec::new() });
    let mut socket = connect(served, addr, port)?;
    socket.write_all(b"\x16\x03\x01 this is not HTTP\n")?;
    let mut said = String::new();
    socket.read_to_string(&mut said)?;
    ensure!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{said}");
    // All over one connection, each over one of its own, and all of those at once.
    transfers(served, &["--http1.1"], &url(addr, port, "/[1-32]k"), 1)?;
    transfers(served, &["-H", "Connection: close"], &url(addr, port, "/[1-32]k"), 32)?;
    let at_once = ["-H", "Connection: close", "--parallel", "--parallel-max", "32"];
    transfers(served, &at_once, &url(addr, port, "/[1-32]k"), 32)
}

/// Has curl fetch 32 objects of 1 to 32 KiB over so many connections.
fn transfers(served: &Served, words: &[&str], url: &str, connections: usize) -> Result<()> {
    let fixed = [
        "-sS",
        "--max-time",
        "10",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{num_connects} %{size_download}\\n",
    ];
    let words: Vec<&str> = fixed.iter().chain(words).copied().chain([url]).collect();
    let printed = known::run(&served.pair.peer, "curl", &words)?;
    ensure!(printed.success, "curl {words:?}: {}", printed.stderr);
    let printed = String::from_utf8(printed.stdout)?;
    let mut connects = 0;
    let mut sizes = Vec::new();
    for line in printed.lines() {
        let [status, connected, size] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("curl printed {line}");
        };
        ensure!(status == "200", "{line}");
        connects += connected.parse::<usize>()?;
        sizes.push(size.parse::<usize>()?);
    }
    sizes.sort_unstable();
    assert_eq!(sizes, (1..=32).map(|kib| kib * 1024).collect::<Vec<_>>());
    assert_eq!(connects, connections, "{words:?}");
    Ok(())
}

/// A TCP connection of the peer's OS to a server.
fn connect(served: &Served, addr: IpAddr, port: u16) -> Result<TcpStream> {
    let at = SocketAddr::new(addr, port);
    let socket = served.pair.peer.netns.enter(|| TcpStream::connect_timeout(&at, PATIENCE))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[test]
fn mt10_dig_is_answered() -> Result<()> {
    let Some(_lab) = lab::require("mt10_dig_is_answered", NEEDS)? else { return Ok(()) };
    let (served, user) = lab()?;
    let dns = server(&served, &user, "octroi-dns", DNS)?;
    let peer = &served.pair.peer;
    for addr in [IpAddr::from(served.pair.served.v4), served.pair.served.v6.into()] {
        let at = format!("@{addr}");
        let short = |name: &str, rtype: &str| known::dig(peer, &[&at, name, rtype, "+short"]);
        assert_eq!(short("www.octroi.test", "A")?, "192.0.2.80\n");
        assert_eq!(short("WWW.Octroi.test", "AAAA")?, "2001:db8::50\n");
        assert_eq!(short("motto.octroi.test", "TXT")?, "\"inspected, taxed, let through or turned back\"\n");
        for (words, expected) in [
            (&["nobody.octroi.test", "A"][..], "status: NXDOMAIN"),
            (&["www.octroi.test", "TXT"], "status: NOERROR"),
            (&["www.octroi.test", "TYPE65280"], "status: NOERROR"),
            (&["www.example.org", "A"], "status: REFUSED"),
            (&["octroi.test", "SOA"], "ns.octroi.test. gate.octroi.test."),
            (&["long.octroi.test", "TXT"], "ANSWER: 1"),
            (&["long.octroi.test", "TXT", "+noedns", "+ignore"], "flags: qr aa tc"),
            (&["www.octroi.test", "A", "+edns=1", "+noednsnegotiation"], "status: BADVERS"),
        ] {
            let words: Vec<&str> = [at.as_str()].iter().chain(words).copied().collect();
            let said = known::dig(peer, &words)?;
            ensure!(said.contains(expected), "{expected} is not in\n{said}");
        }
        malformed(&served, addr)?;
    }
    ensure!(dns.stop()?.success(), "the responder does not end cleanly");
    served.finish()
}

/// What no resolver would send: each is answered with FORMERR, or not at all.
fn malformed(served: &Served, addr: IpAddr) -> Result<()> {
    let own = if addr.is_ipv4() { IpAddr::from(served.pair.peer.v4) } else { served.pair.peer.v6.into() };
    let socket = os::udp_socket(&served.pair.peer, (own, 0).into())?;
    socket.connect((addr, DNS))?;
    let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    // Silence: too short for a header, and a reply.
    socket.send(&query[..11])?;
    let mut reply = query.clone();
    reply[2] |= 0x80;
    socket.send(&reply)?;
    // A question that is cut off, a name that points at itself: the first two answers are to these.
    for tail in [&b"\x03www"[..], b"\xC0\x0C\0\x01\0\x01"] {
        query.truncate(12);
        query.extend(tail);
        socket.send(&query)?;
        let mut answer = [0; 512];
        let len = process::again(|| socket.recv(&mut answer))?;
        assert_eq!((&answer[..2], answer[3] & 15, len), (&b"\x12\x34"[..], 1, 12));
    }
    Ok(())
}

#[test]
fn mt10_an_udp_client_gets_everything_back() -> Result<()> {
    let Some(_lab) = lab::require("mt10_an_udp_client_gets_everything_back", NEEDS)? else { return Ok(()) };
    let (mut served, user) = lab()?;
    let echo = server(&served, &user, "octroi-echo", ECHO)?;
    let rows = tuples(&mut served.daemon)?;
    assert_eq!(rows.iter().map(|row| (row.uid, row.pid)).collect::<Vec<_>>(), [(USER, Some(echo.pid()))]);
    let before = served.drain()?;
    let mut count = 0;
    for addr in [IpAddr::from(served.pair.served.v4), served.pair.served.v6.into()] {
        let own = if addr.is_ipv4() { IpAddr::from(served.pair.peer.v4) } else { served.pair.peer.v6.into() };
        let socket = os::udp_socket(&served.pair.peer, (own, 0).into())?;
        socket.connect((addr, ECHO))?;
        for len in (0..=1400).step_by(7) {
            let payload = vec![len as u8; len];
            socket.send(&payload)?;
            let mut back = [0; 2000];
            let received = process::again(|| socket.recv(&mut back))?;
            ensure!(back[..received] == payload, "{len} bytes came back as {received} others");
            count += 1;
        }
    }
    served.drain()?.moved(&before, &echoed_by_app(count))?;
    ensure!(echo.stop()?.success(), "the echo does not end cleanly");
    lab::until("its tuple is released", || Ok(tuples(&mut served.daemon)?.is_empty()))?;
    served.finish()
}

/// How often a process went to sleep.
fn sleeps(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(count.context("no such line")?.trim().parse()?)
}

/// So many looks in a row without a wake-up are rest.
const LOOKS_AT_REST: u32 = 50;

#[test]
fn mt10_an_idle_server_sleeps_until_it_is_asked() -> Result<()> {
    let id = "mt10_an_idle_server_sleeps_until_it_is_asked";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (served, user) = lab()?;
    let servers = [("octroi-http", HTTP), ("octroi-dns", DNS), ("octroi-echo", ECHO)]
        .map(|(name, port)| server(&served, &user, name, port));
    let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
    let mut ping = Ping::open(&served.pair.peer.netns, served.pair.served.v4.into())?;
    let count = || servers.iter().map(|server| sleeps(server.pid())).collect::<Result<Vec<_>>>();
    let (mut before, mut looks) = (count()?, 0);
    // Once they have come to rest, which takes the last of them a while on a busy machine, nothing that concerns the OS
    // alone wakes them, however long it takes.
    lab::until("they rest", || {
        ping.times(10)?;
        let now = count()?;
        looks = if now == before { looks + 1 } else { 0 };
        before = now;
        Ok(LOOKS_AT_REST <= looks)
    })?;
    ping.times(3000)?;
    assert_eq!(count()?, before);
    drop(servers);
    served.finish()
}

#[test]
fn mt10_servers_and_their_connections_outlive_the_daemon() -> Result<()> {
    let id = "mt10_servers_and_their_connections_outlive_the_daemon";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (mut served, user) = lab()?;
    let http = server(&served, &user, "octroi-http", HTTP)?;
    let echo = server(&served, &user, "octroi-echo", ECHO)?;
    let addr = IpAddr::from(served.pair.served.v4);
    let mut connection = connect(&served, addr, HTTP)?;
    let request = b"GET /8k HTTP/1.1\r\nHost: a\r\n\r\n";
    let whole = Objects::default().get(Kib::new(8).context("an object")?).to_vec();
    let answered = |connection: &mut TcpStream| -> Result<()> {
        let mut said = Vec::new();
        while !said.ends_with(&whole) {
            let mut piece = [0; 4096];
            let len = process::again(|| connection.read(&mut piece))?;
            ensure!(0 < len, "the connection ended after {} bytes", said.len());
            said.extend(&piece[..len]);
        }
        Ok(())
    };
    connection.write_all(request)?;
    answered(&mut connection)?;
    let home = served.daemon.crash()?;
    // Nobody is there: the kernel sends it again until somebody is.
    connection.write_all(request)?;
    served.daemon = home.start(&served.pair.served)?;
    let_everybody_in(&served)?;
    answered(&mut connection).context("over the daemon's death")?;
    let fetched = known::curl(&served.pair.peer, &[], &url(addr, HTTP, "/8k"))?;
    assert_eq!((fetched.status, fetched.body == whole), (200, true));
    let socket = os::udp_socket(&served.pair.peer, (served.pair.peer.v4, 0).into())?;
    socket.connect((addr, ECHO))?;
    lab::until("the echo is back", || Ok(tuples(&mut served.daemon)?.len() == 2))?;
    socket.send(b"again")?;
    assert_eq!(process::again(|| socket.recv(&mut [0; 16]))?, 5);
    drop((connection, http, echo));
    served.finish()
}

#[test]
fn mt10_a_liar_delivers_nothing_and_is_told_why() -> Result<()> {
    let id = "mt10_a_liar_delivers_nothing_and_is_told_why";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    const EACH: u64 = 100;
    let (mut served, user) = lab()?;
    let http = server(&served, &user, "octroi-http", HTTP)?;
    let (own, peer) = (served.pair.served.v4, served.pair.peer.v4);
    let (listen, to) = (format!("{own}:6000"), format!("{peer}:9"));
    let victims = [format!("tcp/{own}:{HTTP}"), format!("tcp/{own}:80"), format!("udp/{own}:{DNS}")];
    let words = ["--listen", &listen, "--to", &to, "--count", &EACH.to_string()].map(str::to_owned);
    let victims = victims.iter().flat_map(|victim| ["--victim".to_owned(), victim.clone()]);
    let words: Vec<String> = words.into_iter().chain(victims).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let tap = Tap::open(&served.pair.peer)?;
    let before = served.drain()?;
    let mut command = example(&served, &user, "octroi-spoof", &words)?;
    let child = served.pair.served.netns.spawn(command.stdout(std::process::Stdio::piped()))?;
    let output = child.wait_with_output()?;
    let told = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{told}");
    // Of all that it sent, the one true packet arrives, and nothing else.
    let frame = tap.receive(Instant::now() + PATIENCE)?.context("the true packet is missing")?;
    let flow = lab::Flow {
        from_mac: served.pair.served.mac,
        to_mac: served.pair.peer.mac,
        from: (own, 6000).into(),
        to: (peer, 9).into(),
    };
    // The addresses, ports and payload; identification and hop limit are its own affair.
    let wanted = flow.udp(&[], b"it is me")?;
    assert_eq!((frame.len(), frame.get(26..)), (wanted.len(), wanted.get(26..)));
    let reading = served.drain()?;
    let lies = [
        ("tx_not_owner", 5 * EACH),
        ("tx_local_os", EACH),
        ("tx_destination", EACH),
        ("tx_fragment", EACH),
        ("tx_protocol", EACH),
        ("tx_malformed", EACH),
        ("tx_desc", EACH),
    ];
    let all = lies.iter().map(|(_, count)| count).sum::<u64>() + 1;
    let mut moves = lies.to_vec();
    moves.extend([("submitted", all), ("transmitted", 1)]);
    // The peer's OS has nobody at port 9, and says so to ours.
    let said = reading.sum("xdp.rx") - before.sum("xdp.rx");
    moves.extend([("xdp.rx", said), ("xdp.pass_icmp", said)]);
    reading.moved(&before, &moves)?;
    assert_eq!(tap.receive(Instant::now())?, None, "a lie arrived");
    for (name, count) in lies {
        let line = format!("  {name:<20} {count:>8}");
        ensure!(told.contains(&line), "{line} is not in\n{told}");
    }
    let fetched = known::curl(&served.pair.peer, &[], &url(own.into(), HTTP, "/1k"))?;
    assert_eq!(fetched.status, 200, "the victim");
    drop(http);
    served.finish()
}
