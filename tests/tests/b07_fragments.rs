//! Fragments as they come: in order and out of it, overlapping, tiny, under a number used again, more than are kept.
//!
//! The XDP object, the slow twin and the oracle each keep their own memory of what came before, and must agree after every
//! frame. Whatever came before, a fragment goes to the owner of the last first fragment of its datagram, or to the OS.
use std::time::Duration;

use abi::{counter::XdpCounter, fragment::FRAG_ENTRIES, rxmeta::flag};
use anyhow::{Context as _, Result, ensure};
use octroi_tests::{
    corpus::{
        layers::{Ext, IPV4, IPV6, Ip4, Ip6, frame, transport},
        rng::Rng,
    },
    lab::{self, Need},
    scale::{B07_FRAMES, Seed},
};

mod datagrams;

use datagrams::{Judges, OWNERS, Owner, Piece, V};

const NEEDS: [Need; 2] = [Need::Bpf, Need::AfXdp];

/// UDP to the first owner's port, and to the second's.
const A: Owner = OWNERS[0];
const B: Owner = OWNERS[1];

fn to(owner: Owner) -> Result<Owner, XdpCounter> {
    Ok(owner)
}

const UNKNOWN: Result<Owner, XdpCounter> = Err(XdpCounter::PassFragment);
const MISS: Result<Owner, XdpCounter> = Err(XdpCounter::PassMiss);

#[test]
fn b07_every_fragment_goes_where_the_first_went() -> Result<()> {
    let Some(_lab) = lab::require("b07_in_order", &NEEDS)? else { return Ok(()) };
    let mut judges = Judges::new()?;
    for version in [V::Four, V::Six] {
        let datagram = Piece::of(version, A);
        judges.expect(&datagram.first(), to(A))?;
        for units in [4, 5, 100, 0x1ffe] {
            judges.expect(&datagram.later(units), to(A))?;
        }
        judges.expect(&datagram.last(0x1fff), to(A))?;
        // The datagram is not forgotten with its last fragment: others may come after that.
        judges.expect(&datagram.later(3), to(A))?;
    }
    Ok(())
}

#[test]
fn b07_a_fragment_that_overtakes_its_first_passes() -> Result<()> {
    let Some(_lab) = lab::require("b07_out_of_order", &NEEDS)? else { return Ok(()) };
    let mut judges = Judges::new()?;
    for version in [V::Four, V::Six] {
        let datagram = Piece::of(version, A);
        judges.expect(&datagram.last(9), UNKNOWN)?;
        judges.expect(&datagram.later(3), UNKNOWN)?;
        judges.expect(&datagram.first(), to(A))?;
        judges.expect(&datagram.last(9), to(A))?;
        judges.expect(&datagram.later(3), to(A))?;
    }
    Ok(())
}

#[test]
fn b07_a_number_used_again_belongs_to_the_last_first_fragment() -> Result<()> {
    let Some(_lab) = lab::require("b07_reused_id", &NEEDS)? else { return Ok(()) };
    let mut judges = Judges::new()?;
    for version in [V::Four, V::Six] {
        let (ours, theirs) = (Piece::of(version, A), Piece::of(version, B));
        let nobodys = Piece { port: 4242, ..ours };
        judges.expect(&ours.first(), to(A))?;
        judges.expect(&theirs.first(), to(B))?;
        judges.expect(&ours.later(3), to(B))?;
        judges.expect(&nobodys.first(), MISS)?;
        judges.expect(&ours.later(3), UNKNOWN)?;
        judges.expect(&ours.first(), to(A))?;
        judges.expect(&theirs.later(4), to(A))?;
        // Another number, sender or protocol is another datagram.
        for other in [
            Piece { id: ours.id ^ 1, ..ours },
            Piece { sender: ours.sender ^ 1, ..ours },
            Piece { protocol: 6, ..ours },
        ] {
            judges.expect(&other.later(3), UNKNOWN)?;
        }
        judges.expect(&ours.later(3), to(A))?;
    }
    Ok(())
}

#[test]
fn b07_no_fragment_can_write_over_the_ports_it_was_steered_by() -> Result<()> {
    let Some(_lab) = lab::require("b07_overlapping", &NEEDS)? else { return Ok(()) };
    let mut judges = Judges::new()?;
    for version in [V::Four, V::Six] {
        let (ours, theirs) = (Piece::of(version, A), Piece::of(version, B));
        judges.expect(&ours.first(), to(A))?;
        // The smallest offset there is lies behind the ports, whatever ports its bytes look like.
        judges.expect(&Piece { port: B.port, ..ours }.later(1), to(A))?;
        judges.expect(&ours.later(1), to(A))?;
        // The same first fragment again is the same datagram.
        judges.expect(&ours.first(), to(A))?;
        // One that overlaps the whole of it with other ports is another datagram, and takes what follows.
        judges.expect(&theirs.first(), to(B))?;
        judges.expect(&ours.later(1), to(B))?;
    }
    Ok(())
}

#[test]
fn b07_a_first_fragment_without_ports_is_nobodys() -> Result<()> {
    let Some(_lab) = lab::require("b07_tiny", &NEEDS)? else { return Ok(()) };
    let mut judges = Judges::new()?;
    for version in [V::Four, V::Six] {
        let datagram = Piece::of(version, A);
        for len in 0..8 {
            judges.expect(&datagram.first(), to(A))?;
            judges.expect(&datagram.tiny_first(len), Err(XdpCounter::PassBadHeader))?;
            judges.expect(&datagram.later(1), UNKNOWN)?;
        }
        judges.expect(&datagram.tiny_first(8), to(A))?;
        // The rest of the transport header, a byte at a time if need be.
        (1..8).try_for_each(|len| judges.expect(&datagram.tiny_later(1, len), to(A)))?;
    }
    Ok(())
}

#[test]
fn b07_a_datagram_is_waited_for_thirty_seconds() -> Result<()> {
    let Some(_lab) = lab::require("b07_expired", &NEEDS)? else { return Ok(()) };
    let mut judges = Judges::new()?;
    for version in [V::Four, V::Six] {
        let datagram = Piece::of(version, A);
        judges.expect(&datagram.first(), to(A))?;
        judges.age(&datagram, Duration::from_secs(29))?;
        judges.expect(&datagram.later(1), to(A))?;
        judges.age(&datagram, Duration::from_secs(1))?;
        judges.expect(&datagram.later(1), Err(XdpCounter::PassFragExpired))?;
        judges.expect(&datagram.first(), to(A))?;
        judges.expect(&datagram.later(1), to(A))?;
    }
    Ok(())
}

/// More datagrams than the map has entries.
const TOO_MANY: u32 = FRAG_ENTRIES + 4_000;
/// Of those begun last, the map knows at least so many, whatever it threw out for them.
const SURELY_KNOWN: u32 = FRAG_ENTRIES / 2;

#[test]
fn b07_a_full_map_forgets_datagrams_and_confuses_none() -> Result<()> {
    let Some(_lab) = lab::require("b07_overflow", &NEEDS)? else { return Ok(()) };
    let judges = Judges::new()?;
    let datagram = |n: u32| {
        let owner = OWNERS[n as usize % 2];
        (owner, Piece { id: n as u16, sender: (n >> 16) as u8, ..Piece::of(V::Four, owner) })
    };
    for n in 0..TOO_MANY {
        let (owner, piece) = datagram(n);
        ensure!(judges.xdp(&piece.first())?.0 == to(owner), "the first fragment of datagram {n}");
    }
    let entries = judges.entries()?;
    ensure!(entries <= FRAG_ENTRIES as usize, "{entries} entries");
    let mut known = 0;
    for n in 0..TOO_MANY {
        let (owner, piece) = datagram(n);
        let (found, _) = judges.xdp(&piece.later(3))?;
        ensure!(found == to(owner) || found == UNKNOWN, "datagram {n} of {owner:?}: {found:?}");
        ensure!(found == to(owner) || n < TOO_MANY - SURELY_KNOWN, "datagram {n} is forgotten");
        known += usize::from(found == to(owner));
    }
    ensure!(known == entries && known < TOO_MANY as usize, "{known} datagrams of {entries} entries");
    let counters = judges.counters()?;
    ensure!(counters[XdpCounter::FragFirst as usize] == u64::from(TOO_MANY));
    ensure!(counters[XdpCounter::FragNotKept as usize] == 0, "the map found nothing to throw out");
    Ok(())
}

#[test]
fn b07_options_and_chains_up_to_the_bound_are_stepped_over() -> Result<()> {
    let Some(_lab) = lab::require("b07_options", &NEEDS)? else { return Ok(()) };
    let mut judges = Judges::new()?;
    let udp = transport(17, A.port, &[0x55; 32]);
    for words in 0..=10 {
        let ip = Ip4 { options: vec![1; 4 * words], ..Ip4::new(17) };
        for (fragment, l4_off) in [(0x2000, 34 + 4 * words), (0x2001, 0), (0x0005, 0)] {
            let packet = Ip4 { fragment, ..ip.clone() }.packet(&udp);
            let (found, meta) = judges.all(&frame(&[], IPV4, &packet))?;
            let meta = meta.with_context(|| format!("{words} words of options: {found:?}"))?;
            ensure!(found == to(A) && usize::from(meta.l4_off) == l4_off, "{words}: {found:?} {meta:?}");
            ensure!((meta.flags & flag::OPTIONS != 0) == (words != 0), "{words}: {meta:?}");
        }
    }
    for headers in 0..=5 {
        let before = vec![Ext::new(60, 16); headers];
        let mut expect = |after: &[Ext], word: u16, wanted: Result<usize, XdpCounter>| -> Result<()> {
            let chain = [&before[..], &[Ext::fragment(word)], after].concat();
            let (found, meta) = judges.all(&frame(&[], IPV6, &Ip6::new(17).behind(&chain).packet(&udp)))?;
            let got = found.map(|owner| (owner, meta.map_or(0, |meta| usize::from(meta.l4_off))));
            ensure!(got == wanted.map(|l4_off| (A, l4_off)), "{headers} headers, {word:#x}: {got:?}");
            Ok(())
        };
        let too_long = Err(XdpCounter::PassExtHeader);
        let within = |limit, l4_off| if headers <= limit { Ok(l4_off) } else { too_long };
        expect(&[], 1, within(3, 14 + 40 + 16 * headers + 8))?;
        expect(&[], 0x29, within(3, 0))?;
        expect(&[Ext::new(60, 8)], 1, within(2, 14 + 40 + 16 * headers + 16))?;
        // What looks like a header in a later fragment is none, so it is not counted; its identity has another number.
        let later = if 3 < headers {
            too_long
        } else if headers < 3 {
            Ok(0)
        } else {
            Err(XdpCounter::PassFragment)
        };
        expect(&[Ext::new(60, 8)], 0x29, later)?;
        judges.forget()?;
    }
    Ok(())
}

/// Frames for which the watch over a hanging test lasts.
const WATCH: u64 = 50_000;

#[test]
fn b07_random_fragments_never_reach_a_wrong_owner() -> Result<()> {
    let seed = Seed::get();
    let mut rng = Rng::new(seed);
    let (mut delivered, mut passed) = (0, 0);
    for begin in (0..B07_FRAMES.count()).step_by(WATCH as usize) {
        let Some(_lab) = lab::require("b07_random", &NEEDS)? else { return Ok(()) };
        let mut judges = Judges::new()?;
        for n in begin..B07_FRAMES.count().min(begin + WATCH) {
            let piece = Piece::random(&mut rng);
            let frame = piece.random_frame(&mut rng);
            let (found, meta) =
                judges.all(&frame).with_context(|| format!("{seed}, frame {n}, {piece:?}"))?;
            match meta {
                Some(meta) if meta.flags & flag::FRAG_LATER != 0 => delivered += 1,
                _ if found == UNKNOWN => passed += 1,
                _ => {}
            }
        }
    }
    ensure!(B07_FRAMES.count() / 20 < delivered.min(passed), "{delivered} followed, {passed} did not");
    Ok(())
}
