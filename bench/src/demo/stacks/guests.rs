//! Those who come from the other end of the wire: curl, dig, wrk, and a UDP socket of the peer's OS.
use anyhow::{Context as _, Result};
use octroi_examples::http::object::Kib;
use octroi_tests::lab::{known, os};

use super::household::{HTTP, Household, Server};
use crate::{
    demo::scene::Scene,
    peer::wrk,
    report::{demo::Check, table::figure},
};

/// Datagrams that are echoed.
const DATAGRAMS: u32 = 1000;

/// What wrk does, and for how long.
const LOADS: [(&str, &[&str]); 2] =
    [("kept connections", &[]), ("a connection for each request", &["-H", "Connection: close"])];
const WRK: [&str; 4] = ["-t1", "-c32", "-d3s", "--latency"];

/// Hex digits of a hash that are shown.
const SHOWN: usize = 16;

/// Fetches an object, and compares what came with what should have.
pub(super) fn fetch(scene: &Scene, house: &Household, what: &str, server: Server, kib: u16) -> Result<Check> {
    let wanted = known::sha256(house.objects.get(Kib::new(kib).context("no such object")?))?;
    let url = format!("http://{}:{}/{kib}k", scene.pair.served.v4, server.port);
    let hash = match known::curl(&scene.pair.peer, &[], &url) {
        Ok(fetched) => known::sha256(&fetched.body)?,
        Err(why) => format!("{why:#}"),
    };
    let short = |hash: &str| hash.chars().take(SHOWN).collect::<String>();
    let name = format!("{what}: SHA-256 of {kib} KiB from {} :{}", server.name, server.port);
    Ok(Check::new(name, hash == wanted, short(&hash), short(&wanted)))
}

/// Asks the DNS stack.
pub(super) fn dig(scene: &Scene, checks: &mut Vec<Check>) -> Result<()> {
    let at = format!("@{}", scene.pair.served.v4);
    for (name, rtype, wanted) in [
        ("www.octroi.test", "A", "192.0.2.80"),
        ("www.octroi.test", "AAAA", "2001:db8::50"),
        ("motto.octroi.test", "TXT", "\"inspected, taxed, let through or turned back\""),
    ] {
        let said = known::dig(&scene.pair.peer, &[&at, name, rtype, "+short"]);
        let said = said.unwrap_or_else(|why| format!("{why:#}"));
        checks.push(Check::equal(format!("dig: {rtype} of {name}"), said.trim(), wanted));
    }
    let said = known::dig(&scene.pair.peer, &[&at, "nobody.octroi.test", "A"])?;
    let status = said.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
    checks.push(Check::equal("dig: a name that is not there", status.unwrap_or("no status"), "NXDOMAIN"));
    Ok(())
}

/// Sends datagrams to the echo, one after the other.
pub(super) fn echo(scene: &Scene, checks: &mut Vec<Check>) -> Result<()> {
    let socket = os::udp_socket(&scene.pair.peer, (scene.pair.peer.v4, 0).into())?;
    socket.connect((scene.pair.served.v4, 7))?;
    let mut back = 0_u64;
    for number in 0..DATAGRAMS {
        socket.send(&number.to_be_bytes())?;
        let mut answer = [0; 8];
        let Ok(len) = socket.recv(&mut answer) else { break };
        back += u64::from(answer[..len] == number.to_be_bytes());
    }
    checks.push(Check::equal("octroi-echo: datagrams that came back", back, u64::from(DATAGRAMS)));
    Ok(())
}

/// Loads the HTTP stack.
pub(super) fn load(scene: &Scene, checks: &mut Vec<Check>) -> Result<()> {
    let url = format!("http://{}:{}/8k", scene.pair.served.v4, HTTP.port);
    for (name, words) in LOADS {
        let words: Vec<&str> = WRK.iter().chain(words).copied().chain([url.as_str()]).collect();
        let said = wrk::run(&scene.pair.peer, &words)?;
        let p99 = said.p99.as_deref().unwrap_or("?");
        checks.push(Check::new(
            format!("wrk, 8 KiB, {name}: requests a second"),
            0.0 < said.rate,
            format!("{}, p99 {p99}", figure(said.rate)),
            "> 0",
        ));
        let failures = if said.failures.is_empty() { "none" } else { &said.failures };
        checks.push(Check::equal(format!("wrk, {name}: failures"), failures, "none"));
    }
    Ok(())
}
