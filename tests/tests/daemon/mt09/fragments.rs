//! Fragments: to the owner of their first, in whatever order, and from nobody.
use std::net::IpAddr;

use abi::{fragment::FragKey, rxmeta::flag, shm::desc::RxDesc};
use anyhow::{Context as _, Result, bail, ensure};
use octroi_tests::{
    corpus::layers::{Ext, Ip4, Ip6, transport},
    lab::{self, Config, Hostile, Served, Stamp, Tap},
};
use xsk::bpf::{Bpffs, Instance};

use super::{
    FIRST, NOBODYS, SECOND, Two, V, VERSIONS, account, account_of_port, frames, moved, next_at, nothing_at,
    out, send, told,
};
use crate::{
    NEEDS,
    stacks::{served, tuples},
};

/// A datagram of UDP, to be sent in three fragments.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    v: V,
    /// Told apart by the last byte of the sender's address.
    sender: u8,
    port: u16,
}

/// Of a UDP datagram of 60 bytes: where it begins in units of eight bytes, where it ends in bytes, whether more follows.
type Part = (u16, usize, u16);
const HEAD: Part = (0, 24, 1);
const MIDDLE: Part = (3, 48, 1);
const TAIL: Part = (6, 60, 0);

impl Datagram {
    /// The IP packet of one part, from or to the wire by addresses that are given.
    fn packet(self, from: IpAddr, to: IpAddr, (units, end, more): Part) -> Result<Vec<u8>> {
        let whole = transport(17, self.port, &Stamp { flow: self.port.into(), sequence: 1 }.payload(52));
        let part = &whole[usize::from(units) * 8..end];
        Ok(match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let (src, dst) = (from.octets(), to.octets());
                Ip4 { src, dst, fragment: units | more << 13, ..Ip4::new(17) }.packet(part)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let ip = Ip6 { src: from.octets(), dst: to.octets(), ..Ip6::new(17) };
                ip.behind(&[Ext::fragment(units << 3 | more)]).packet(part)
            }
            _ => bail!("two versions"),
        })
    }

    /// The frame of one part as it comes by the wire.
    fn frame(self, served: &Served, part: Part) -> Result<Vec<u8>> {
        let (peer, own) = (&served.pair.peer, &served.pair.served);
        let from: IpAddr = match self.v {
            V::Four => {
                let [a, b, c, _] = peer.tap_v4.octets();
                [a, b, c, self.sender].into()
            }
            V::Six => {
                let mut from = peer.tap_v6.octets();
                from[15] = self.sender;
                from.into()
            }
        };
        let ethertype: [u8; 2] = if self.v == V::Six { [0x86, 0xdd] } else { [8, 0] };
        let packet = self.packet(from, self.v.of(served), part)?;
        Ok([&own.mac.0[..], &peer.mac.0, &ethertype, &packet].concat())
    }

    /// What its owner is told of such a frame.
    fn told(self, frame: &[u8], part: Part, tuple: u16) -> RxDesc {
        // The fragment header of IPv6 is eight bytes.
        let (options, l4) = if self.v == V::Six { (flag::OPTIONS, 62) } else { (0, 34) };
        let flags = u16::from(self.v.flag() | options);
        match part {
            HEAD => told(frame, tuple, flags | u16::from(flag::FRAG_FIRST), l4),
            _ => told(frame, tuple, flags | u16::from(flag::FRAG_LATER), 0),
        }
    }
}

/// The moves of so many fragments that reach an application, and the first ones among them.
fn reached(all: u64, first: u64) -> Vec<(&'static str, u64)> {
    let mut moves: Vec<_> =
        ["xdp.rx", "xdp.redirect", "rx", "rx_from_meta", "delivered"].map(|name| (name, all)).into();
    moves.extend(
        [("xdp.frag_first", first), ("xdp.frag_later", all - first)].into_iter().filter(|m| m.1 != 0),
    );
    moves
}

#[test]
fn mt09_fragments_reach_the_owner_of_their_first_in_whatever_order() -> Result<()> {
    let id = "mt09_fragments_reach_the_owner_of_their_first_in_whatever_order";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let Two { mut one, mut other, numbers } = Two::new(&served)?;
    let tap = Tap::open(&served.pair.peer)?;
    let orders = [[HEAD, MIDDLE, TAIL], [HEAD, TAIL, MIDDLE], [TAIL, MIDDLE, HEAD]];
    for v in VERSIONS {
        for (order, sender) in orders.into_iter().zip(11..) {
            let datagram = Datagram { v, sender, port: FIRST };
            // What overtakes the first fragment is not known to be anybody's.
            let ahead = order.iter().take_while(|part| **part != HEAD).count();
            let sent = order.map(|part| Ok((part, datagram.frame(&served, part)?)));
            let sent = sent.into_iter().collect::<Result<Vec<_>>>()?;
            let before = served.drain()?;
            sent.iter().try_for_each(|(_, frame)| tap.send(frame))?;
            let got = one.wait_received(3 - ahead)?;
            let wanted: Vec<_> = sent[ahead..]
                .iter()
                .map(|(part, frame)| (datagram.told(frame, *part, numbers[0]), frame.clone()))
                .collect();
            ensure!(got == wanted, "{datagram:?} {order:?}: {got:02x?} is not {wanted:02x?}");
            let mut moves = reached(3 - ahead as u64, 1);
            if ahead != 0 {
                moves = [("xdp.pass_fragment", 2), ("xdp.frag_first", 1), ("xdp.rx", 3)]
                    .into_iter()
                    .chain(["xdp.redirect", "rx", "rx_from_meta", "delivered"].map(|name| (name, 1)))
                    .collect();
            }
            moved(&mut served, &before, &moves)?;
        }
        // Those that come after all belong to the last datagram, which is known now.
        let datagram = Datagram { v, sender: 13, port: FIRST };
        let before = served.drain()?;
        [TAIL, MIDDLE].into_iter().try_for_each(|part| tap.send(&datagram.frame(&served, part)?))?;
        ensure!(one.wait_received(2)?.iter().all(|(told, _)| told.tuple == numbers[0]));
        moved(&mut served, &before, &reached(2, 0))?;
    }
    let reading = served.drain()?;
    account(&reading, &one, &[("rx_delivered", 18)])?;
    account_of_port(&reading, FIRST, &[("rx_delivered", 18)])?;
    account(&reading, &other, &[])?;
    ensure!(other.receive().is_empty());
    nothing_at(&tap)?;
    drop((one, other));
    served.finish()
}

#[test]
fn mt09_a_datagram_that_changes_hands_ends_or_is_late_reaches_no_wrong_owner() -> Result<()> {
    let id = "mt09_a_datagram_that_changes_hands_ends_or_is_late_reaches_no_wrong_owner";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let Two { mut one, mut other, .. } = Two::new(&served)?;
    let tap = Tap::open(&served.pair.peer)?;
    let ours = Datagram { v: V::Four, sender: 11, port: FIRST };
    let theirs = Datagram { port: SECOND, ..ours };
    let nobodys = Datagram { port: NOBODYS, ..ours };
    let passed = |reason| [("xdp.rx", 1), (reason, 1)];

    // One number, three datagrams: what follows belongs to the last of them.
    for (datagram, part, wanted) in [
        (ours, HEAD, reached(1, 1)),
        (theirs, HEAD, reached(1, 1)),
        (ours, MIDDLE, reached(1, 0)),
        (nobodys, HEAD, passed("xdp.pass_miss").into()),
        (ours, TAIL, passed("xdp.pass_fragment").into()),
        (ours, HEAD, reached(1, 1)),
    ] {
        let before = served.drain()?;
        tap.send(&datagram.frame(&served, part)?)?;
        moved(&mut served, &before, &wanted).with_context(|| format!("{datagram:?} {part:?}"))?;
    }
    ensure!(one.wait_received(2)?.iter().all(|(told, _)| told.flags == u16::from(flag::FRAG_FIRST)));
    let got = other.wait_received(2)?;
    ensure!(
        [got[0].1.clone(), got[1].1.clone()] == [theirs.frame(&served, HEAD)?, ours.frame(&served, MIDDLE)?]
    );

    // Thirty seconds later, as far as the kernel is concerned.
    let instance = Instance::open(&Bpffs::open()?, &served.daemon.home().pins().instance().parse()?)?;
    let mut datagrams = instance.datagrams()?;
    let [a, b, c, _] = served.pair.peer.tap_v4.octets();
    let id = octroi_tests::corpus::layers::ID_V4;
    let key = FragKey::v4([a, b, c, ours.sender], served.pair.served.v4.octets(), id, 17);
    let known = datagrams.get(key)?.context("it is known")?;
    datagrams.put(abi::fragment::FragEntry { until_ns: 0, ..known })?;
    let before = served.drain()?;
    tap.send(&ours.frame(&served, TAIL)?)?;
    moved(&mut served, &before, &passed("xdp.pass_frag_expired"))?;
    drop((datagrams, instance));

    // Its owner goes, and another takes the port: what is left of the datagram is nobody's.
    tap.send(&ours.frame(&served, HEAD)?)?;
    one.wait_received(1)?;
    drop(one);
    lab::until("the port is free", || Ok(tuples(&mut served.daemon)?.iter().all(|row| row.port != FIRST)))?;
    let mut heir = Hostile::open(served.daemon.home())?;
    let number = heir.udp(FIRST)?;
    let before = served.drain()?;
    tap.send(&ours.frame(&served, MIDDLE)?)?;
    let stale = ["xdp.rx", "xdp.redirect", "xdp.frag_later", "rx", "rx_from_meta", "rx_stale"];
    moved(&mut served, &before, &stale.map(|name| (name, 1)))?;
    ensure!(heir.receive().is_empty(), "the heir got what was the other's");
    // Its own first fragment makes the rest its own.
    let before = served.drain()?;
    for part in [HEAD, TAIL] {
        tap.send(&ours.frame(&served, part)?)?;
    }
    let got = heir.wait_received(2)?;
    ensure!(got.iter().all(|(told, _)| told.tuple == number), "{got:02x?}");
    let reading = moved(&mut served, &before, &reached(2, 1))?;
    account(&reading, &heir, &[("rx_delivered", 2)])?;
    account(&reading, &other, &[("rx_delivered", 2)])?;
    ensure!(reading.of_ended() == [("rx_delivered", 3)].into_iter().collect(), "{:?}", reading.of_ended());
    drop((heir, other));
    served.finish()
}

#[test]
fn mt09_no_fragment_of_a_tuple_comes_after_its_release() -> Result<()> {
    let id = "mt09_no_fragment_of_a_tuple_comes_after_its_release";
    let Some(_lab) = lab::require(id, NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let mut one = Hostile::open(served.daemon.home())?;
    let (number, kept) = (one.udp(FIRST)?, one.udp(SECOND)?);
    let tap = Tap::open(&served.pair.peer)?;
    for v in VERSIONS {
        let (ours, stays) =
            (Datagram { v, sender: 11, port: FIRST }, Datagram { v, sender: 12, port: SECOND });
        for datagram in [ours, stays] {
            tap.send(&datagram.frame(&served, HEAD)?)?;
        }
    }
    ensure!(one.wait_received(4)?.iter().map(|(told, _)| told.tuple).eq([number, kept, number, kept]));
    one.release(number)?;
    for v in VERSIONS {
        let before = served.drain()?;
        tap.send(&Datagram { v, sender: 11, port: FIRST }.frame(&served, MIDDLE)?)?;
        let stale = ["xdp.rx", "xdp.redirect", "xdp.frag_later", "rx", "rx_from_meta", "rx_stale"];
        moved(&mut served, &before, &stale.map(|name| (name, 1)))?;
        // The session lives, and so do its other datagrams.
        let before = served.drain()?;
        tap.send(&Datagram { v, sender: 12, port: SECOND }.frame(&served, TAIL)?)?;
        ensure!(one.wait_received(1)?[0].0.tuple == kept);
        moved(&mut served, &before, &reached(1, 0))?;
    }
    drop(one);
    served.finish()
}

#[test]
fn mt09_no_application_sends_a_fragment() -> Result<()> {
    let Some(_lab) = lab::require("mt09_no_application_sends_a_fragment", NEEDS)? else { return Ok(()) };
    let mut served = served(&Config::default())?;
    let Two { mut one, mut other, .. } = Two::new(&served)?;
    let tap = Tap::open(&served.pair.peer)?;
    let mut refused = 0;
    for v in VERSIONS {
        // To the wire, and to the other application.
        for to in [v.away(&served), v.of(&served)] {
            let mut parts = vec![HEAD, MIDDLE, TAIL];
            // A fragment header in front of a whole packet (RFC 6946) makes it one as well; IPv4 has none such.
            parts.extend((v == V::Six).then_some((0, 60, 0)));
            for part in parts {
                let packet = Datagram { v, sender: 0, port: SECOND }.packet(v.of(&served), to, part)?;
                let before = served.drain()?;
                one.send([&packet[..]])?;
                moved(&mut served, &before, &[("submitted", 1), ("tx_fragment", 1)])
                    .with_context(|| format!("{v:?} {to} {part:?}"))?;
                refused += 1;
            }
        }
        // A whole one may say that nobody is to make fragments of it.
        let frame = &frames(&out(&served, v, FIRST), 1)?;
        ensure!(v == V::Six || frame[0][20] == 0x40, "{frame:02x?}");
        let before = served.drain()?;
        send(&mut one, frame)?;
        moved(&mut served, &before, &[("submitted", 1), ("transmitted", 1)])?;
        ensure!(next_at(&tap)? == frame[0]);
        nothing_at(&tap)?;
    }
    let reading = served.drain()?;
    account(&reading, &one, &[("tx_read", refused + 2), ("tx_fragment", refused), ("tx_sent", 2)])?;
    // Whose a fragment is, nobody asks.
    account_of_port(&reading, FIRST, &[("tx_read", 2), ("tx_sent", 2)])?;
    account(&reading, &other, &[])?;
    ensure!(other.receive().is_empty());
    drop((one, other));
    served.finish()
}
