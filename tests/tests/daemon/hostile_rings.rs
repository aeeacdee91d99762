//! Applications that break the rules of their rings, each beside one that keeps them and must not notice.
//!
//! Each test is one of the rules that the daemon follows against them (`h01` to `h14`; the rest is in `hostile_sessions`).
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use abi::shm::{
    desc::{Form, TxDesc},
    layout::State,
    memory::Writable as _,
    ring::rx_flags::{WAKE_ON_RX, WAKE_ON_TX_SPACE},
};
use anyhow::{Context as _, Result, ensure};
use client::control::status::EngineRow;
use nix::{
    fcntl::{FallocateFlags, fallocate},
    unistd::ftruncate,
};
use octroi_tests::lab::{self, Account, Config, Hostile, Load, Reading, Served, Tap, Victim};

use crate::{
    NEEDS,
    stacks::{served, tuples},
};

/// The offender's port.
const PORT: u16 = 5001;

/// Rings that hold a victim's packets and an offender's.
pub(crate) fn roomy() -> Config {
    Config { rings: 1024, frames: 2048, ..Config::default() }
}

/// A daemon, a victim whose packets flow, and an offender that has a port.
fn scene(slots: u32) -> Result<(Served, Victim, Hostile)> {
    let served = served(&roomy())?;
    let victim = Victim::new(&served)?;
    let mut hostile = Hostile::with_slots(served.daemon.home(), slots)?;
    hostile.udp(PORT)?;
    Ok((served, victim, hostile))
}

/// What became of the offender's packets; its books and all others balance.
fn account(served: &mut Served, hostile: &Hostile) -> Result<Vec<(String, u64)>> {
    let reading = served.drain()?;
    let account = reading.of_session(hostile.opened.slot);
    Ok(account.into_iter().map(|(name, n)| (name.to_owned(), n)).collect())
}

fn is(account: &[(String, u64)], expected: &[(&str, u64)]) -> Result<()> {
    let account: Account<'_> = account.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    ensure!(account == expected.iter().copied().collect(), "{account:?} is not {expected:?}");
    Ok(())
}

/// The victim was not harmed, and nothing is left of anybody.
fn finish(mut served: Served, victim: Victim) -> Result<()> {
    let reading = served.drain()?;
    victim.unharmed(&reading)?;
    drop(victim);
    served.finish()
}

/// A packet from the offender's port to the wire, the `n`-th of them.
fn own(load: &Load, n: u64) -> Result<Vec<u8>> {
    Ok(load.answer(n)?[14..].to_vec())
}

/// Does `again` in a thread of its own until `deed` is done.
fn meanwhile<T>(again: impl Fn() + Sync, deed: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                again();
            }
        });
        let did = deed();
        done.store(true, Ordering::Relaxed);
        did
    })
}

#[test]
fn h01_an_index_that_changes_all_the_time_is_one_or_the_other() -> Result<()> {
    let Some(_lab) = lab::require("h01_an_index_that_changes_all_the_time_is_one_or_the_other", NEEDS)?
    else {
        return Ok(());
    };
    let (mut served, mut victim, mut hostile) = scene(256)?;
    let before = served.drain()?.sum("stack.violation");
    victim.beside(|| {
        let regions = hostile.regions.clone();
        let at = hostile.up_at().tx_prod();
        let flip = || {
            for word in [64, 0] {
                regions.up.store_u32(at, word, Ordering::Release);
            }
        };
        hostile.ring();
        meanwhile(flip, || hostile.wait_revoked())
    })?;
    // Each visit reads the index once. One that reads 64 takes of those 64 what a loop may take, whatever stands there by
    // then; one that reads 0 after that sees an index further back than a ring is long.
    let reading = served.drain()?;
    ensure!(reading.sum("stack.violation") == before + 1);
    let ended = reading.of_ended();
    let taken = ended.get("tx_read").copied().unwrap_or(0);
    ensure!((1..=64).contains(&taken), "{ended:?}");
    // Descriptors of zeros.
    ensure!(ended == Account::from([("tx_read", taken), ("tx_desc", taken), ("violation", 1)]), "{ended:?}");
    finish(served, victim)
}

#[test]
fn h02_indices_that_cannot_be_end_the_session_at_the_visit_that_sees_them() -> Result<()> {
    let id = "h02_indices_that_cannot_be_end_the_session_at_the_visit_that_sees_them";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (mut served, mut victim, mut hostile) = scene(64)?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    let mut violations = 0;
    for beyond in [65, 100_000, 1 << 31, u32::MAX] {
        victim.beside(|| {
            hostile.claim(beyond);
            hostile.wait_revoked()
        })?;
        hostile = Hostile::on(hostile.into_control(), 64)?;
        hostile.udp(PORT)?;
        // It has given back what never came: seen when the ring is full, for only then does anybody look.
        victim.beside(|| {
            hostile.store(hostile.up_at().rx_cons(), beyond);
            (0..64).try_for_each(|n| tap.send(&load.frame(n)?))?;
            lab::until("its ring is full", || Ok(hostile.delivered() == 64))?;
            tap.send(&load.frame(64)?)?;
            hostile.wait_revoked()
        })?;
        hostile = Hostile::on(hostile.into_control(), 64)?;
        hostile.udp(PORT)?;
        violations += 2;
    }
    let reading = served.drain()?;
    ensure!(reading.sum("stack.violation") == violations, "{}", reading.sum("stack.violation"));
    // The packet that found the ring so is stale, by the books of session and engine.
    ensure!(reading.of_ended().get("rx_stale") == Some(&4), "{:?}", reading.of_ended());
    drop(hostile);
    finish(served, victim)
}

#[test]
fn h03_garbage_in_descriptors_costs_its_packets_and_nothing_else() -> Result<()> {
    let Some(_lab) = lab::require("h03_garbage_in_descriptors_costs_its_packets_and_nothing_else", NEEDS)?
    else {
        return Ok(());
    };
    let (mut served, mut victim, hostile) = scene(256)?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    let good = own(&load, 0)?;
    let len = good.len() as u32;
    let mut garbage: Vec<[u64; 2]> = [0, 1, 19, 1501, 2048, 2049, 4096, 1 << 16, 1 << 31, u32::MAX]
        .map(|len| TxDesc::new(len, Form::L3).words())
        .to_vec();
    // Every bit that must be zero, and the other form, which this session may not have.
    garbage.extend((32..128).map(|bit| {
        let mut words = TxDesc::new(len, Form::L3).words();
        words[bit / 64] ^= 1 << (bit % 64);
        words
    }));
    let count = garbage.len() as u32;
    for (slot, &words) in (0..).zip(&garbage) {
        hostile.put(slot, &good);
        hostile.describe(slot, words);
    }
    hostile.put(count, &good);
    victim.beside(|| {
        hostile.claim(count + 1);
        hostile.wait_taken(count + 1)
    })?;
    let dropped = ("tx_desc", u64::from(count));
    is(&account(&mut served, &hostile)?, &[("tx_read", u64::from(count) + 1), ("tx_sent", 1), dropped])?;
    let left = Served::frames_of(&tap, PORT)?;
    ensure!(left == [load.answer(0)?], "{} frames left", left.len());
    // A descriptor that is written anew all the time is used as it was judged.
    let (words, at) = (TxDesc::new(len, Form::L3).words(), hostile.up_at().descriptor(0));
    let regions = hostile.regions.clone();
    let rewrite = || {
        for word in [words[0] | 1 << 63, u64::from(u32::MAX), words[0]] {
            (0..256).for_each(|slot| regions.up.store_u64(at + slot * 16, word));
        }
    };
    (0..256).for_each(|slot| hostile.put(slot, &good));
    let mut left = 0;
    let end = victim.beside(|| {
        meanwhile(rewrite, || {
            let mut end = count + 1;
            for _ in 0..50 {
                end += 200;
                hostile.claim(end);
                hostile.wait_taken(end)?;
                let frames = Served::frames_of(&tap, PORT)?;
                ensure!(frames.iter().all(|frame| frame.len() == 14 + good.len()), "not as judged");
                left += frames.len();
            }
            Ok(end)
        })
    })?;
    let books = account(&mut served, &hostile)?;
    let get = |name| books.iter().find(|(other, _)| other == name).map_or(0, |(_, n)| *n);
    ensure!(
        get("tx_read") == u64::from(end) && get("tx_sent") + get("tx_desc") == u64::from(end),
        "{books:?}"
    );
    left += Served::frames_of(&tap, PORT)?.len();
    ensure!(left as u64 + 1 == get("tx_sent") && left != 0, "{left} frames left: {books:?}");
    ensure!(hostile.state() == State::Live);
    drop(hostile);
    finish(served, victim)
}

#[test]
fn h04_a_packet_rewritten_while_it_is_copied_leaves_as_it_was_judged() -> Result<()> {
    let id = "h04_a_packet_rewritten_while_it_is_copied_leaves_as_it_was_judged";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (mut served, mut victim, hostile) = scene(256)?;
    // Longer than the victim's: its length tells a frame of the offender's, whatever it says of itself.
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 140));
    let good = own(&load, 0)?;
    (0..256).for_each(|slot| hostile.put(slot, &good));
    let (regions, slot) = (hostile.regions.clone(), hostile.opened.slot);
    let buffers: Vec<usize> = (0..256).map(|slot| hostile.up_at().buffer(slot)).collect();
    // Source port, source address, length, version: each of them decides something.
    let rewrite = || {
        for &buffer in &buffers {
            for (at, bytes) in [
                (20, &lab::victim::PORT.to_be_bytes()[..]),
                (12, &[192, 0, 2, 66]),
                (2, &[0xff, 0xff]),
                (0, &[0x65]),
            ] {
                regions.up.copy_in(buffer + at, bytes);
                regions.up.copy_in(buffer + at, &good[at..at + bytes.len()]);
            }
        }
    };
    // Whatever leaves has the offender's own source.
    let (source, port) = (served.pair.served.v4.octets(), PORT.to_be_bytes());
    let mut left = 0;
    let mut look = || -> Result<()> {
        while let Some(frame) = tap.receive(Instant::now())? {
            if frame.len() == 14 + good.len() {
                ensure!(frame[26..30] == source && frame[34..36] == port, "{frame:02x?}");
                left += 1;
            }
        }
        Ok(())
    };
    let end = victim.beside(|| {
        meanwhile(rewrite, || {
            let mut end = 0;
            // Until one was caught half-way: where a core is another's, the two seldom meet.
            lab::until("a packet is rewritten before it is judged", || {
                for _ in 0..100 {
                    end += 100;
                    hostile.claim(end);
                    hostile.wait_taken(end)?;
                    look()?;
                }
                Ok(Reading::of(&mut served.daemon)?.of_session(slot).contains_key("tx_not_owner"))
            })?;
            Ok(end)
        })
    })?;
    let books = account(&mut served, &hostile)?;
    ensure!(books.iter().any(|row| *row == ("tx_read".to_owned(), end.into())), "{books:?}");
    ensure!(
        books.iter().any(|(name, n)| name == "tx_not_owner" && *n != 0),
        "nothing was rewritten: {books:?}"
    );
    look()?;
    let sent = books.iter().find(|(name, _)| name == "tx_sent").map_or(0, |(_, n)| *n);
    ensure!(left == sent && sent != 0, "{left} frames of {sent} came: {books:?}");
    drop(hostile);
    finish(served, victim)
}

#[test]
fn h05_a_flood_of_foreign_packets_is_dropped_whole_and_holds_nobody_up() -> Result<()> {
    let id = "h05_a_flood_of_foreign_packets_is_dropped_whole_and_holds_nobody_up";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (mut served, mut victim, hostile) = scene(4096)?;
    let tap = Tap::open(&served.pair.peer)?;
    // As if the victim had sent them, the OS, another host, nobody.
    let mut foreign = Vec::new();
    for port in [lab::victim::PORT, 22, 0] {
        foreign.push(served.load(port, 1, 100).answer(0)?[14..].to_vec());
        foreign.push(served.load(port, 2, 100).answer(1)?[14..].to_vec());
    }
    let mut of_another = own(&served.load(PORT, 1, 100), 0)?;
    of_another[12..16].copy_from_slice(&[192, 0, 2, 66]);
    foreign.push(of_another);
    for (slot, packet) in (0..4096).zip(foreign.iter().cycle()) {
        hostile.put(slot, packet);
    }
    let end = victim.beside(|| {
        let mut end = 0_u32;
        // The ring is full again as soon as there is room.
        for _ in 0..20_000 {
            end = hostile.taken() + 4096;
            hostile.claim(end);
        }
        hostile.wait_taken(end)?;
        Ok(end)
    })?;
    let all = u64::from(end);
    is(&account(&mut served, &hostile)?, &[("tx_read", all), ("tx_not_owner", all)])?;
    ensure!(Served::frames_of(&tap, PORT)?.is_empty());
    drop(hostile);
    finish(served, victim)
}

#[test]
fn h06_whoever_reads_nothing_and_is_rung_in_vain_holds_nobody_up() -> Result<()> {
    let Some(_lab) = lab::require("h06_whoever_reads_nothing_and_is_rung_in_vain_holds_nobody_up", NEEDS)?
    else {
        return Ok(());
    };
    let (mut served, mut victim, mut hostile) = scene(64)?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    // A full ring drops, by name.
    let (first, rest) = (64, 436);
    victim.beside(|| {
        for n in 0..first + rest {
            tap.send(&load.frame(n)?)?;
            if n % 32 == 31 {
                // Only so many under way: what is lost is lost at its ring and nowhere else.
                lab::until("they are handed over", || {
                    Ok(n < first || hostile.counted("rx_ring_full") + first > n)
                })?;
            }
        }
        lab::until("all are counted", || Ok(hostile.counted("rx_ring_full") == rest))
    })?;
    is(&account(&mut served, &hostile)?, &[("rx_delivered", first), ("rx_ring_full", rest)])?;
    // From now on it reads, and is rung for every packet, and never takes a ring out of its bell.
    let mut count = first;
    victim.beside(|| {
        for n in 0..1000 {
            hostile.receive();
            hostile.store(hostile.up_at().rx_flags(), WAKE_ON_RX | WAKE_ON_TX_SPACE);
            tap.send(&load.frame(n)?)?;
            count += 1;
            lab::until("it comes", || Ok(u64::from(hostile.delivered()) == count))?;
        }
        Ok(())
    })?;
    let rung = hostile.rung()?;
    ensure!((100..1000).contains(&rung), "{rung} rings lie in its bell: it never was full");
    is(&account(&mut served, &hostile)?, &[("rx_delivered", count), ("rx_ring_full", rest)])?;
    drop(hostile);
    finish(served, victim)
}

#[test]
fn h09_memory_is_neither_taken_away_nor_added_and_a_hole_is_zeros() -> Result<()> {
    let Some(_lab) = lab::require("h09_memory_is_neither_taken_away_nor_added_and_a_hole_is_zeros", NEEDS)?
    else {
        return Ok(());
    };
    let (mut served, mut victim, mut hostile) = scene(256)?;
    let load = served.load(PORT, 1, 100);
    let good = own(&load, 0)?;
    let size = hostile.regions.shape.up_size() as i64;
    let whole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    // Everything but the indices.
    let behind = hostile.up_at().descriptor(0) as i64;
    victim.beside(|| {
        for length in [0, 4096, size - 1, size + 1, size * 2] {
            ensure!(ftruncate(&hostile.up, length).is_err(), "it has {length} bytes now");
        }
        ensure!(fallocate(&hostile.up, FallocateFlags::empty(), 0, size + 4096).is_err(), "it has grown");
        hostile.send([good.as_slice()])?;
        hostile.wait_taken(1)?;
        (1..64).for_each(|slot| hostile.put(slot, &good));
        fallocate(&hostile.up, whole, behind, size - behind).context("a hole")?;
        hostile.claim(64);
        hostile.wait_taken(64)
    })?;
    is(&account(&mut served, &hostile)?, &[("tx_read", 64), ("tx_sent", 1), ("tx_desc", 63)])?;
    // Holes while it is read.
    let up = hostile.up.try_clone()?;
    let end = victim.beside(|| {
        let punch = || {
            let _ = fallocate(&up, whole, behind, size - behind);
        };
        meanwhile(punch, || {
            let mut end = 64;
            for _ in 0..100 {
                (end..end + 100).for_each(|slot| hostile.put(slot, &good));
                end += 100;
                hostile.claim(end);
                hostile.wait_taken(end)?;
            }
            Ok(end)
        })
    })?;
    let books = account(&mut served, &hostile)?;
    ensure!(books.iter().any(|row| *row == ("tx_read".to_owned(), end.into())), "{books:?}");
    ensure!(hostile.state() == State::Live);
    // Where an index was there is a zero now, which is further back than the ring is long.
    victim.beside(|| {
        fallocate(&up, whole, 0, size).context("a hole")?;
        hostile.ring();
        hostile.wait_revoked()
    })?;
    drop(hostile);
    finish(served, victim)
}

#[test]
fn h10_a_violation_is_counted_told_and_takes_everything_from_its_session_alone() -> Result<()> {
    let id = "h10_a_violation_is_counted_told_and_takes_everything_from_its_session_alone";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let (mut served, mut victim, mut hostile) = scene(256)?;
    let more = hostile.udp(PORT + 1)?;
    let (tap, load) = (Tap::open(&served.pair.peer)?, served.load(PORT, 1, 100));
    let good = own(&load, 0)?;
    hostile.send([good.as_slice()])?;
    hostile.wait_taken(1)?;
    let before = served.drain()?;
    victim.beside(|| {
        hostile.claim(1_000_000);
        hostile.wait_revoked()?;
        // Told once, and not asked again.
        ensure!(hostile.control.poll_event()?.is_none());
        Ok(())
    })?;
    let reading = served.drain()?;
    ensure!(reading.sum("stack.violation") - before.sum("stack.violation") == 1);
    ensure!(reading.of_session(hostile.opened.slot).is_empty(), "its session is still there");
    ensure!(reading.of_ended().get("tx_sent") == Some(&1), "its books are lost: {:?}", reading.of_ended());
    ensure!(served.daemon.log().contains("broke the rules of its rings"));
    // The ports are the OS's, at once, and packets to them as well.
    for port in [PORT, PORT + 1] {
        let end = &served.pair.served;
        end.netns.enter(|| std::net::UdpSocket::bind((end.v4, port)))?.context("the port is not free")?;
    }
    let before = served.drain()?;
    tap.send(&load.frame(0)?)?;
    let sent = victim.sent();
    lab::until("it is passed", || {
        Ok(Reading::of(&mut served.daemon)?.sum("xdp.pass_miss") == before.sum("xdp.pass_miss") + 1)
    })?;
    ensure!(victim.sent() == sent);
    // What it writes now nobody reads, and its tuples are nobody's to release.
    hostile.claim(7);
    ensure!(hostile.release(more).is_err(), "it had nothing any more");
    ensure!(tuples(&mut served.daemon)?.iter().all(|row| row.port == lab::victim::PORT));
    drop(hostile);
    finish(served, victim)
}

#[test]
fn h11_a_flood_of_rings_costs_no_packet_and_ends_with_the_flood() -> Result<()> {
    let Some(_lab) = lab::require("h11_a_flood_of_rings_costs_no_packet_and_ends_with_the_flood", NEEDS)?
    else {
        return Ok(());
    };
    let (mut served, mut victim, hostile) = scene(256)?;
    let before = served.drain()?;
    let sent = victim.sent();
    victim.beside(|| {
        meanwhile(
            || hostile.ring(),
            || {
                // A daemon that answers is one that is not held up.
                (0..50).try_for_each(|_| served.daemon.status().map(drop))
            },
        )
    })?;
    // Rings that nobody took out are no work: the engine sleeps.
    lab::until("the engine sleeps", || {
        Ok(served.daemon.status()?.engines.iter().all(|engine| engine.state == "asleep"))
    })?;
    let rounds = |served: &mut Served| -> Result<u64> {
        Ok(served.daemon.status()?.engines.iter().map(|EngineRow { rounds, .. }| rounds).sum())
    };
    // Being asked wakes it; each time it goes back to sleep after its empty rounds, however full the bell still is.
    let first = rounds(&mut served)?;
    for _ in 0..10 {
        rounds(&mut served)?;
    }
    let cost = rounds(&mut served)? - first;
    ensure!(cost < 11 * 300, "{cost} rounds for eleven questions");
    let moves = crate::stacks::echoed_by_app(victim.sent() - sent);
    served.drain()?.moved(&before, &moves)?;
    ensure!(hostile.state() == State::Live);
    is(&account(&mut served, &hostile)?, &[])?;
    drop(hostile);
    finish(served, victim)
}
