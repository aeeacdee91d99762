//! RT10: replacing the header program under load loses nothing, and each frame is judged by exactly one version.
//!
//! Three flows, closed-loop: claimed and accepted, claimed and rejected, unclaimed. The versions are of two filters by
//! turns, whose classes differ; a frame's generation says which one it met, and its class must be that one's.
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use abi::{
    counter::XdpCounter,
    port::PortConfig,
    rxmeta::RxMeta,
    steer::{SteerKey, Target, builtin, kind},
};
use anyhow::{Context as _, Result, ensure};
use ixp::port::{Port as _, PortId, Receive as _};
use octroi_tests::lab::{self, End, Flow, Load, Need, Pair, PairOptions, Tap, WINDOW, until};
use ruler::{
    bundle::Bundle,
    dag::{Dag, Limits},
    ebpf::{
        Counter, Scope, Settings,
        limits::{self, Loaded},
    },
    resolved::Filter,
};
use xsk::{
    bpf::{
        AttachSpec, Counters, HeaderCounters, HeaderMaps, HeaderProgram, HeaderRefused, HeaderSlot, Instance,
        XdpMode,
    },
    socket::{InterfaceName, QueueConfig, XskPort, XskReceive},
};

const NEEDS: [Need; 4] = [Need::Netns, Need::Bpf, Need::AfXdp, Need::RawSockets];

const ACCEPTED: u16 = 7;
const REJECTED: u16 = 8;
const UNCLAIMED: u16 = 10;
const PAYLOAD: usize = 64;
/// Versions after the first; each is a generation of its own.
const REPLACEMENTS: u8 = 100;

/// The same verdicts, by other tests: the class of an accepted frame is another node.
const SOURCES: [&str; 2] = [
    r#"include "layouts.rli" filter one
       Ethernet_IPv4 IPv4_UDP UDP with [dest=7~2] * => accept;
       Ethernet_IPv4 IPv4_UDP UDP with [dest=8~2] * => reject;
       * => accept;"#,
    r#"include "layouts.rli" filter two
       Ethernet_ARP * => accept;
       Ethernet_IPv6 IPv6 * => accept 6;
       Ethernet_IPv4 IPv4_TCP * => accept 3;
       Ethernet_IPv4 IPv4_UDP UDP with [dest=8~2] * => reject;
       Ethernet_IPv4 IPv4_UDP UDP with [dest=9~2] * => reject;
       * => accept;"#,
];

/// A filter and its DAG.
struct Version {
    filter: Filter,
    dag: Dag,
}

impl Version {
    fn new(source: &str) -> Result<Self> {
        let (mut filters, found) = ruler::resolve(&Bundle::new("version.rl", source));
        let filter = filters.pop().with_context(|| format!("{found:?}"))?;
        Ok(Self { dag: Dag::build(&filter, &Limits::default()), filter })
    }

    /// Its program, from now on in the slot; the counters are the program's own.
    fn install(&self, slot: &HeaderSlot, counters: &Counters, class_gen: u8) -> Result<HeaderCounters> {
        let rules = HeaderCounters::create(Counter::entries(u16::try_from(self.filter.rules.len())?))?;
        let maps = HeaderMaps::new(slot, &rules, counters);
        let settings = Settings { scope: Scope::Steered, pass: &[], class_gen };
        let (_, loaded) = limits::fit(&self.filter, &self.dag, &settings, |program| {
            let program = HeaderProgram::load(&program.words(), maps)?;
            let verified = program.verified_instructions();
            Ok::<_, HeaderRefused>(Loaded { program, verified })
        })?;
        slot.set(loaded.program)?;
        Ok(rules)
    }
}

/// What both threads know of each other.
#[derive(Default)]
struct Progress {
    arrived: AtomicU64,
    done: AtomicBool,
}

/// Puts one version after the other into the slot; frames arrive between any two. Each one's counters, in order.
fn replace(
    versions: &[Version; 2],
    slot: &HeaderSlot,
    counters: &Counters,
    progress: &Progress,
) -> Result<Vec<HeaderCounters>> {
    let mut all = Vec::new();
    for class_gen in 1..=REPLACEMENTS {
        let seen = progress.arrived.load(Ordering::Acquire);
        until("frames arrive between two replacements", || {
            Ok(progress.arrived.load(Ordering::Acquire) != seen)
        })?;
        all.push(versions[usize::from(class_gen) % 2].install(slot, counters, class_gen)?);
    }
    Ok(all)
}

/// How many frames of each flow were sent, and the generations that accepted ones met.
struct Driven {
    each: u64,
    generations: u8,
}

/// Bursts of all flows until the last version is there and every frame that may arrive has.
fn drive(
    pair: &Pair,
    queue: &mut XskReceive,
    versions: &[Version; 2],
    progress: &Progress,
) -> Result<Driven> {
    let (from, to) = (Tap::open(&pair.peer)?, Tap::open(&pair.served)?);
    let load = |port| Load::new(vec![Flow::v4(&pair.peer, 1000, &pair.served, port)], PAYLOAD);
    let [accepted, rejected, unclaimed] = [ACCEPTED, REJECTED, UNCLAIMED].map(load);
    let (mut sent, mut last, mut generations) = (0, 0, 1);
    let (mut next, mut next_unclaimed) = (0, 0);
    let mut frames = Vec::new();
    while !progress.done.load(Ordering::Acquire) {
        for number in sent..sent + WINDOW / 4 {
            for load in [&accepted, &rejected, &unclaimed] {
                from.send(&load.frame(number)?)?;
            }
        }
        sent += WINDOW / 4;
        until("every frame sent has arrived", || {
            queue.receive(&mut frames, WINDOW as usize)?;
            for frame in frames.drain(..) {
                ensure!(frame.bytes() == accepted.frame(next)?, "number {next} did not arrive");
                let meta: RxMeta = frame.meta().context("no metadata")?;
                let class = versions[usize::from(meta.class_gen) % 2].dag.eval(frame.bytes()).leaf.0;
                ensure!(meta.class == class, "{meta:?}, not class {class}");
                ensure!(last <= meta.class_gen, "generation {} after {last}", meta.class_gen);
                generations += u8::from(last != meta.class_gen);
                (last, next) = (meta.class_gen, next + 1);
                queue.recycle(frame);
                progress.arrived.fetch_add(1, Ordering::Release);
            }
            queue.refill()?;
            while let Some(frame) = to.receive(Instant::now())? {
                ensure!(frame == unclaimed.frame(next_unclaimed)?, "number {next_unclaimed} did not pass");
                next_unclaimed += 1;
            }
            Ok(next == sent && next_unclaimed == sent)
        })?;
    }
    Ok(Driven { each: sent, generations })
}

fn claim(instance: &Instance, served: &End, port: u16) -> Result<()> {
    let sink = Target { kind: kind::BUILTIN, flags: 0, id: builtin::SINK, generation: 1, aux: 0 };
    Ok(instance.steering()?.put(SteerKey::v4(17, served.v4.octets(), port), sink)?)
}

#[track_caller]
fn check(id: &'static str, mode: XdpMode) -> Result<()> {
    let Some(_lab) = lab::require(id, &NEEDS)? else { return Ok(()) };
    let (pair, progress) = (Pair::new(PairOptions::default())?, Progress::default());
    let config = PortConfig { mac: pair.served.mac.0, ..PortConfig::default() };
    let (ifname, ifindex) = (pair.served.ifname.clone(), pair.served.ifindex()?);
    let spec = AttachSpec { ifname, ifindex, mode, config };
    let (instance, attached, port) = pair.served.netns.enter(|| -> Result<_> {
        let instance = Instance::unpinned()?;
        let attached = instance.attach(&spec)?;
        let queue = QueueConfig::new(InterfaceName::new(&spec.ifname)?, 0, PortId::new(0));
        Ok((instance, attached, XskPort::open(&queue)?))
    })??;
    attached.xsks()?.set(0, port.xsk_fd())?;
    claim(&instance, &pair.served, ACCEPTED)?;
    claim(&instance, &pair.served, REJECTED)?;
    let versions = [Version::new(SOURCES[0])?, Version::new(SOURCES[1])?];
    let (slot, counters) = (attached.header_slot()?, instance.counters()?);
    let first = versions[0].install(&slot, &counters, 0)?;
    let (mut queue, _transmit) = port.split();

    let (driven, mut programs) = thread::scope(|scope| -> Result<_> {
        let replacing = scope.spawn(|| {
            let replaced = replace(&versions, &slot, &counters, &progress);
            progress.done.store(true, Ordering::Release);
            replaced
        });
        let driven = drive(&pair, &mut queue, &versions, &progress);
        // A failed drive must not leave the other thread waiting for frames for long: it gives up by itself.
        let programs = replacing.join().map_err(|_| anyhow::anyhow!("replacing panicked"))?;
        Ok((driven?, programs?))
    })?;

    let Driven { each, generations } = driven;
    let counts = counters.read()?;
    let moved: Vec<_> =
        XdpCounter::ALL.map(|c| (c, counts[c as usize])).into_iter().filter(|m| m.1 != 0).collect();
    let wanted = [
        (XdpCounter::Rx, 3 * each),
        (XdpCounter::Redirect, each),
        (XdpCounter::PassMiss, each),
        (XdpCounter::RulerReject, each),
    ];
    ensure!(moved == wanted, "counters {moved:?} instead of {wanted:?}");
    // Each frame was judged once, whichever version it met.
    programs.push(first);
    let judged = programs.iter().map(|rules| Ok(rules.read()?.iter().sum::<u64>())).sum::<Result<u64>>()?;
    ensure!(judged == 3 * each, "{judged} decisions on {} frames", 3 * each);
    ensure!(1 < generations, "all frames met one generation");
    // In generic mode it is not the driver that drops.
    let dropped = if mode == XdpMode::Native { each } else { 0 };
    ensure!(pair.served.xdp_drops()? == dropped, "the driver dropped other frames than the rejected ones");
    slot.clear()?;
    attached.xsks()?.clear(0)?;
    Ok(())
}

#[test]
fn rt10_replacing_the_header_program_loses_nothing() -> Result<()> {
    check("rt10_native", XdpMode::Native)
}

#[test]
fn rt10_replacing_the_header_program_loses_nothing_in_generic_mode() -> Result<()> {
    check("rt10_generic", XdpMode::Generic)
}
