//! Applications that abuse what their session consists of: memory, descriptors, connections, slots, processes. Each beside
//! one that must not notice. The other rules against them are in `hostile_rings`.
use std::{
    fs,
    io::Write as _,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use abi::steer::{SteerKey, kind};
use anyhow::{Context as _, Result, ensure};
use client::{
    control::{
        connection::Connection,
        request::{GetStatus, Paged as _, Request},
        stack::{ReserveMode, StackRegister},
    },
    shm::passing,
};
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, getsockopt, recv, sockopt},
        uio::pwrite,
    },
    unistd::ftruncate,
};
use octroi_tests::lab::{
    self, Footprint, Hostile, Reading, Served, Tap, Victim, hostile, hostile::refusal, process, protection,
};
use xsk::bpf::{Bpffs, Instance};

use crate::{
    NEEDS,
    hostile_rings::roomy,
    stacks::{served, tuples},
};

/// The offender's port.
const PORT: u16 = 5001;

const PATIENCE: Duration = Duration::from_secs(10);

fn scene() -> Result<(Served, Victim, Hostile)> {
    let served = served(&roomy())?;
    let victim = Victim::new(&served)?;
    let mut hostile = Hostile::open(served.daemon.home())?;
    hostile.udp(PORT)?;
    Ok((served, victim, hostile))
}

fn finish(mut served: Served, victim: Victim) -> Result<()> {
    let reading = served.drain()?;
    victim.unharmed(&reading)?;
    drop(victim);
    served.finish()
}

fn connect(served: &Served) -> Result<Connection> {
    Ok(Connection::open(&served.daemon.home().socket(), PATIENCE)?)
}

/// The file behind a descriptor: device and number.
fn file(fd: &OwnedFd) -> Result<(u64, u64)> {
    let meta = fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok((meta.dev(), meta.ino()))
}

#[test]
fn h07_nothing_is_shared_by_two_applications() -> Result<()> {
    let Some(_lab) = lab::require("h07_nothing_is_shared_by_two_applications", NEEDS)? else {
        return Ok(());
    };
    let (served, mut victim, one) = scene()?;
    let mut other = Hostile::open(served.daemon.home())?;
    other.udp(PORT + 1)?;
    let mut files = Vec::new();
    for session in [&one, &other] {
        for fd in [&session.down, &session.up, &session.bell] {
            files.push(file(fd)?);
        }
    }
    files.sort_unstable();
    files.dedup();
    ensure!(files.len() == 6, "of six descriptors some are one file: {files:?}");
    // What the one does to its bell the other does not hear.
    victim.beside(|| {
        (0..1000).for_each(|_| one.ring());
        Ok(())
    })?;
    ensure!((one.rung()?, other.rung()?) == (0, 0));
    ensure!(recv(other.bell.as_raw_fd(), &mut [0; 8], MsgFlags::MSG_DONTWAIT) == Err(Errno::EAGAIN));
    drop((one, other));
    finish(served, victim)
}

#[test]
fn h08_what_the_daemon_writes_cannot_be_made_writable() -> Result<()> {
    let Some(_lab) = lab::require("h08_what_the_daemon_writes_cannot_be_made_writable", NEEDS)? else {
        return Ok(());
    };
    let (mut served, mut victim, mut hostile) = scene()?;
    let good = served.load(PORT, 1, 100).answer(0)?[14..].to_vec();
    victim.beside(|| {
        let down = &hostile.down;
        ensure!(protection::map_writable(down) == Err(Errno::EPERM), "mapped writable");
        ensure!(protection::make_writable(down) == Err(Errno::EACCES), "made writable");
        ensure!(pwrite(down, &[0xff; 8], 0) == Err(Errno::EPERM), "written by pwrite");
        ensure!(ftruncate(down, 0) == Err(Errno::EPERM) && ftruncate(down, 1 << 30) == Err(Errno::EPERM));
        // The same file by another description, with whatever rights its owner has.
        let path = format!("/proc/self/fd/{}", down.as_raw_fd());
        let mut again = fs::File::options().read(true).write(true).open(path)?;
        let refused = again.write_all(&[0xff; 8]).map_err(|error| error.raw_os_error());
        ensure!(refused == Err(Some(Errno::EPERM as i32)), "written by another description: {refused:?}");
        ensure!(
            protection::map_writable(&again) == Err(Errno::EPERM),
            "mapped writable by another description"
        );
        ensure!(
            fs::write(format!("/proc/self/fd/{}", down.as_raw_fd()), b"x").is_err(),
            "truncated and written"
        );
        // Its own half it may write: the attempts themselves work.
        ensure!(protection::map_writable(&hostile.up) == Ok(()));
        Ok(())
    })?;
    // What it reads there is still the daemon's word.
    hostile.send([good.as_slice()])?;
    hostile.wait_taken(1)?;
    let reading = served.drain()?;
    ensure!(reading.of_tuple(PORT) == [("tx_read", 1), ("tx_sent", 1)].into_iter().collect());
    drop(hostile);
    finish(served, victim)
}

#[test]
fn h12_connections_requests_and_descriptors_have_limits_and_the_others_are_served() -> Result<()> {
    let id = "h12_connections_requests_and_descriptors_have_limits_and_the_others_are_served";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (mut served, mut victim, hostile) = scene()?;
    let before = Footprint::of(served.daemon.pid())?;
    // The lab's own connection, the victim's and the offender's are three of the 64 that this user may have.
    let many: Vec<_> = (0..61).map(|_| connect(&served)).collect::<Result<_>>()?;
    victim.beside(|| {
        for _ in 0..200 {
            // Turned away before a word was read; the answer is there already.
            let mut more = connect(&served)?;
            let outcome = more.call(&GetStatus::page(0)).map_err(|error| error.to_string());
            ensure!(
                outcome
                    .as_ref()
                    .is_err_and(|why| why.contains("connections of uid") || why.contains("closed")),
                "{outcome:?}"
            );
        }
        served.daemon.status().map(drop)
    })?;
    drop(many);
    // Requests without end on one connection: they are taken at their pace, and an honest client's at once.
    let flooder = connect(&served)?;
    let request = Request::write(1, &GetStatus::page(0))?;
    let mut flooded = 0;
    while passing::send(flooder.as_fd(), &request, &[], MsgFlags::MSG_DONTWAIT).is_ok() {
        flooded += 1;
    }
    ensure!(flooded != 0);
    victim.beside(|| (0..20).try_for_each(|_| served.daemon.status().map(drop)))?;
    drop(flooder);
    // Descriptors without end: none stays.
    lab::until("the connections are gone", || {
        Ok(Footprint::of(served.daemon.pid())?.descriptors == before.descriptors)
    })?;
    let pusher = connect(&served)?;
    let null = fs::File::open("/dev/null")?;
    let fds = vec![null.as_fd(); passing::MAX_FDS];
    let (register, nonsense) = (Request::write(2, &hostile::udp(PORT + 1))?, b"{".to_vec());
    victim.beside(|| {
        for n in 0..80 {
            let bytes = if n % 2 == 0 { &nonsense } else { &request };
            passing::send(pusher.as_fd(), bytes, &fds, MsgFlags::empty())?;
            passing::receive(pusher.as_fd(), &mut [0; 32 << 10], MsgFlags::empty())?;
        }
        // A request that uses one, on a connection that may not: none is kept either.
        passing::send(pusher.as_fd(), &register, &fds, MsgFlags::empty())?;
        passing::receive(pusher.as_fd(), &mut [0; 32 << 10], MsgFlags::empty())?;
        Ok(())
    })?;
    let own = before.descriptors + 1;
    lab::until("they are closed", || Ok(Footprint::of(served.daemon.pid())?.descriptors == own))?;
    drop((pusher, hostile));
    finish(served, victim)
}

#[test]
fn h12_a_lent_socket_is_asked_and_never_used() -> Result<()> {
    let Some(_lab) = lab::require("h12_a_lent_socket_is_asked_and_never_used", NEEDS)? else { return Ok(()) };
    let (served, mut victim, mut hostile) = scene()?;
    let end = &served.pair.served;
    let own = end.netns.enter(|| std::net::UdpSocket::bind((end.v4, PORT + 1)))??;
    // Something lies in it to be read, which is its owner's.
    let to = own.local_addr()?;
    end.netns.enter(|| std::net::UdpSocket::bind((end.v4, 0)))??.send_to(b"yours", to)?;
    let want = StackRegister {
        addr: client::control::request::LocalAddr::Ip(end.v4.into()),
        reserve: ReserveMode::Fd,
        ..hostile::udp(PORT + 1)
    };
    let mut buffer = [0; 16];
    victim.beside(|| {
        hostile.control.call_with(&want, &[own.as_fd()])?;
        Ok(())
    })?;
    let (length, _) = own.recv_from(&mut buffer)?;
    ensure!(&buffer[..length] == b"yours");
    ensure!(!getsockopt(&own, sockopt::AcceptConn)? && !getsockopt(&own, sockopt::ReuseAddr)?);
    // Descriptors that are no socket, or no socket of this tuple, are refused by name and closed.
    let before = Footprint::of(served.daemon.pid())?;
    let (null, bell) = (fs::File::open("/dev/null")?, hostile.bell.try_clone()?);
    let other = StackRegister { port: PORT + 2, ..want.clone() };
    for fd in [null.as_fd(), bell.as_fd(), own.as_fd(), hostile.up.as_fd()] {
        let outcome = connect(&served)?.call_with(&other, &[fd]).map(drop);
        ensure!(["EINVAL", "ENOENT"].contains(&refusal(outcome)?.as_str()));
    }
    let mut second = Hostile::open(served.daemon.home())?;
    for fd in [null.as_fd(), bell.as_fd(), own.as_fd(), second.up.try_clone()?.as_fd()] {
        ensure!(refusal(second.control.call_with(&other, &[fd]).map(drop))? == "EINVAL");
    }
    ensure!(refusal(second.control.call_with(&other, &[]).map(drop))? == "ENOENT");
    drop(second);
    lab::until("they are closed", || {
        Ok(Footprint::of(served.daemon.pid())?.descriptors == before.descriptors)
    })?;
    drop((hostile, own));
    finish(served, victim)
}

#[test]
fn h13_a_frame_for_an_earlier_holder_of_a_slot_is_dropped_by_generation() -> Result<()> {
    let id = "h13_a_frame_for_an_earlier_holder_of_a_slot_is_dropped_by_generation";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (mut served, mut victim, mut hostile) = scene()?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    // What XDP wrote before a frame while an earlier session held the slot: here it writes so for as long as we like.
    let bpffs = Bpffs::open()?;
    let instance = Instance::open(&bpffs, &served.daemon.home().pins().instance().parse()?)?;
    let mut steering = instance.steering()?;
    let key = SteerKey::v4(17, served.pair.served.v4.octets(), PORT);
    let own = steering.get(key)?.context("its tuple is steered")?;
    ensure!(
        (own.kind, own.id, own.generation) == (kind::STACK, hostile.opened.slot, hostile.opened.generation)
    );
    let before = served.drain()?;
    let sent = victim.sent();
    let mut stale = 0;
    for generation in [own.generation.wrapping_sub(1), own.generation + 1, u16::MAX] {
        steering.put(key, abi::steer::Target { generation, ..own })?;
        victim.beside(|| {
            for n in 0..20 {
                tap.send(&load.frame(n)?)?;
                stale += 1;
            }
            lab::until("they are stale", || {
                Ok(Reading::of(&mut served.daemon)?.sum("rx_stale") - before.sum("rx_stale") == stale)
            })
        })?;
    }
    // Slots that nobody has, and that cannot be.
    for id in [own.id + 100, 4095, 4096, u16::MAX] {
        steering.put(key, abi::steer::Target { id, ..own })?;
        tap.send(&load.frame(0)?)?;
        stale += 1;
        lab::until("it is stale", || {
            Ok(Reading::of(&mut served.daemon)?.sum("rx_stale") - before.sum("rx_stale") == stale)
        })?;
    }
    ensure!(hostile.receive().is_empty(), "it was handed what was another's");
    steering.put(key, own)?;
    tap.send(&load.frame(7)?)?;
    let received = hostile.wait_received(1)?;
    ensure!(received[0].1 == load.frame(7)? && received[0].0.tuple == own.aux);
    drop((steering, instance));
    let reading = served.drain()?;
    ensure!(reading.of_session(hostile.opened.slot) == [("rx_delivered", 1)].into_iter().collect());
    let mut moves: Vec<(&str, u64)> = ["xdp.rx", "xdp.redirect", "rx", "rx_from_meta"]
        .map(|name| (name, victim.sent() - sent + stale + 1))
        .into();
    moves.push(("delivered", victim.sent() - sent + 1));
    moves.push(("rx_stale", stale));
    moves.extend(["submitted", "transmitted"].map(|name| (name, victim.sent() - sent)));
    reading.moved(&before, &moves)?;
    drop(hostile);
    finish(served, victim)
}

#[test]
fn h13_a_port_that_changes_hands_under_load_never_reaches_two() -> Result<()> {
    let Some(_lab) = lab::require("h13_a_port_that_changes_hands_under_load_never_reaches_two", NEEDS)?
    else {
        return Ok(());
    };
    let (mut served, mut victim, first) = scene()?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    let before = served.drain()?;
    let mut holder = Some(first);
    let (mut sent, mut got) = (0_u64, 0);
    victim.beside(|| {
        for round in 0..30_u64 {
            // Under way while its owner goes.
            (0..20).try_for_each(|n| tap.send(&load.frame(100 * round + n)?))?;
            sent += 20;
            got += holder.take().map_or(0, |mut holder| holder.receive().len() as u64);
            let holder = holder.insert(Hostile::open(served.daemon.home())?);
            lab::until("the port is free again", || Ok(holder.udp(PORT).is_ok()))?;
            // Its own packets, and none of those before.
            (50..60).try_for_each(|n| tap.send(&load.frame(100 * round + n)?))?;
            sent += 10;
            for (_, frame) in holder.wait_received(10)? {
                let mine = (50..60).map(|n| load.frame(100 * round + n)).collect::<Result<Vec<_>>>()?;
                ensure!(mine.contains(&frame), "round {round}: it was handed a packet of its predecessor's");
            }
        }
        Ok(())
    })?;
    let reading = served.drain()?;
    let passed = reading.sum("xdp.pass_miss") - before.sum("xdp.pass_miss");
    let stale = reading.sum("rx_stale") - before.sum("rx_stale");
    let delivered = reading.sum("stack.rx_delivered") - before.sum("stack.rx_delivered");
    let of_victim = reading.of_tuple(lab::victim::PORT)["rx_delivered"];
    let first = before.of_tuple(lab::victim::PORT)["rx_delivered"];
    ensure!(
        passed + stale + delivered - (of_victim - first) == sent && 300 <= delivered,
        "of {sent} packets {delivered} were delivered, {stale} stale, {passed} passed; {got} of the first were read"
    );
    drop(holder);
    finish(served, victim)
}

#[test]
fn h14_a_process_that_ends_without_a_word_or_leaves_a_child_harms_itself_alone() -> Result<()> {
    let id = "h14_a_process_that_ends_without_a_word_or_leaves_a_child_harms_itself_alone";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (mut served, mut victim, hostile) = scene()?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    // A child that has the connection, the memory and the bell, and uses none of them.
    let [control, _, up, bell] = hostile.duplicates()?;
    let mut sleep = Command::new("sleep");
    sleep.arg("60").stdin(Stdio::from(control)).stdout(Stdio::from(up)).stderr(Stdio::from(bell));
    let mut child = process::spawn(&mut sleep)?;
    // The command has them too.
    drop(sleep);
    let slot = hostile.opened.slot;
    let before = Footprint::of(served.daemon.pid())?;
    drop(hostile);
    // The session lives as long as its connection does. Its packets fill its ring, and then are its loss.
    victim.beside(|| {
        for n in 0..600 {
            tap.send(&load.frame(n)?)?;
            if n % 32 == 31 {
                lab::until("they are handed over", || {
                    let reading = Reading::of(&mut served.daemon)?;
                    let books = reading.of_session(slot);
                    Ok(books.values().sum::<u64>() == n + 1)
                })?;
            }
        }
        Ok(())
    })?;
    let reading = served.drain()?;
    ensure!(reading.of_session(slot) == [("rx_delivered", 256), ("rx_ring_full", 344)].into_iter().collect());
    ensure!(tuples(&mut served.daemon)?.iter().any(|row| row.port == PORT));
    // The pages of its ring have been written to now.
    before.covers(&Footprint::of(served.daemon.pid())?, 4096)?;
    // With the last descriptor everything goes.
    victim.beside(|| {
        child.kill()?;
        child.wait()?;
        lab::until("its tuple is free", || Ok(tuples(&mut served.daemon)?.iter().all(|row| row.port != PORT)))
    })?;
    // And so it does when the process has the other descriptors still, and closes nothing but its connection.
    let mut hostile = Hostile::open(served.daemon.home())?;
    hostile.udp(PORT)?;
    let Hostile { control, down, up, bell, regions, .. } = hostile;
    victim.beside(|| {
        drop(control);
        lab::until("its tuple is free", || Ok(tuples(&mut served.daemon)?.iter().all(|row| row.port != PORT)))
    })?;
    drop((down, up, bell, regions));
    finish(served, victim)
}

#[test]
fn h14_a_stopped_process_stops_alone() -> Result<()> {
    let Some(_lab) = lab::require("h14_a_stopped_process_stops_alone", NEEDS)? else { return Ok(()) };
    let mut served = served(&roomy())?;
    let mut victim = Victim::new(&served)?;
    let mut stopped = crate::stacks::app(&served)?;
    stopped.udp(PORT)?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    stopped.stop()?;
    victim.beside(|| {
        for n in 0..600 {
            tap.send(&load.frame(n)?)?;
            if n % 32 == 31 {
                lab::until("they are handed over", || {
                    Ok(Reading::of(&mut served.daemon)?.of_tuple(PORT).values().sum::<u64>() == n + 1)
                })?;
            }
        }
        Ok(())
    })?;
    let books = served.drain()?;
    ensure!(books.of_tuple(PORT) == [("rx_delivered", 256), ("rx_ring_full", 344)].into_iter().collect());
    // It goes on with what its ring held.
    victim.beside(|| {
        stopped.go_on()?;
        lab::until("it has answered", || {
            Ok(Reading::of(&mut served.daemon)?.of_tuple(PORT).get("tx_sent") == Some(&256))
        })
    })?;
    drop(stopped);
    finish(served, victim)
}
