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
    peer::bare::{Bare, Shape},
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
/// Length of one run.
const RUN: Duration = Duration::from_millis(600);
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
    Ok(Plan::new(&Profile {
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
    })?)
}

/// The first frame of a plan, complete with lengths and checksums.
pub(super) fn first_frame(plan: &Plan) -> Vec<u8> {
    let mut frame = vec![0; plan.longest()];
    let len = plan.next(&mut Cursor::starting(0), 0, &mut frame);
    frame.truncate(len);
    frame
}

/// Sends for one run as fast as the kernel makes frames.
pub(super) fn flood(pair: &Pair, plan: &Plan) -> Result<Sent> {
    pair.peer.netns.enter(|| {
        pin(GENERATOR_CORE)?;
        let mut sender = LiveSender::open(&Interface::open(&pair.peer.ifname)?, plan)?;
        let job = Job::lasting(RUN.as_nanos() as u64, Rate::UNLIMITED);
        sender.send(&job, &Monotonic, &mut |_| {})
    })?
}

/// What stands before a bare receiver.
#[derive(Clone, Copy)]
pub(super) enum Before {
    /// Octroi's `ingress` and `steer`, with the echo's and the sink's tuple in the table.
    Steering,
    /// A program that redirects every frame unread.
    Floor,
}

/// What a bare receiver does.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// Read and refill.
    Receive,
    /// Swap and send back.
    Swap,
}

/// A bare AF_XDP program at work on the served end of a pair.
pub(super) struct BareRun {
    programs: Option<Programs>,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl BareRun {
    /// Starts the loop on the engine's core and lets frames come.
    pub(super) fn start(pair: &Pair, before: Before, work: Work) -> Result<Self> {
        let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (opened, socket) = mpsc::channel();
        let thread = std::thread::spawn({
            let (count, stop) = (Arc::clone(&count), Arc::clone(&stop));
            let (netns, ifname) = (pair.served.netns.name().to_owned(), pair.served.ifname.clone());
            move || {
                pin(ENGINE_CORE)?;
                enter_netns(&netns)?;
                let mut bare = Bare::open(&ifname, 0, SHAPE)?;
                // Whoever waits for it has given up only if it failed itself.
                opened.send(bare.socket()?).ok();
                match work {
                    Work::Receive => bare.receive(&stop, &count),
                    Work::Swap => bare.swap(&stop, &count),
                }
            }
        });
        let mut run = Self { programs: None, count, stop, thread: Some(thread) };
        let Ok(socket) = socket.recv() else { return Err(run.ended()) };
        run.programs = Some(pair.served.netns.enter(|| Programs::attach(pair, before, &socket))??);
        Ok(run)
    }

    /// Frames so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Why the thread ended before it began.
    fn ended(&mut self) -> anyhow::Error {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => error,
            _ => anyhow!("the bare receiver ended without a word"),
        }
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

/// The programs on the served end, and what must live as long as they do.
#[allow(dead_code, reason = "held for their drop only")]
enum Programs {
    Steering(Box<Attached>, Instance),
    Floor(LabLink, Lab, QueueSockets),
}

impl Programs {
    /// Puts the programs on the served end, in whose namespace this runs, and `socket` behind them.
    fn attach(pair: &Pair, before: Before, socket: &OwnedFd) -> Result<Self> {
        let served = &pair.served;
        let ifindex = nix::net::if_::if_nametoindex(served.ifname.as_str())?;
        match before {
            Before::Steering => {
                let instance = Instance::unpinned()?;
                for (port, id) in [(ECHO, builtin::ECHO), (SINK, builtin::SINK)] {
                    let key = SteerKey::v4(UDP, served.v4.octets(), port);
                    let target = Target { kind: kind::BUILTIN, flags: 0, id, generation: 1, aux: 0 };
                    instance.steering()?.put(key, target)?;
                }
                let config = PortConfig { mac: served.mac.0, ..PortConfig::default() };
                let ifname = served.ifname.clone();
                let attached =
                    instance.attach(&AttachSpec { ifname, ifindex, mode: XdpMode::Native, config })?;
                attached.xsks()?.set(0, socket)?;
                Ok(Self::Steering(Box::new(attached), instance))
            }
            Before::Floor => {
                let mut lab = Lab::load()?;
                let mut sockets = lab.take_floor_sockets()?;
                sockets.set(0, socket)?;
                let link = lab.attach(LAB_FLOOR, ifindex, XdpMode::Native)?;
                Ok(Self::Floor(link, lab, sockets))
            }
        }
    }
}
