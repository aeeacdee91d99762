//! Pieces of datagrams, and three judges who each remember what came before.
//!
//! The judges run side by side and never look at each other's memory: the XDP object has its map, the twin its bounded
//! memory, the oracle a map without bound.
use std::{cell::RefCell, collections::BTreeMap, os::fd::OwnedFd, time::Duration};

use abi::{
    counter::XdpCounter,
    fragment::{FRAG_ENTRIES, FragEntry, FragKey},
    pins::PROG_INGRESS,
    port::PortConfig,
    rxmeta::RxMeta,
    steer::{SteerKey, Target, kind},
};
use anyhow::{Context as _, Result, bail, ensure};
use multistack::{
    fragment::{Change, Datagrams as Memory},
    steer::{Outcome, steer_among},
};
use nix::time::{ClockId, clock_gettime};
use octroi_tests::{
    corpus::{
        layers::{Ext, IPV4, IPV6, Ip4, Ip6, MAC, PEER_V4, PEER_V6, V4, V6, frame, transport},
        rng::Rng,
    },
    judge::{Judgement, ensure_changed, reason},
    oracle,
};
use xsk::bpf::{Counters, Counts, Datagrams, Input, Instance, Loaded, Verdict, unbound_socket};
use zerocopy::FromBytes as _;

/// Whose a tuple is: UDP and TCP to a port, over both versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) port: u16,
    pub(crate) id: u16,
}

/// All owners.
pub(crate) const OWNERS: [Owner; 2] = [Owner { port: 7, id: 1 }, Owner { port: 8, id: 2 }];

fn table() -> BTreeMap<SteerKey, Target> {
    let of = |Owner { port, id }: Owner| {
        let target = Target { kind: kind::STACK, flags: 0, id, generation: 0x100 + id, aux: 0 };
        [6, 17]
            .into_iter()
            .flat_map(move |proto| [SteerKey::v4(proto, V4, port), SteerKey::v6(proto, V6, port)])
            .map(move |key| (key, target))
    };
    OWNERS.into_iter().flat_map(of).collect()
}

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum V {
    Four,
    Six,
}

/// A datagram, of which frames are pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) version: V,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
    pub(crate) id: u16,
    /// Told apart by a byte of the address.
    pub(crate) sender: u8,
}

impl Piece {
    /// A datagram of UDP to this owner.
    pub(crate) fn of(version: V, owner: Owner) -> Self {
        Self { version, protocol: 17, port: owner.port, id: 0x0a0b, sender: 7 }
    }

    /// One of few, so that pieces meet.
    pub(crate) fn random(rng: &mut Rng) -> Self {
        Self {
            version: *rng.pick(&[V::Four, V::Six]),
            protocol: *rng.pick(&[17, 17, 6, 132]),
            port: *rng.pick(&[7, 8, 4242]),
            id: *rng.pick(&[1, 2]),
            sender: *rng.pick(&[1, 2]),
        }
    }

    pub(crate) fn first(&self) -> Vec<u8> {
        self.frame(0, true, &self.segment())
    }

    /// A middle fragment, at so many times eight bytes. Its payload looks like a header.
    pub(crate) fn later(&self, units: u16) -> Vec<u8> {
        self.frame(units, true, &self.segment())
    }

    pub(crate) fn last(&self, units: u16) -> Vec<u8> {
        self.frame(units, false, &self.segment())
    }

    pub(crate) fn tiny_first(&self, len: usize) -> Vec<u8> {
        self.frame(0, true, &self.segment()[..len])
    }

    pub(crate) fn tiny_later(&self, units: u16, len: usize) -> Vec<u8> {
        self.frame(units, true, &self.segment()[..len])
    }

    /// Any piece, seldom one that is not quite right.
    pub(crate) fn random_frame(&self, rng: &mut Rng) -> Vec<u8> {
        let units = *rng.pick(&[0, 0, 1, 2, 0x1fff]);
        let len = if rng.once_in(8) { rng.below(12) } else { 24 };
        let segment = self.segment();
        let mut frame = self.frame(units, !rng.once_in(3), &segment[..len.min(segment.len())]);
        if rng.once_in(16) {
            let at = 14 + rng.below(frame.len() - 14);
            frame[at] ^= 1 << rng.below(8);
        }
        frame
    }

    fn segment(&self) -> Vec<u8> {
        transport(self.protocol, self.port, &[0x55; 16])
    }

    fn frame(&self, units: u16, more: bool, payload: &[u8]) -> Vec<u8> {
        match self.version {
            V::Four => {
                let fragment = units | if more { 0x2000 } else { 0 };
                let ip = Ip4 { src: self.src_v4(), fragment, ..Ip4::new(self.protocol) };
                let mut packet = ip.packet(payload);
                packet[4..6].copy_from_slice(&self.id.to_be_bytes());
                frame(&[], IPV4, &packet)
            }
            V::Six => {
                let mut header = Ext::fragment(units << 3 | u16::from(more));
                header.data[2..].copy_from_slice(&u32::from(self.id).to_be_bytes());
                let ip = Ip6 { src: self.src_v6(), ..Ip6::new(self.protocol) };
                frame(&[], IPV6, &ip.behind(&[header]).packet(payload))
            }
        }
    }

    fn src_v4(&self) -> [u8; 4] {
        let [a, b, c, _] = PEER_V4;
        [a, b, c, self.sender]
    }

    fn src_v6(&self) -> [u8; 16] {
        let mut src = PEER_V6;
        src[15] = self.sender;
        src
    }

    fn key(&self) -> FragKey {
        match self.version {
            V::Four => FragKey::v4(self.src_v4(), V4, self.id, self.protocol),
            V::Six => FragKey::v6(self.src_v6(), V6, u32::from(self.id), self.protocol),
        }
    }
}

/// Who gets a frame, or why the OS does.
pub(crate) type Found = Result<Owner, XdpCounter>;

/// The XDP object, the slow twin and the oracle, and what each remembers.
pub(crate) struct Judges {
    port: PortConfig,
    table: BTreeMap<SteerKey, Target>,
    loaded: Loaded,
    counters: Counters,
    map: RefCell<Datagrams>,
    twin: Memory,
    oracle: BTreeMap<FragKey, FragEntry>,
    _socket: OwnedFd,
}

impl Judges {
    pub(crate) fn new() -> Result<Self> {
        let port = PortConfig { mac: MAC, ..PortConfig::default() };
        let (instance, table) = (Instance::unpinned()?, table());
        let loaded = instance.load(port)?;
        let mut steering = instance.steering()?;
        table.iter().try_for_each(|(&key, &target)| steering.put(key, target))?;
        let socket = unbound_socket()?;
        loaded.xsks()?.set(0, &socket)?;
        Ok(Self {
            port,
            table,
            loaded,
            counters: instance.counters()?,
            map: RefCell::new(instance.datagrams()?),
            twin: Memory::new(FRAG_ENTRIES as usize),
            oracle: BTreeMap::new(),
            _socket: socket,
        })
    }

    /// All judges say this of the frame.
    #[track_caller]
    pub(crate) fn expect(&mut self, frame: &[u8], wanted: Found) -> Result<()> {
        let (found, _) = self.all(frame)?;
        ensure!(found == wanted, "{found:?} instead of {wanted:?}: {frame:02x?}");
        Ok(())
    }

    /// What all judges say of the frame, and its metadata.
    pub(crate) fn all(&mut self, frame: &[u8]) -> Result<(Found, Option<RxMeta>)> {
        let now = now()?;
        let (outcome, change) = steer_among(frame, &self.port, &self.table, &self.twin, now);
        self.twin.apply(change);
        let twin = match outcome {
            Outcome::Redirect { meta, .. } => Judgement::Redirect(meta),
            Outcome::Pass(reason) => Judgement::Pass(reason),
        };
        let (oracle, changed) = oracle::steer(frame, &self.port, &self.table, &self.oracle, now);
        match changed {
            Change::None => {}
            Change::Enter(entry) => drop(self.oracle.insert(entry.key, entry)),
            Change::Forget(key) => drop(self.oracle.remove(&key)),
        }
        ensure!(
            twin == oracle && change == changed,
            "twin {twin:?} {change:?}, oracle {oracle:?} {changed:?}"
        );
        let (found, meta) = self.xdp(frame)?;
        let xdp = match (found, meta) {
            (Err(reason), _) => Judgement::Pass(reason),
            (Ok(_), meta) => Judgement::Redirect(meta.context("no metadata")?),
        };
        ensure!(xdp == oracle, "XDP {xdp:?}, oracle {oracle:?}: {frame:02x?}");
        if let Change::Enter(FragEntry { key, .. }) | Change::Forget(key) = change {
            ensure_changed(&change, self.map.borrow().get(key)?)?;
        }
        Ok((found, meta))
    }

    /// What the XDP object alone says.
    pub(crate) fn xdp(&self, frame: &[u8]) -> Result<(Found, Option<RxMeta>)> {
        let before = self.counters.read()?;
        let run = Input::new(frame).run(self.loaded.program(PROG_INGRESS)?)?;
        match run.verdict {
            Verdict::Redirect => {
                let (meta, rest) = run.split_meta(frame.len()).context("redirected without metadata")?;
                ensure!(rest == frame, "the frame was changed");
                let Ok(meta) = RxMeta::read_from_bytes(meta) else { bail!("not 16 bytes") };
                let owner = OWNERS.into_iter().find(|owner| owner.id == meta.id);
                Ok((Ok(owner.context("nobody's id")?), Some(meta)))
            }
            Verdict::Pass => {
                ensure!(run.bytes == frame, "passed, but not as it came");
                let mut moved = self.counters.read()?;
                moved.iter_mut().zip(before).for_each(|(after, before)| *after -= before);
                Ok((Err(reason(&moved)?), None))
            }
            other => bail!("{other:?}"),
        }
    }

    /// Lets time pass for one datagram, as far as every memory is concerned.
    pub(crate) fn age(&mut self, piece: &Piece, by: Duration) -> Result<()> {
        let by = by.as_nanos() as u64;
        let mut map = self.map.borrow_mut();
        let mut entry = map.get(piece.key())?.context("not known")?;
        entry.until_ns -= by;
        map.put(entry)?;
        self.twin.apply(Change::Enter(entry));
        self.oracle.insert(entry.key, entry);
        Ok(())
    }

    /// Every memory is empty again.
    pub(crate) fn forget(&mut self) -> Result<()> {
        let mut map = self.map.borrow_mut();
        map.list()?.into_iter().try_for_each(|entry| map.delete(entry.key))?;
        (self.twin, self.oracle) = (Memory::new(FRAG_ENTRIES as usize), BTreeMap::new());
        Ok(())
    }

    /// Datagrams that the XDP object knows.
    pub(crate) fn entries(&self) -> Result<usize> {
        Ok(self.map.borrow().list()?.len())
    }

    pub(crate) fn counters(&self) -> Result<Counts> {
        Ok(self.counters.read()?)
    }
}

fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}
