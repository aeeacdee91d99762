//! What rows over a veth pair are measured with: a generator, and receivers that stand behind the same programs.
use std::{
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use abi::{
    pins::LAB_FLOOR,
    pktgen::Cursor,
    port::PortConfig,
    steer::{SteerKey, Target, builtin, kind},
};
use anyhow::{Context, Result, anyhow};
use octroi_tests::lab::{Pair, PairOptions};
use xsk::bpf::{AttachSpec, Attached, Instance, Lab, LabLink, QueueSockets, XdpMode};

use crate::{
    engine::{
        clock::{Monotonic, enter_netns, pin},
        drive::{Job, Sent},
        interface::Interface,
        live::LiveSender,
    },
    peer::bare::{Bare, Idle, Shape},
    traffic::{
        pace::Rate,
        plan::Plan,
        profile::{Mac, Order, Profile, Transport},
        size::{FrameSize, Mix},
        span::{AddrSpan, PortSpan},
    },
};

/// Where engines and receivers run.
pub(super) const ENGINE_CORE: usize = 0;
/// Where the generator runs, and with it XDP and the kernel's copy.
pub(super) const GENERATOR_CORE: usize = 1;
/// UDP port of the echo.
pub(super) const ECHO: u16 = 7;
/// UDP port of the sink.
pub(super) const SINK: u16 = 9;
/// Rings and packet memory of every receiver, ours and the peers'.
pub(super) const SHAPE: Shape = Shape { frames: 2048, ring: 1024, headroom: 16 };
/// Length of one run over a wire.
const RUN: Duration = Duration::from_millis(600);
/// How late the last frame of a trial may leave.
const SLACK: Duration = Duration::from_millis(10);
/// UDP's protocol number.
const UDP: u8 = 17;
/// Distinct (source, destination) pairs.
const FLOWS: u32 = 64;

/// A wire with nobody at its ends yet.
pub(super) fn pair() -> Result<Pair> {
    Pair::new(PairOptions::default()).context("two namespaces and a veth pair")
}

/// 60-byte frames from the peer end to a UDP port of the served end.
pub(super) fn plan(pair: &Pair, port: u16) -> Result<Plan> {
    let Pair { peer, served, .. } = pair;
    plan_between(peer.mac.0, served.mac.0, peer.v4.into(), served.v4.into(), port)
}

/// 60-byte frames to a UDP port, from 64 ports.
pub(super) fn plan_between(from: [u8; 6], to: [u8; 6], src: IpAddr, dst: IpAddr, port: u16) -> Result<Plan> {
    Ok(Plan::new(&profile(from, to, src, dst, port)?)?)
}

/// Frames of `mix` from the peer end to a UDP port of `dst`, by way of the served end.
pub(super) fn mixed_plan(pair: &Pair, dst: IpAddr, port: u16, mix: Mix) -> Result<Plan> {
    let Pair { peer, served, .. } = pair;
    let profile = profile(peer.mac.0, served.mac.0, peer.v4.into(), dst, port)?;
    Ok(Plan::new(&Profile { mix, ..profile })?)
}

/// Frames of one size to a UDP port, from 64 ports: between two ends, each an Ethernet and an IP address.
pub(super) fn plan_of(
    (from, src): ([u8; 6], IpAddr),
    (to, dst): ([u8; 6], IpAddr),
    port: u16,
    size: FrameSize,
) -> Result<Plan> {
    let profile = profile(from, to, src, dst, port)?;
    Ok(Plan::new(&Profile { mix: Mix::Fixed(size), ..profile })?)
}

fn profile(from: [u8; 6], to: [u8; 6], src: IpAddr, dst: IpAddr, port: u16) -> Result<Profile> {
    Ok(Profile {
        src_mac: Mac(from),
        dst_mac: Mac(to),
        tags: Vec::new(),
        transport: Transport::Udp,
        src: AddrSpan::one(src),
        dst: AddrSpan::one(dst),
        sport: "20000-20063".parse()?,
        dport: PortSpan::one(port),
        flows: FLOWS,
        order: Order::RoundRobin,
        mix: Mix::Fixed(FrameSize::new(64)?),
        seed: 1,
    })
}

/// The first frame of a plan, complete with lengths and checksums.
pub(super) fn first_frame(plan: &Plan) -> Vec<u8> {
    let mut frame = vec![0; plan.longest()];
    let len = plan.next(&mut Cursor::starting(0), 0, &mut frame);
    frame.truncate(len);
    frame
}

/// A sender at the peer end of a pair, as fast as the kernel makes frames.
pub(super) struct Flood<'a> {
    pair: &'a Pair,
    sender: LiveSender,
}

impl<'a> Flood<'a> {
    /// A sender of the frames of `plan`.
    pub(super) fn open(pair: &'a Pair, plan: &Plan) -> Result<Self> {
        let sender =
            pair.peer.netns.enter(|| LiveSender::open(&Interface::open(&pair.peer.ifname)?, plan))??;
        Ok(Self { pair, sender })
    }

    /// Sends for one run, on the generator's core.
    pub(super) fn send(&mut self) -> Result<Sent> {
        let job = Job::lasting(RUN.as_nanos() as u64, Rate::UNLIMITED);
        self.on_its_core(|sender| sender.send(&job, &Monotonic, &mut |_| {}))
    }

    /// Sends at a rate, in frames a second, for `length`: a count of frames, so that a clock's rounding is no loss.
    pub(super) fn at(&mut self, rate: f64, length: Duration) -> Result<Sent> {
        let frames = (rate * length.as_secs_f64()) as u64;
        let longest = (length + SLACK).as_nanos() as u64;
        let job = Job { frames: Some(frames), ..Job::lasting(longest, Rate::new(rate)?) };
        self.on_its_core(|sender| sender.send(&job, &Monotonic, &mut |_| {}))
    }

    /// Sends `frames` frames on the generator's core, and returns how long one took there.
    pub(super) fn time(&mut self, frames: u32) -> Result<Duration> {
        self.on_its_core(|sender| sender.time(frames))
    }

    fn on_its_core<T: Send>(&mut self, work: impl FnOnce(&mut LiveSender) -> Result<T> + Send) -> Result<T> {
        let Self { pair, sender } = self;
        pair.peer.netns.enter(|| {
            pin(GENERATOR_CORE)?;
            work(sender)
        })?
    }
}

/// Sends for one run.
pub(super) fn flood(pair: &Pair, plan: &Plan) -> Result<Sent> {
    Flood::open(pair, plan)?.send()
}

/// What stands before a bare receiver.
#[derive(Clone, Copy)]
pub(super) enum Before {
    /// Octroi's `ingress` and `steer`, with the echo's and the sink's tuple in the table.
    Steering,
    /// A program that redirects every frame unread.
    Floor,
}

/// What a bare program does.
pub(super) enum Work {
    /// Read and refill.
    Receive,
    /// Swap and send back.
    Swap,
    /// Send this frame again and again while the other is set.
    Send(Vec<u8>, Arc<AtomicBool>),
}

/// A bare AF_XDP program at work on the served end of a pair.
pub(super) struct BareRun {
    programs: Option<Programs>,
    socket: OwnedFd,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl BareRun {
    /// Starts the loop on the engine's core. No frame comes before [`BareRun::put`].
    pub(super) fn start(pair: &Pair, work: Work, idle: Idle, shape: Shape) -> Result<Self> {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (opened, socket) = mpsc::channel();
        let thread = std::thread::spawn({
            let (count, stop) = (Arc::clone(&count), Arc::clone(&stop));
            let (netns, ifname) = (pair.served.netns.name().to_owned(), pair.served.ifname.clone());
            move || {
                pin(ENGINE_CORE)?;
                enter_netns(&netns)?;
                let mut bare = Bare::open(&ifname, 0, shape, idle)?;
                // Whoever waits for it has given up only if it failed itself.
                opened.send(bare.socket()?).ok();
                match work {
                    Work::Receive => bare.receive(&stop, &count),
                    Work::Swap => bare.swap(&stop, &count),
                    Work::Send(frame, on) => bare.send(&frame, &on, &stop),
                }
            }
        });
        match socket.recv() {
            Ok(socket) => Ok(Self { programs: None, socket, count, stop, thread: Some(thread) }),
            Err(_) => Err(match thread.join() {
                Ok(Err(error)) => error,
                _ => anyhow!("the bare receiver ended without a word"),
            }),
        }
    }

    /// Puts programs before the receiver.
    pub(super) fn put(&mut self, pair: &Pair, before: Before) -> Result<()> {
        let socket = &self.socket;
        self.programs = Some(pair.served.netns.enter(|| Programs::attach(pair, before, socket))??);
        Ok(())
    }

    /// Its socket, for programs that somebody else puts before it, and takes away before it ends.
    pub(super) const fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Frames so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for BareRun {
    fn drop(&mut self) {
        // The programs leave the device before the socket that their map names is closed.
        self.programs = None;
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it says now, nobody measures any more.
            thread.join().ok();
        }
    }
}

/// An instance of its own, with the echo's and the sink's tuple of the served end in the table.
pub(super) fn steering(pair: &Pair) -> Result<Instance> {
    let instance = Instance::unpinned()?;
    for (port, id) in [(ECHO, builtin::ECHO), (SINK, builtin::SINK)] {
        let key = SteerKey::v4(UDP, pair.served.v4.octets(), port);
        let target = Target { kind: kind::BUILTIN, flags: 0, id, generation: 1, aux: 0 };
        instance.steering()?.put(key, target)?;
    }
    Ok(instance)
}

/// The programs on the served end, and what must live as long as they do.
#[allow(dead_code, reason = "held for their drop only")]
enum Programs {
    Steering(Box<(Attached, Instance)>),
    Floor(Box<(LabLink, Lab, QueueSockets)>),
}

impl Programs {
    /// Puts the programs on the served end, in whose namespace this runs, and `socket` behind them.
    fn attach(pair: &Pair, before: Before, socket: &OwnedFd) -> Result<Self> {
        let served = &pair.served;
        let ifindex = nix::net::if_::if_nametoindex(served.ifname.as_str())?;
        match before {
            Before::Steering => {
                let instance = steering(pair)?;
                let config = PortConfig { mac: served.mac.0, ..PortConfig::default() };
                let ifname = served.ifname.clone();
                let attached =
                    instance.attach(&AttachSpec { ifname, ifindex, mode: XdpMode::Native, config })?;
                attached.xsks()?.set(0, socket)?;
                Ok(Self::Steering(Box::new((attached, instance))))
            }
            Before::Floor => {
                let mut lab = Lab::load()?;
                let mut sockets = lab.take_floor_sockets()?;
                sockets.set(0, socket)?;
                let link = lab.attach(LAB_FLOOR, ifindex, XdpMode::Native)?;
                Ok(Self::Floor(Box::new((link, lab, sockets))))
            }
        }
    }
}
