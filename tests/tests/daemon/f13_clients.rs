//! Clients of the control socket that say whatever comes to their minds, beside honest ones.
use std::{os::fd::AsFd as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use client::{
    control::{
        MAX_DATAGRAM,
        connection::Connection,
        request::{GetStats, GetStatus, Paged as _, Request},
        stack::{StackList, StackOpen, StackRelease},
    },
    shm::passing,
};
use nix::sys::socket::MsgFlags;
use octroi_tests::{
    corpus::rng::Rng,
    lab::{self, Footprint, Served, Victim, Wrapper, hostile, process},
    scale::{self, Seed},
};

use crate::{
    NEEDS,
    f14_privileges::as_user,
    hostile_rings::roomy,
    stacks::{served, tuples},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Requests between two looks at the clock of a test.
const ROUND: u64 = 20_000;

/// What a connection may ask at once.
const BURST: u64 = 100;

/// Memory that the daemon may have grown by.
const GROWTH_KIB: u64 = 16 << 10;

#[test]
fn f13_whatever_clients_say_honest_ones_are_served_and_nothing_stays() -> Result<()> {
    let id = "f13_whatever_clients_say_honest_ones_are_served_and_nothing_stays";
    let (requests, seed) = (scale::F13_REQUESTS.count(), Seed::get());
    let mut rng = Rng::new(seed);
    for round in 0..requests.div_ceil(ROUND) {
        let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
        said(&mut rng, ROUND.min(requests - round * ROUND))
            .with_context(|| format!("{seed}, round {round}"))?;
    }
    Ok(())
}

fn said(rng: &mut Rng, requests: u64) -> Result<()> {
    let mut served = served(&roomy())?;
    let mut victim = Victim::new(&served)?;
    let templates = templates()?;
    let null = std::fs::File::open("/dev/null")?;
    connection(&served, rng, &templates, &null)?;
    served.drain()?;
    let before = Footprint::of(served.daemon.pid())?;
    let mut done = 0;
    while done < requests {
        victim.beside(|| {
            for _ in 0..20 {
                connection(&served, rng, &templates, &null)?;
                done += BURST;
            }
            // An honest client is answered, and sees nothing that was not there before, once the daemon has heard that
            // the last of the others is gone.
            lab::until("only the victim has tuples", || {
                Ok(tuples(&mut served.daemon)?.iter().all(|row| row.port == lab::victim::PORT))
            })?;
            served.daemon.status().map(drop)
        })?;
    }
    lab::until("all that came along is closed", || {
        Ok(Footprint::of(served.daemon.pid())?.descriptors <= before.descriptors)
    })?;
    before.covers(&Footprint::of(served.daemon.pid())?, GROWTH_KIB)?;
    victim.unharmed(&served.drain()?)?;
    drop(victim);
    served.finish()
}

/// Requests that are legal, to be spoilt. None of them, spoilt or not, changes anything but its own connection.
fn templates() -> Result<Vec<Vec<u8>>> {
    let open = StackOpen { name: "x".to_owned(), rx_slots: 64, tx_slots: 64, l2: true };
    Ok(vec![
        Request::write(1, &GetStatus::page(0))?,
        Request::write(2, &GetStats::page(0))?,
        Request::write(3, &StackList::page(0))?,
        Request::write(4, &open)?,
        Request::write(5, &hostile::udp(0))?,
        Request::write(6, &StackRelease::number(0))?,
        br#"{"v":1,"id":7,"op":"stack.attach","lease":"0123456789abcdef0123456789abcdef"}"#.to_vec(),
    ])
}

/// One connection's worth of nonsense: each datagram is answered by one, and the connection stays.
fn connection(served: &Served, rng: &mut Rng, templates: &[Vec<u8>], null: &std::fs::File) -> Result<()> {
    let connection = Connection::open(&served.daemon.home().socket(), PATIENCE)?;
    for _ in 0..BURST {
        let said = datagram(rng, templates);
        let fds = vec![null.as_fd(); if rng.once_in(4) { rng.below(passing::MAX_FDS + 1) } else { 0 }];
        passing::send(connection.as_fd(), &said, &fds, MsgFlags::empty()).context("sending")?;
        let mut answer = [0; MAX_DATAGRAM + 1];
        let len = passing::receive(connection.as_fd(), &mut answer, MsgFlags::empty())
            .with_context(|| format!("no answer to {}", String::from_utf8_lossy(&said)))?
            .len;
        let answer: serde_json::Value = serde_json::from_slice(&answer[..len])
            .with_context(|| format!("{len} bytes that are no answer"))?;
        ensure!(answer.get("ok").is_some() != answer.get("err").is_some(), "{answer}");
    }
    Ok(())
}

fn datagram(rng: &mut Rng, templates: &[Vec<u8>]) -> Vec<u8> {
    let mut said = rng.pick(templates).clone();
    match rng.below(8) {
        // A few bytes changed, cut off, or said twice.
        0 | 1 => (0..=rng.below(4)).for_each(|_| {
            let at = rng.below(said.len());
            said[at] = rng.byte();
        }),
        2 => said.truncate(1 + rng.below(said.len())),
        3 => {
            let again = said.clone();
            let at = rng.below(said.len());
            said.splice(at..at, again);
        }
        // No JSON at all, much of it, and JSON without end.
        4 => {
            let len = 1 + rng.below(200);
            said = rng.bytes(len);
        }
        5 => {
            let len = *rng.pick(&[MAX_DATAGRAM - 1, MAX_DATAGRAM, MAX_DATAGRAM + 1, 100_000]);
            said.resize(len, b' ');
        }
        6 => {
            let (open, close) = *rng.pick(&[("[", "]"), (r#"{"v":"#, "}")]);
            let deep =
                [3, 8, 9, 1_000, 10_000][rng.below(5)].min((MAX_DATAGRAM - 2) / (open.len() + close.len()));
            said = [open.repeat(deep), "1".to_owned(), close.repeat(deep)].concat().into_bytes();
        }
        // As it is.
        _ => {}
    }
    said
}

#[test]
fn f13_json_ten_thousand_deep_is_refused_like_any_nonsense() -> Result<()> {
    let Some(_lab) = lab::require("f13_json_ten_thousand_deep_is_refused_like_any_nonsense", NEEDS)? else {
        return Ok(());
    };
    let mut served = served(&roomy())?;
    let connection = Connection::open(&served.daemon.home().socket(), PATIENCE)?;
    // Not closed again, to fit a datagram; and closed, in one that is too long.
    for text in ["[".repeat(10_000), "[".repeat(10_000) + &"]".repeat(10_000)] {
        let mut answer = [0; MAX_DATAGRAM + 1];
        passing::send(connection.as_fd(), text.as_bytes(), &[], MsgFlags::empty())?;
        let len = passing::receive(connection.as_fd(), &mut answer, MsgFlags::empty())?.len;
        let answer: serde_json::Value = serde_json::from_slice(&answer[..len])?;
        ensure!(["EPROTO", "EINVAL"].iter().any(|code| answer["err"]["code"] == *code), "{answer}");
    }
    served.daemon.status()?;
    drop(connection);
    served.finish()
}

#[test]
fn f13_who_may_not_connect_says_nothing_that_anybody_reads() -> Result<()> {
    let Some(_lab) = lab::require("f13_who_may_not_connect_says_nothing_that_anybody_reads", NEEDS)? else {
        return Ok(());
    };
    use std::os::unix::fs::PermissionsExt;
    let mut served = served(&roomy())?;
    let home = served.daemon.home();
    // The way to the socket is open, as on any host; the socket itself is as the daemon made it.
    std::fs::set_permissions(home.run(), PermissionsExt::from_mode(0o755))?;
    let before = Footprint::of(served.daemon.pid())?;
    let ask = |wrapper: &Wrapper| {
        process::output(&mut home.command(wrapper, "octroi", &["status"])?).context("octroi")
    };
    let denied = ask(&as_user(54_322))?;
    let said = String::from_utf8_lossy(&denied.stderr).into_owned();
    ensure!(!denied.status.success() && said.contains("may not be opened by this user"), "{said}");
    ensure!(ask(&Wrapper::default())?.status.success());
    lab::until("nothing of theirs stays open", || {
        Ok(Footprint::of(served.daemon.pid())?.descriptors == before.descriptors)
    })?;
    served.daemon.status()?;
    served.finish()
}
