//! Replacing the XDP programs under load: no frame is lost, claimed or not, and each arrives once and in order.
//!
//! The load is closed-loop: at most [`WINDOW`] frames are in flight, so a pause of the machine loses nothing and every
//! missing number is the replacement's fault.
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use abi::{
    counter::XdpCounter,
    port::PortConfig,
    steer::{SteerKey, Target, builtin, kind},
};
use anyhow::{Context as _, Result, ensure};
use ixp::port::{Port as _, PortId, Receive as _};
use octroi_tests::{
    lab::{self, Flow, Load, Need, Pair, PairOptions, Pins, Stamp, Tap, WINDOW, until},
    scale,
};
use xsk::{
    bpf::{AttachSpec, Attached, Bpffs, Instance, Object, XdpMode},
    socket::{InterfaceName, QueueConfig, XskPort, XskReceive},
};

const NEEDS: [Need; 4] = [Need::Netns, Need::Bpf, Need::AfXdp, Need::RawSockets];

const CLAIMED: u16 = 9;
const UNCLAIMED: u16 = 10;
const PAYLOAD: usize = 64;

/// Replacements in one round.
const REPLACEMENTS: u32 = 10;

fn open(pins: &Pins) -> Result<Instance> {
    Ok(Instance::open(&Bpffs::open()?, &pins.instance().parse()?)?)
}

/// What both threads know of each other.
#[derive(Default)]
struct Progress {
    /// Frames that arrived, claimed and unclaimed together.
    arrived: AtomicU64,
    /// All replacements were made.
    done: AtomicBool,
}

/// Replaces the programs again and again: by turns in place, and as a daemon that adopts the pinned link.
fn replace(mut attached: Attached, spec: &AttachSpec, pins: &Pins, progress: &Progress) -> Result<Attached> {
    let object = Object::embedded()?;
    let first = attached.ids()?;
    let mut last = first;
    for turn in 0..REPLACEMENTS {
        let seen = progress.arrived.load(Ordering::Acquire);
        until("frames arrive between two replacements", || {
            Ok(progress.arrived.load(Ordering::Acquire) != seen)
        })?;
        if turn % 2 == 0 {
            attached.replace(&object)?;
        } else {
            attached = open(pins)?.attach(spec)?;
        }
        let now = attached.ids()?;
        ensure!(now.link == first.link && now.program != last.program, "{last:?} became {now:?}");
        last = now;
    }
    Ok(attached)
}

/// The numbers of one flow, in the order in which they must arrive.
struct Numbers {
    load: Load,
    next: u64,
    expected: VecDeque<u64>,
}

impl Numbers {
    fn new(flow: Flow) -> Self {
        Self { load: Load::new(vec![flow], PAYLOAD), next: 0, expected: VecDeque::new() }
    }

    fn send(&mut self, tap: &Tap, count: u64) -> Result<()> {
        for n in self.next..self.next + count {
            tap.send(&self.load.frame(n)?)?;
            self.expected.push_back(n);
        }
        self.next += count;
        Ok(())
    }

    fn take(&mut self, frame: &[u8]) -> Result<()> {
        let stamp = Stamp::read(&frame[frame.len().saturating_sub(PAYLOAD)..]).context("a damaged frame")?;
        let wanted = self.expected.pop_front().context("a frame too many")?;
        ensure!(stamp.sequence == wanted, "number {} arrived instead of {wanted}", stamp.sequence);
        Ok(())
    }
}

/// Both flows in bursts of half a window each, until all replacements are made and all frames have arrived.
fn drive(pair: &Pair, queue: &mut XskReceive, progress: &Progress) -> Result<(u64, u64)> {
    let (from, to) = (Tap::open(&pair.peer)?, Tap::open(&pair.served)?);
    let flow = |port| Flow::v4(&pair.peer, 1000, &pair.served, port);
    let (mut claimed, mut unclaimed) = (Numbers::new(flow(CLAIMED)), Numbers::new(flow(UNCLAIMED)));
    let mut frames = Vec::new();
    while !progress.done.load(Ordering::Acquire) {
        claimed.send(&from, WINDOW / 2)?;
        unclaimed.send(&from, WINDOW / 2)?;
        until("every frame sent has arrived", || {
            queue.receive(&mut frames, WINDOW as usize)?;
            for frame in frames.drain(..) {
                claimed.take(frame.bytes())?;
                queue.recycle(frame);
                progress.arrived.fetch_add(1, Ordering::Release);
            }
            queue.refill()?;
            while let Some(frame) = to.receive(Instant::now())? {
                unclaimed.take(&frame)?;
                progress.arrived.fetch_add(1, Ordering::Release);
            }
            Ok(claimed.expected.is_empty() && unclaimed.expected.is_empty())
        })?;
    }
    Ok((claimed.next, unclaimed.next))
}

#[track_caller]
fn check(mode: XdpMode) -> Result<()> {
    let (pair, pins, progress) = (Pair::new(PairOptions::default())?, Pins::new()?, Progress::default());
    let config = PortConfig { mac: pair.served.mac.0, ..PortConfig::default() };
    let (ifname, ifindex) = (pair.served.ifname.clone(), pair.served.ifindex()?);
    let spec = AttachSpec { ifname, ifindex, mode, config };
    let (instance, attached, port) = pair.served.netns.enter(|| -> Result<_> {
        let instance = open(&pins)?;
        let attached = instance.attach(&spec)?;
        let queue = QueueConfig::new(InterfaceName::new(&spec.ifname)?, 0, PortId::new(0));
        Ok((instance, attached, XskPort::open(&queue)?))
    })??;
    attached.xsks()?.set(0, port.xsk_fd())?;
    let key = Flow::v4(&pair.peer, 1000, &pair.served, CLAIMED).to;
    let std::net::IpAddr::V4(address) = key.ip() else { anyhow::bail!("an IPv4 flow") };
    let sink = Target { kind: kind::BUILTIN, flags: 0, id: builtin::SINK, generation: 1, aux: 0 };
    instance.steering()?.put(SteerKey::v4(17, address.octets(), CLAIMED), sink)?;
    let (mut queue, _transmit) = port.split();

    let (sent, attached) = thread::scope(|scope| -> Result<_> {
        let replacing = scope.spawn(|| {
            let replaced = pair.served.netns.enter(|| replace(attached, &spec, &pins, &progress));
            progress.done.store(true, Ordering::Release);
            replaced?
        });
        let sent = drive(&pair, &mut queue, &progress);
        // A failed drive must not leave the other thread waiting for frames for long: it gives up by itself.
        let attached = replacing.join().map_err(|_| anyhow::anyhow!("replacing panicked"))?;
        Ok((sent?, attached?))
    })?;

    let counters = instance.counters()?.read()?;
    let moved: Vec<_> =
        XdpCounter::ALL.map(|c| (c, counters[c as usize])).into_iter().filter(|m| m.1 != 0).collect();
    let wanted =
        [(XdpCounter::Rx, sent.0 + sent.1), (XdpCounter::Redirect, sent.0), (XdpCounter::PassMiss, sent.1)];
    ensure!(moved == wanted, "counters {moved:?} instead of {wanted:?}");
    ensure!(pair.served.xdp_drops()? == 0, "the driver dropped frames");
    attached.xsks()?.clear(0)?;
    attached.detach_and_unpin()?;
    instance.unpin()?;
    ensure!(!pins.path().exists(), "left: {:?}", pins.list()?);
    Ok(())
}

/// Each round is watched by a guard of its own.
#[track_caller]
fn check_rounds(id: &'static str, mode: XdpMode) -> Result<()> {
    for _ in 0..scale::F04_ROUNDS.count() {
        let Some(_lab) = lab::require(id, &NEEDS)? else { return Ok(()) };
        check(mode)?;
    }
    Ok(())
}

#[test]
fn f04_replacing_the_xdp_programs_loses_nothing() -> Result<()> {
    check_rounds("f04_native", XdpMode::Native)
}

#[test]
fn f04_replacing_the_xdp_programs_loses_nothing_in_generic_mode() -> Result<()> {
    check_rounds("f04_generic", XdpMode::Generic)
}

#[test]
fn f04_an_object_that_does_not_load_changes_nothing() -> Result<()> {
    let Some(_lab) = lab::require("f04_broken_object", &[Need::Netns, Need::Bpf])? else { return Ok(()) };
    let pair = Pair::new(PairOptions::default())?;
    let config = PortConfig { mac: pair.served.mac.0, ..PortConfig::default() };
    let (ifname, ifindex) = (pair.served.ifname.clone(), pair.served.ifindex()?);
    let mut attached = pair.served.netns.enter(|| {
        Instance::unpinned()?.attach(&AttachSpec { ifname, ifindex, mode: XdpMode::Native, config })
    })??;
    let before = attached.ids()?;
    let mut broken = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut broken, b"no ELF file")?;
    ensure!(attached.replace(&Object::from_file(broken.path())?).is_err());
    ensure!(attached.ids()? == before, "{before:?} became {:?}", attached.ids()?);
    Ok(())
}
